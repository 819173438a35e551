"""A network from which a login succeeded is known for a while, in all processes, at little cost."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import known_addresses
from accounts.known_addresses import KNOWN_DAYS, KnownAddresses, find_known, prune
from accounts.models import KnownAddress
from tests.accounts.here import Clock, HereBridge

pytestmark = pytest.mark.django_db

JULES, ALFRED = "jules@maison.mrs", "alfred@maison.mrs"
HOME, OFFICE = "192.0.2.7/32", "2001:db8:1:2::/64"


def now() -> Clock:
    return Clock(timezone.now().timestamp())


def flush(known: KnownAddresses) -> None:
    bridge = HereBridge()
    bridge.drive(known.flush(bridge))


def is_known(known: KnownAddresses, login: str = JULES, network: str = HOME) -> bool:
    bridge = HereBridge()
    answer: bool = bridge.drive(known.are_known(login, network, bridge))
    return answer


def test_a_success_makes_its_network_known_for_its_login_at_once_and_everywhere_later() -> None:
    one, other = KnownAddresses(now()), KnownAddresses(now())
    one.note(JULES, HOME)
    assert is_known(one)
    assert not is_known(one, ALFRED)
    assert not is_known(one, JULES, OFFICE)
    flush(one)
    assert is_known(other)


def test_without_an_address_nothing_is_known() -> None:
    known = KnownAddresses(now())
    known.note(JULES, "")
    flush(known)
    assert not is_known(known, JULES, "")
    assert not KnownAddress.objects.exists()


def test_one_that_polls_is_written_once_a_day(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    clock = now()
    known = KnownAddresses(clock)
    known.note(JULES, HOME)
    flush(known)
    first = KnownAddress.objects.get().seen_at
    clock.now += 86_399
    known.note(JULES, HOME)
    with django_assert_num_queries(0):
        flush(known)
    clock.now += 1
    known.note(JULES, HOME)
    flush(known)
    assert KnownAddress.objects.get().seen_at - first == timedelta(days=1)


def test_a_flood_of_guesses_is_no_flood_of_questions(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    clock = now()
    known = KnownAddresses(clock)
    with django_assert_num_queries(1):
        assert [is_known(known) for _ in range(5)] == [False] * 5
    KnownAddress.objects.create(login=JULES, network=HOME, seen_at=timezone.now())
    clock.now += 10
    assert is_known(known)


def test_a_success_counts_at_once_where_it_was_just_unknown() -> None:
    known = KnownAddresses(now())
    assert not is_known(known)
    known.note(JULES, HOME)
    assert is_known(known)


def test_what_was_known_long_ago_is_known_no_more() -> None:
    KnownAddress.objects.create(
        login=JULES, network=HOME, seen_at=timezone.now() - timedelta(days=KNOWN_DAYS, seconds=1)
    )
    KnownAddress.objects.create(login=JULES, network=OFFICE, seen_at=timezone.now() - timedelta(days=KNOWN_DAYS - 1))
    known = KnownAddresses(now())
    assert not is_known(known)
    assert is_known(known, JULES, OFFICE)
    assert prune() == 1
    assert KnownAddress.objects.get().network == OFFICE


def test_one_that_was_found_is_written_anew_with_its_next_success() -> None:
    """Else it would be forgotten, however often it succeeds."""
    KnownAddress.objects.create(login=JULES, network=HOME, seen_at=timezone.now() - timedelta(days=50))
    clock = now()
    known = KnownAddresses(clock)
    assert is_known(known)
    known.note(JULES, HOME)
    flush(known)
    assert KnownAddress.objects.get().seen_at == datetime.fromtimestamp(clock.now, UTC)


def test_what_could_not_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownAddresses(now())
    known.note(JULES, HOME)
    with monkeypatch.context() as patch:
        patch.setattr(known_addresses, "_write", lambda pairs: (_ for _ in ()).throw(DatabaseError("away")))
        with pytest.raises(DatabaseError):
            flush(known)
    known.note(ALFRED, HOME)
    flush(known)
    assert KnownAddress.objects.count() == 2


def test_many_are_found_in_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    KnownAddress.objects.create(login=JULES, network=HOME, seen_at=timezone.now())
    KnownAddress.objects.create(login=ALFRED, network=OFFICE, seen_at=timezone.now())
    with django_assert_num_queries(1):
        found = find_known([(JULES, HOME), (JULES, OFFICE), (ALFRED, HOME), (ALFRED, OFFICE), (JULES, HOME)])
    assert found == [True, False, False, True, True]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_addresses, "MOST_REMEMBERED", 3)
    known = KnownAddresses(now())
    for number in range(9):
        known.note(str(number), HOME)
        is_known(known, f"unknown {number}")
    assert (len(known._known), len(known._unknown), len(known._unwritten)) == (3, 3, 3)


def test_the_database_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_addresses, "MOST_ROWS", 3)
    seen_at = timezone.now()
    for number in range(5):
        KnownAddress.objects.create(login=str(number), network=HOME, seen_at=seen_at + timedelta(seconds=number))
    assert prune() == 2
    assert list(KnownAddress.objects.order_by("login").values_list("login", flat=True)) == ["2", "3", "4"]
    assert str(KnownAddress.objects.get(login="2")) == "2 from 192.0.2.7/32"


def test_what_succeeds_while_it_is_looked_up_is_known() -> None:
    known = KnownAddresses(now())

    class Meanwhile(HereBridge):
        def gather(self, operation, item) -> "asyncio.Future[bool]":
            known.note(JULES, HOME)
            return super().gather(operation, item)

    bridge = Meanwhile()
    assert bridge.drive(known.are_known(JULES, HOME, bridge))
    assert is_known(known)
