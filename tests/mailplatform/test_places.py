"""Places for connections: in all and from one address, given back whatever happens, and told of once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailplatform import places
from mailplatform.networks import Networks
from mailplatform.places import LOOPBACK, Full, Place, Places


def make(most: int = 100, most_each: int = 100, *shared: str) -> Places:
    return Places(most=most, most_each=most_each, shared=Networks(shared))


def take(from_: Places, address: str, *, counted: bool = True) -> Place:
    place = from_.take(address, counted=counted)
    assert place is not None
    return place


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
def test_an_address_is_one_of_ipv4_or_a_64_of_ipv6(one: str, other: str, same: bool) -> None:
    some = make(100, 1)
    assert take(some, one).refused is None
    assert take(some, other).refused is (Full.FROM_ADDRESS if same else None)


def test_in_all_there_are_so_many() -> None:
    some = make(2)
    first, second = take(some, "192.0.2.1"), take(some, "192.0.2.2")
    assert take(some, "192.0.2.3").refused is Full.IN_ALL
    first.give_back()
    first.give_back()
    assert take(some, "192.0.2.3").refused is None
    assert take(some, "192.0.2.1").refused is Full.IN_ALL
    second.give_back()
    assert some.taken == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "", "no address"])
def test_networks_that_many_share_count_in_all_alone(address: str) -> None:
    some = make(3, 1, *LOOPBACK, "10.0.0.0/8")
    assert [take(some, address).refused for _ in range(4)] == [None, None, None, Full.IN_ALL]


def test_so_does_what_is_not_to_be_counted_for_itself() -> None:
    some = make(3, 1)
    assert [take(some, "192.0.2.1", counted=False).refused for _ in range(3)] == [None] * 3


def test_half_of_those_from_an_address_may_be_in_a_handshake() -> None:
    some = make(100, 4, "10.0.0.0/8")
    first, second, third = (take(some, "192.0.2.1") for _ in range(3))
    assert first.shake_hands()
    assert second.shake_hands()
    assert not third.shake_hands()
    first.hands_are_shaken()
    first.hands_are_shaken()
    assert third.shake_hands()
    assert not first.shake_hands()
    second.give_back()
    assert first.shake_hands()
    assert all(take(some, "10.0.0.1").shake_hands() for _ in range(10))
    assert make(1, 1).take("192.0.2.1").shake_hands()  # with one place too there is one


def test_those_who_are_told_that_there_is_none_are_not_without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "TOLD_AT_ONCE", 2)
    some = make(0)
    told = [take(some, "192.0.2.1") for _ in range(2)]
    assert some.take("192.0.2.2") is None
    told[0].give_back()
    assert take(some, "192.0.2.2").refused is Full.IN_ALL


def test_the_log_has_it_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    some = make(2, 1)
    first = take(some, "192.0.2.1")
    for _ in range(5):
        take(some, "192.0.2.1").give_back()
    assert caplog.messages == ["too many connections: 192.0.2.1/32 has 1 connections open, more are refused"]
    second = take(some, "192.0.2.2")
    for _ in range(5):
        take(some, "192.0.2.3").give_back()
    assert caplog.messages[1:] == ["too many connections: all 2 connections of this worker are taken, more are refused"]
    first.give_back()
    second.give_back()
    take(some, "192.0.2.1")
    take(some, "192.0.2.1")
    assert len(caplog.messages) == 3


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60))
def test_what_was_taken_is_given_back(steps: list[tuple[int, int]]) -> None:
    """Any order of comings, handshakes and goings keeps the limits and leaves nothing behind."""
    some = make(5, 2)
    held: list[Place] = []
    for act, which in steps:
        if act <= 1:
            held.append(take(some, f"192.0.2.{which}"))
        elif held and act == 2 and not (place := held[which % len(held)])._shaking:
            place.shake_hands()
        elif held:
            held.pop(which % len(held)).give_back()
        assert some.taken <= 5
        assert all(count <= 2 for count in some.each.values())
        assert all(count <= 1 for count in some.shaking.values())
    for place in held:
        place.give_back()
    assert (some.taken, some.told, dict(some.each), dict(some.shaking)) == (0, 0, {}, {})
