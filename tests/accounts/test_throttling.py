"""Failed logins make callers wait: longer and longer, in all processes, and only those whom it should."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connections
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import throttling
from accounts.models import LoginResult, Throttle
from accounts.throttling import RULES, Count, Guesses, Place, Rule, Throttles, forgive, prune
from mailplatform.bridge import Bridge
from tests.accounts.here import Clock, HereBridge

JULES, ALFRED = "jules@maison.mrs", "alfred@maison.mrs"
HERE, NEIGHBOUR, ELSEWHERE = "192.0.2.7", "192.0.2.8", "198.51.100.1"


def exchange(*all_throttles: Throttles) -> None:
    for throttles in all_throttles:
        bridge = HereBridge()
        bridge.drive(throttles.exchange(bridge))


def wait(throttles: Throttles, address: str = HERE, login: str = JULES, *, known: bool = False) -> float:
    own, others = throttles.waits(throttles.place(address, login))
    return own if known else max(own, others)


def fail(throttles: Throttles, times: int = 1, address: str = HERE, login: str = JULES) -> None:
    for _ in range(times):
        throttles.failed(throttles.place(address, login))


# --- How long ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("login here", {3: 0, 4: 1, 5: 2, 6: 4, 7: 8, 8: 16, 13: 512, 14: 900, 2000: 900}),
        ("address", {10: 0, 11: 1, 14: 8, 15: 16, 20: 300}),
        ("range", {50: 0, 51: 1, 57: 60}),
        ("login", {30: 0, 31: 1, 40: 300}),
    ],
)
def test_waits_double_from_a_second_to_the_longest(name: str, waits: dict[int, float]) -> None:
    assert {failures: RULES[name].wait(failures) for failures in waits} == waits


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_more_failures_never_wait_less(fewer: float, more: float) -> None:
    for rule in RULES.values():
        assert 0 <= rule.wait(min(fewer, more)) <= rule.wait(max(fewer, more)) <= rule.longest


@given(st.floats(0, 1000), st.floats(0, 1e6), st.integers(1, 50))
def test_failures_are_forgotten_one_by_one(failures: float, seconds: float, added: int) -> None:
    rule = RULES["login here"]
    count = Count(failures, 1000.0)
    assert 0 <= count.after(rule, 1000.0 + seconds) <= failures
    later = count.plus(added, rule, 1000.0 + seconds)
    assert later.after(rule, later.at) == pytest.approx(count.after(rule, 1000.0 + seconds) + added)
    assert count.after(rule, count.forgotten_at(rule) + 1) == 0


def test_a_clock_that_runs_behind_neither_adds_nor_prolongs() -> None:
    rule = Rule(free=0, longest=60, forgets=60)
    ahead = Count(4, 1100.0)
    assert ahead.after(rule, 1000.0) == 4
    assert ahead.seconds(rule, 1000.0) == 8
    assert ahead.plus(1, rule, 1000.0) == Count(5, 1100.0)


def test_who_waits_may_try_again() -> None:
    clock = Clock()
    throttles = Throttles(clock)
    fail(throttles, 5)
    assert wait(throttles) == 2
    clock.now += 1.5
    assert wait(throttles) == 0.5
    clock.now += 0.5
    assert wait(throttles) == 0
    fail(throttles)
    assert wait(throttles) == pytest.approx(4, abs=0.02)


def test_after_a_quiet_time_all_is_forgotten() -> None:
    clock = Clock()
    throttles = Throttles(clock)
    fail(throttles, 40)
    clock.now += 40 * 900
    fail(throttles, 3)
    assert wait(throttles) == 0
    assert wait(throttles, ELSEWHERE) == 0


def test_2000_guesses_from_one_address_are_slowed_to_one_in_a_quarter_of_an_hour() -> None:
    """A guesser who tries each second, and comes back whenever he is told to."""
    clock = Clock()
    throttles = Throttles(clock)
    looked_at = []
    for _ in range(2000):
        if wait(throttles) <= throttling.HELD_SECONDS:
            clock.now += wait(throttles)
            looked_at.append(clock.now)
            fail(throttles)
        clock.now += 1
    assert len(looked_at) < 20
    clock.now += wait(throttles)
    day = clock.now + 86_400
    looked_at.clear()
    while clock.now < day:
        looked_at.append(clock.now)
        fail(throttles)
        clock.now += wait(throttles)
    assert len(looked_at) <= 86_400 / 900 + 5


# --- For whom ------------------------------------------------------------------------------------------------


def test_a_guesser_makes_nobody_wait_but_himself() -> None:
    throttles = Throttles(Clock())
    fail(throttles, 9)
    assert wait(throttles) > 0
    assert wait(throttles, login=ALFRED) == 0
    assert wait(throttles, NEIGHBOUR) == 0
    assert wait(throttles, ELSEWHERE) == 0


def test_who_tries_many_logins_waits_at_his_address() -> None:
    throttles = Throttles(Clock())
    for number in range(15):
        fail(throttles, login=f"user{number}@maison.mrs")
    assert wait(throttles, login=ALFRED) == 16
    assert wait(throttles, NEIGHBOUR) == 0
    assert wait(throttles, login=ALFRED, known=True) == 0


@pytest.mark.parametrize(
    "addresses", [[f"192.0.2.{n}" for n in range(1, 61)], [f"2001:db8:1:{n:x}::1" for n in range(60)]]
)
def test_who_tries_from_a_range_makes_strangers_in_it_wait(addresses: list[str]) -> None:
    throttles = Throttles(Clock())
    for number, address in enumerate(addresses):
        fail(throttles, address=address, login=f"user{number}@maison.mrs")
    stranger = addresses[0].replace("192.0.2.1", "192.0.2.200").replace(":0::1", ":ffff::1")
    assert wait(throttles, stranger) == 60
    assert wait(throttles, stranger, known=True) == 0
    assert wait(throttles, ELSEWHERE) == 0
    assert wait(throttles, "2001:db8:2::1") == 0


def test_a_login_that_is_attacked_from_everywhere_waits_only_where_it_is_new() -> None:
    throttles = Throttles(Clock())
    for number in range(100):
        fail(throttles, address=f"198.51.{number}.1")
    assert wait(throttles) == 300
    assert wait(throttles, known=True) == 0
    assert wait(throttles, login=ALFRED) == 0


def test_even_a_known_address_waits_for_its_own_failures() -> None:
    throttles = Throttles(Clock())
    fail(throttles, 8)
    assert wait(throttles, known=True) == 16


def test_one_login_has_one_count_however_it_is_written() -> None:
    throttles = Throttles(Clock())
    for login in ("jules@maison.mrs", " JULES@Maison.mrs", "jules%maison.mrs", "Jules%MAISON.mrs "):
        fail(throttles, login=login)
    assert wait(throttles) == 1


def test_an_address_that_many_share_does_not_wait(settings: Settings) -> None:
    settings.THROTTLE_EXEMPT_NETWORKS = ["192.0.2.0/28"]
    throttles = Throttles(Clock())
    for number in range(80):
        fail(throttles, login=f"user{number}@maison.mrs")
    assert wait(throttles, login=ALFRED) == 0
    fail(throttles, 8)
    assert wait(throttles) == 16


@pytest.mark.parametrize("address", ["", "/run/pop3.sock"])
def test_without_an_address_a_login_waits_all_the_same(address: str) -> None:
    throttles = Throttles(Clock())
    fail(throttles, 8, address=address)
    assert wait(throttles, address) == 16
    assert wait(throttles, address, login=ALFRED) == 0


@pytest.mark.parametrize("address", [HERE, ""])
def test_without_a_login_only_the_address_waits(address: str) -> None:
    throttles = Throttles(Clock())
    fail(throttles, 8, address=address, login=" ")
    assert wait(throttles, address, login="") == 16
    assert wait(throttles, ELSEWHERE, login="") == 0
    for number in range(100):
        fail(throttles, address=f"198.51.{number}.1", login="")
    assert wait(throttles, NEIGHBOUR, login="") == 0


@given(st.text(max_size=300), st.sampled_from([HERE, "2001:db8::1", ""]))
def test_any_login_has_its_place(login: str, address: str) -> None:
    throttles = Throttles(Clock())
    place = throttles.place(address, login)
    assert isinstance(place, Place)
    assert len(place.own) <= 300
    throttles.failed(place)
    assert throttles.waits(place) == (0, 0)


# --- Shared by all -------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_fails_in_one_process_counts_in_the_others_with_the_next_exchange() -> None:
    clock = Clock()
    one, other = Throttles(clock), Throttles(clock)
    exchange(one, other)
    fail(one, 5)
    fail(other, 3)
    assert (wait(one), wait(other)) == (2, 0)
    exchange(one, other)
    assert wait(other) == 16
    exchange(one)
    assert wait(one) == 16
    exchange(one, other)
    assert (wait(one), wait(other)) == (16, 16)


@pytest.mark.django_db
def test_a_process_that_begins_knows_what_counts() -> None:
    clock = Clock()
    one = Throttles(clock)
    fail(one, 8)
    exchange(one)
    late = Throttles(clock)
    exchange(late)
    assert wait(late) == 16


@pytest.mark.django_db
def test_failures_are_forgotten_in_the_database_as_in_memory() -> None:
    clock = Clock()
    one, other = Throttles(clock), Throttles(clock)
    fail(one, 8)
    exchange(one)
    clock.now += 3 * 900
    fail(one)
    exchange(one, other)
    row = Throttle.objects.get(key=f"{JULES}|{HERE}/32")
    assert row.failures == pytest.approx(6)
    assert row.forgotten_at.timestamp() == pytest.approx(clock.now + 6 * 900)
    assert wait(other) == pytest.approx(wait(one)) == pytest.approx(4)


@pytest.mark.django_db
def test_what_fails_while_the_database_is_asked_is_not_lost() -> None:
    clock = Clock()
    one, other = Throttles(clock), Throttles(clock)

    class Meanwhile(HereBridge):
        def run(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
            if function is throttling._exchange:
                fail(one, 4)
            return super().run(function, *args)

    fail(one, 4)
    bridge = Meanwhile()
    bridge.drive(one.exchange(bridge))
    assert wait(one) == 16
    exchange(one, other)
    assert wait(other) == 16


@pytest.mark.django_db
def test_what_could_not_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    one, other = Throttles(clock), Throttles(clock)
    fail(one, 4)
    with monkeypatch.context() as patch:
        patch.setattr(throttling, "_exchange", lambda *args: (_ for _ in ()).throw(DatabaseError("away")))
        with pytest.raises(DatabaseError):
            exchange(one)
    assert wait(one) == 1
    fail(one, 4)
    exchange(one, other)
    assert wait(other) == 16


@pytest.mark.django_db
def test_what_others_did_while_the_database_was_away_is_learnt_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window of an exchange reaches back to the last one that went well."""
    clock, seconds = Clock(), Clock(0)
    monkeypatch.setattr(throttling.time, "monotonic", seconds)
    one, other = Throttles(clock), Throttles(clock)
    exchange(one, other)
    fail(one, 8)
    exchange(one)
    Throttle.objects.update(changed_at="2020-01-01T00:00Z")
    exchange(other)
    assert wait(other) == 0
    seconds.now += 20 * 365 * 86_400
    exchange(other)
    assert wait(other) == 16


@pytest.mark.django_db
def test_a_second_without_failures_is_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    throttles = Throttles(Clock())
    with django_assert_num_queries(2):  # now and then the default domain too
        exchange(throttles)
    with django_assert_num_queries(1):
        exchange(throttles)
    fail(throttles, 3)
    fail(throttles, address=ELSEWHERE, login=ALFRED)
    with django_assert_num_queries(6):  # SAVEPOINT, make, lock, add, RELEASE; read
        exchange(throttles)


@pytest.mark.django_db(transaction=True)
def test_processes_that_write_at_the_same_moment_lose_nothing_and_wait_in_no_circle() -> None:
    clock = Clock()

    async def worker(seed: int) -> None:
        bridge = Bridge(threads=1)
        throttles = Throttles(clock)
        for turn in range(5):
            for number in range(40):
                fail(throttles, address=f"198.51.100.{(number * seed + turn) % 41}")
            await throttles.exchange(bridge)
        await bridge.close()

    threads = [threading.Thread(target=lambda seed=seed: asyncio.run(worker(seed))) for seed in (3, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Throttle.objects.get(key=f"{JULES}|").failures == 3 * 5 * 40
    ranges = Throttle.objects.get(key="|198.51.100.0/24").failures
    own = sum(Throttle.objects.filter(key__startswith=f"{JULES}|198.51.100.").values_list("failures", flat=True))
    assert (ranges, own) == (600, 600)
    connections.close_all()


# --- Bounds --------------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_keeps_what_counts_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "MOST_COUNTS", 100)
    throttles = Throttles(Clock())
    fail(throttles, 10)
    for number in range(1000):
        fail(throttles, address=f"198.51.{number % 250}.{number // 250}", login=f"user{number}")
    assert len(throttles._counts) <= 100
    assert len(throttles._unsent) <= 100
    assert wait(throttles) > 16


@pytest.mark.django_db
def test_what_is_forgotten_leaves_memory_and_the_database() -> None:
    clock = Clock()
    throttles = Throttles(clock)
    fail(throttles, 2)
    exchange(throttles)
    assert prune(clock.now) == 0
    clock.now += 2 * 900
    throttles._forget()
    assert len(throttles._counts) == 0
    assert prune(clock.now) == 4
    assert prune() == 0


@pytest.mark.django_db
def test_the_database_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "MOST_ROWS", 5)
    clock = Clock()
    throttles = Throttles(clock)
    fail(throttles, 20)
    for number in range(20):
        fail(throttles, address=f"198.51.{number}.1", login=f"user{number}")
    exchange(throttles)
    assert Throttle.objects.count() == 84
    assert prune(clock.now) == 79
    assert Throttle.objects.filter(key=f"{JULES}|{HERE}/32").exists()


@pytest.mark.django_db
def test_more_failures_than_one_exchange_takes_go_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_MOST_ADDED", 4)
    monkeypatch.setattr(throttling, "_AT_ONCE", 3)
    throttles = Throttles(Clock())
    fail(throttles)
    fail(throttles, login=ALFRED)
    exchange(throttles)
    assert Throttle.objects.count() == 4
    exchange(throttles)
    assert Throttle.objects.count() == 6


@pytest.mark.django_db
def test_an_admin_can_forgive() -> None:
    clock = Clock()
    one, other = Throttles(clock), Throttles(clock)
    fail(one, 8)
    exchange(one, other)
    assert forgive([f"{JULES}|{HERE}/32", "nobody|"]) == 1
    exchange(one, other)
    assert (wait(one), wait(other)) == (0, 0)


@pytest.mark.django_db
def test_a_row_says_what_it_counts() -> None:
    throttles = Throttles(Clock())
    fail(throttles, 2)
    exchange(throttles)
    assert str(Throttle.objects.get(key__startswith=f"{JULES}|192")) == f"2 failures of {JULES}|192.0.2.7/32"


# --- Guesses -------------------------------------------------------------------------------------------------


def test_a_refused_guess_is_remembered_with_its_reason() -> None:
    guesses = Guesses()
    assert guesses.result_of(JULES, "secret") is None
    guesses.refused(LoginResult.WRONG, JULES, "secret")
    guesses.refused(LoginResult.TWO_FACTOR, JULES, "\ud800")
    assert guesses.result_of(JULES, "secret") is LoginResult.WRONG
    assert guesses.result_of(JULES, "\ud800") is LoginResult.TWO_FACTOR
    assert guesses.result_of(ALFRED, "secret") is None
    assert guesses.result_of(JULES, "Secret") is None


def test_guesses_are_forgotten_that_were_not_seen_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "MOST_GUESSES", 2)
    guesses = Guesses()
    for guess in "abac":
        if guesses.result_of(guess) is None:
            guesses.refused(LoginResult.WRONG, guess)
    assert [guesses.result_of(guess) for guess in "abc"] == [LoginResult.WRONG, None, LoginResult.WRONG]


def test_no_password_is_kept() -> None:
    guesses, others = Guesses(), Guesses()
    for each in (guesses, others):
        each.refused(LoginResult.WRONG, JULES, "a very secret one")
    assert all(len(digest) == 16 for digest in guesses._seen)
    assert b"secret" not in b"".join(guesses._seen)
    assert guesses._seen.keys().isdisjoint(others._seen.keys())
