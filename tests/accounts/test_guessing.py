"""Guessing at the door gets slower and slower, while the owners of mailboxes go in and out."""

import asyncio
import gc
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from accounts import door, throttling
from accounts.callers import Caller, Protocol
from accounts.door import ThrottledError
from accounts.hashing import Hashing, TooBusyError
from accounts.models import LoginRecord, LoginResult, User
from accounts.services import create_domain, set_default_domain, set_password
from tests.accounts.house import ALFRED, ELSEWHERE, HOME, JULES, RIGHT, House

Hashes = Callable[[], int]


def jules() -> User:
    return User.objects.get(username="jules")


def test_2000_guesses_from_one_address_are_slowed_and_refused(house: House, hashes: Hashes) -> None:
    """A guess each second, for more than half an hour; whoever comes from elsewhere sees nothing of it."""
    hashes()
    told = []
    for number in range(2000):
        told.append(house.guess(password=f"guess {number}"))
        house.clock.now += 1
        if number % 500 == 0:
            assert house.admit(address=ELSEWHERE)
            house.settle()
    assert hashes() < 20
    seconds = [each for each in told if isinstance(each, int)]
    assert len(seconds) > 1980
    assert max(seconds) > 500


def test_the_right_password_among_the_guesses_does_not_get_through(house: House) -> None:
    for number in range(8):
        house.refusal(password=f"guess {number}")
    assert house.throttled() > 10
    house.clock.now += 900
    assert house.admit()


def test_an_old_password_again_and_again_locks_nobody_out(house: House, hashes: Hashes) -> None:
    set_password(user=jules(), password="new")
    for _ in range(500):
        house.refusal()
        house.clock.now += 60
    began = house.clock.now
    assert house.admit(password="new")
    assert house.clock.now == began


def test_a_password_that_was_wrong_may_become_right(house: House) -> None:
    house.refusal(password="soon right")
    set_password(user=jules(), password="soon right")
    assert house.admit(password="soon right")
    assert house.refusal()


def test_a_failure_counts_in_all_processes_within_a_round_of_chores(house: House) -> None:
    other = House(clock=house.clock)
    for each in (house, other):
        each.tend()
    for number in range(8):
        house.refusal(password=f"guess {number}")
    house.tend()
    other.tend()
    assert other.throttled() > 10
    assert other.admit(address=ELSEWHERE)


def test_a_login_that_is_attacked_from_everywhere_opens_where_it_was_opened_before(house: House) -> None:
    other = House(clock=house.clock)
    house.clock.now = datetime.now(UTC).timestamp()
    house.admit()
    house.tend()
    for number in range(60):
        house.guess(password=f"guess {number}", address=f"198.51.{number}.1")
    assert house.throttled(address="203.0.113.1") > 10
    began = house.clock.now
    assert house.admit()
    assert house.admit(ALFRED, address="203.0.113.1")
    house.tend()
    other.tend()
    # another process, which was not there when it was opened before
    assert other.admit()
    assert other.throttled(address="203.0.113.1") > 10
    assert house.clock.now == began


def test_a_neighbour_of_guessers_is_let_in_where_he_is_known(house: House) -> None:
    house.admit()
    for number in range(60):
        house.guess(f"user{number}@maison.mrs", address=f"192.0.2.{100 + number}")
    assert house.throttled(ALFRED, address="192.0.2.9") > 10
    began = house.clock.now
    assert house.admit()
    assert house.clock.now == began


def test_of_guesses_that_come_at_once_only_those_count_that_are_looked_at(house: House, hashes: Hashes) -> None:
    """Each asks again when its turn comes: the first failures hold up the others, which began before them."""

    async def no_time() -> None:
        await asyncio.sleep(0)

    house.door._watch._sleep = lambda seconds: no_time()
    caller = Caller(Protocol.POP3, HOME)
    hashes()

    async def at_once() -> list[object]:
        guesses = (house.door.admit(caller, JULES, f"guess {number}") for number in range(38))
        return await asyncio.gather(*guesses, return_exceptions=True)

    answers = house.drive(at_once())
    assert hashes() <= 3 + 8
    assert sum(isinstance(answer, ThrottledError) for answer in answers) >= 38 - 11
    assert not any(isinstance(answer, door.Admission) for answer in answers)


def test_who_hangs_up_while_his_password_is_looked_at_has_guessed_all_the_same(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caller, begun, gone = Caller(Protocol.POP3, HOME), threading.Event(), threading.Event()
    verify = house.door._passwords.verify

    def seen(encoded: str | None, password: str) -> bool:
        begun.set()
        gone.wait(30)
        gone.clear()
        return verify(encoded, password)

    house.door._passwords.verify = seen

    async def hang_up(number: int) -> None:
        login = asyncio.ensure_future(house.door.admit(caller, JULES, f"guess {number}"))
        await asyncio.to_thread(begun.wait, 10)
        begun.clear()
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login
        gone.set()

    for number in range(8):
        house.drive(hang_up(number))
        house.settle()
    assert house.throttled() > 10
    house.tend()
    assert LoginRecord.objects.get(result="wrong").times == 8
    gc.collect()
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_error_of_ours_that_no_client_waits_for_is_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    begun, gone = threading.Event(), threading.Event()

    def broken(encoded: str | None, password: str) -> bool:
        begun.set()
        gone.wait(30)
        raise RuntimeError("out of memory")

    house.door._passwords.verify = broken

    async def hang_up() -> None:
        login = asyncio.ensure_future(house.door.admit(Caller(Protocol.POP3, HOME), JULES, RIGHT))
        await asyncio.to_thread(begun.wait, 10)
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login
        gone.set()

    house.drive(hang_up())
    house.settle()
    assert "out of memory" in caplog.text
    assert house.last_record().result == "error"


def test_who_hangs_up_before_costs_no_hash_and_has_not_guessed(house: House, hashes: Hashes) -> None:
    caller = Caller(Protocol.POP3, HOME)
    hashes()

    async def hang_up(number: int) -> None:
        login = asyncio.ensure_future(house.door.admit(caller, JULES, f"guess {number}"))
        await asyncio.sleep(0)
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login

    for number in range(8):
        house.drive(hang_up(number))
        house.settle()
    assert hashes() == 0
    assert house.admit()


def test_who_does_not_wait_for_an_answer_that_is_held_back_is_recorded(house: House) -> None:
    for number in range(4):
        house.refusal(password=f"guess {number}")
    for_ever = asyncio.Event()
    house.door._watch._sleep = lambda seconds: for_ever.wait()
    caller = Caller(Protocol.POP3, HOME)

    async def hang_up() -> None:
        login = asyncio.ensure_future(house.door.admit(caller, JULES, RIGHT))
        await asyncio.sleep(0.01)
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login

    house.drive(hang_up())
    house.settle()
    assert house.last_record().result == "throttled"


def test_too_many_at_once_are_told_to_come_later_and_not_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(hashing: Hashing, network: str) -> None:
        raise TooBusyError

    with monkeypatch.context() as patch:
        patch.setattr(Hashing, "turn", full)
        for number in range(20):
            with pytest.raises(ThrottledError) as caught:
                house.admit(password=f"guess {number}")
            assert (caught.value.seconds, caught.value.reason) == (door.BUSY_SECONDS, LoginResult.BUSY)
    assert house.admit()


# --- One account, one count ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["jules", "nobody"])
def test_the_spellings_of_a_login_share_its_tries(house: House, name: str) -> None:
    """Whether it is here or not: three for nothing, then each waits."""
    house.tend()
    spellings = [name, f"{name}@maison.mrs", f"{name}%maison.mrs", f" {name.upper()} ", f"{name}@Maison.MRS"]
    for number, login in enumerate(spellings[:3]):
        house.refusal(login, password=f"guess {number}")
    began = house.clock.now
    waits = []
    for number, login in enumerate(spellings):
        house.refusal(login, password=f"another guess {number}")
        waits.append(house.clock.now - began)
        began = house.clock.now
    assert waits == pytest.approx([0, 1, 2, 4, 8], abs=0.1)  # what was waited is forgotten a little
    assert house.throttled(name) == house.throttled(f"{name}%maison.mrs") > 10


def test_a_bare_name_follows_the_default_domain(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_FORGET_EVERY", 0)
    house.tend()
    for number in range(10):
        house.guess("jules", password=f"guess {number}")
    assert house.throttled(JULES) > 10
    set_default_domain(domain=create_domain(name="alfred.maison.mrs"))
    house.tend()
    house.refusal("jules", password="another guess")
    assert house.throttled(JULES) > 10


def test_the_same_wrong_password_is_one_guess_in_every_spelling(house: House, hashes: Hashes) -> None:
    house.tend()
    hashes()
    for login in ("jules", JULES, "JULES%maison.mrs"):
        house.refusal(login, password="old")
    assert hashes() == 1


def test_an_address_from_which_the_bare_name_came_in_is_known_for_the_full_one(house: House) -> None:
    house.tend()
    house.admit("jules", address=ELSEWHERE)
    for number in range(60):
        house.guess(password=f"guess {number}", address=f"203.0.113.{number}")
    assert house.admit(JULES, address=ELSEWHERE)
