"""What the door notes: a record of each login, and the chores that write what was noted."""

import asyncio
from collections.abc import Callable

import pytest
from django.db import DatabaseError

from accounts import door, records
from accounts.app_passwords import create_app_password
from accounts.callers import Caller, Protocol
from accounts.door import NotAdmittedError, ThrottledError
from accounts.models import AppPassword, LoginRecord, Mailbox, User
from tests.accounts.house import HOME, JULES, NOBODY, RIGHT, WRONG, House


def jules() -> User:
    return User.objects.get(username="jules")


# --- Records ----------------------------------------------------------------------------------------------------------


def test_every_login_is_recorded(house: House) -> None:
    mailbox = Mailbox.objects.get(address=JULES)
    caller = Caller(Protocol.SMTP, HOME, "TLSv1.3")
    house.drive(house.door.admit(caller, "jules", RIGHT, mechanism="LOGIN"))
    record = house.last_record()
    assert (record.login, record.mailbox_id, record.protocol, record.address) == ("jules", mailbox.pk, "smtp", HOME)
    assert (record.tls, record.mechanism, record.result, record.times) == ("TLSv1.3", "LOGIN", "admitted", 1)
    assert 0 <= record.milliseconds < 10_000
    assert record.at.timestamp() == house.clock.now


@pytest.mark.parametrize(("login", "mailbox"), [(JULES, True), (NOBODY, False)])
def test_a_refused_login_names_its_mailbox_where_there_is_one(house: House, login: str, mailbox: bool) -> None:
    house.refusal(login, WRONG)
    record = house.last_record()
    assert (record.login, record.result) == (login, "wrong" if mailbox else "unknown")
    assert (record.mailbox_id is not None) is mailbox


def test_one_that_was_turned_away_is_recorded_too(house: House) -> None:
    for number in range(8):
        house.refusal(password=f"guess {number}")
    house.throttled()
    house.throttled()
    record = house.last_record()
    assert (record.result, record.times) == ("throttled", 2)
    with pytest.raises(ThrottledError):
        house.verifier(JULES)
    assert house.last_record().mechanism == "SCRAM-SHA-256"


def test_a_challenge_alone_is_no_login(house: House) -> None:
    house.verifier(JULES)
    house.tend()
    assert LoginRecord.objects.count() == 0


def test_an_error_of_ours_is_recorded_and_raised_and_not_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(door, "find_credentials", lambda logins: (_ for _ in ()).throw(DatabaseError("away")))
        for _ in range(20):
            with pytest.raises(DatabaseError):
                house.admit()
    assert house.last_record().result == "error"
    assert house.admit()


def test_no_password_is_written_or_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    _, secret = create_app_password(user=jules(), name="telephone")
    AppPassword.objects.update(pop3=False)
    house.admit()
    house.refusal(password=WRONG)
    house.refusal(password=secret)
    house.scram_refusal(password=WRONG)
    house.settle()
    house.tend()
    written = repr(list(LoginRecord.objects.values())) + caplog.text
    assert "wrong" in written
    for part in (RIGHT, WRONG, secret, secret.replace("-", "")):
        assert part not in written
    assert AppPassword.objects.get().digest not in written
    assert jules().password not in written


# --- Chores -----------------------------------------------------------------------------------------------------------


def test_a_chore_that_fails_is_logged_and_keeps_none_of_the_others_from_being_done(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house.refusal(password=WRONG)
    with monkeypatch.context() as patch:
        patch.setattr("accounts.throttling._exchange", lambda *args: (_ for _ in ()).throw(DatabaseError("away")))
        house.tend()
    assert "a chore of the door failed" in caplog.text
    assert LoginRecord.objects.count() == 1


def test_chores_go_on_until_they_are_cancelled_and_close_writes_the_rest(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "CHORE_SECONDS", 0.001)
    caller = Caller(Protocol.POP3, HOME)
    rounds, tend, enough = 0, house.door.tend, asyncio.Event()

    async def counted(**more: bool) -> None:
        nonlocal rounds
        await tend(**more)
        rounds += 1
        if rounds == 3:
            enough.set()

    async def day() -> tuple[int, int]:
        await house.door.admit(caller, JULES, RIGHT)
        house.door.tend = counted
        chores = asyncio.create_task(house.door.chores())
        await enough.wait()
        written = await house.bridge.run(LoginRecord.objects.count)
        chores.cancel()
        with pytest.raises(asyncio.CancelledError):
            await chores
        with pytest.raises(NotAdmittedError):
            await house.door.admit(caller, JULES, WRONG)
        await house.door.close()
        return written, await house.bridge.run(LoginRecord.objects.count)

    assert house.drive(day()) == (1, 2)


def test_a_batch_that_was_on_its_way_when_the_chores_were_cancelled_is_written_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, run, writing = Caller(Protocol.POP3, HOME), house.bridge.run, asyncio.Event()

    def seen(function: Callable[..., object], *args: object) -> asyncio.Future[object]:
        if function is records._write:
            writing.set()
        return run(function, *args)

    monkeypatch.setattr(house.bridge, "run", seen)

    async def day() -> None:
        await house.door.admit(caller, JULES, RIGHT)
        chores = asyncio.create_task(house.door.chores())
        await writing.wait()
        chores.cancel()
        await house.door.close()

    house.drive(day())
    assert LoginRecord.objects.count() == 1


def test_a_login_whose_caller_leaves_while_it_waits_is_throttled_and_keeps_no_close_waiting(house: House) -> None:
    for number in range(4):
        house.refusal(password=f"guess {number}")
    for_ever = asyncio.Event()
    house.door._watch._sleep = lambda seconds: for_ever.wait()
    caller = Caller(Protocol.POP3, HOME)

    async def day() -> None:
        login = asyncio.ensure_future(house.door.admit(caller, JULES, RIGHT))
        await asyncio.sleep(0.01)
        login.cancel()
        await house.door.close()
        assert login.cancelled()

    house.drive(day())
    assert house.last_record().result == "throttled"


def test_what_is_old_is_pruned_now_and_then(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned: list[str] = []
    for name in ("throttling", "known_addresses", "records"):
        monkeypatch.setattr(f"accounts.{name}.prune", lambda name=name: pruned.append(name))
    assert 0 <= house.door._watch._prune_at - door.time.monotonic() <= 600
    house.tend()
    assert pruned == []
    house.door._watch._prune_at = 0
    house.tend()
    house.tend()
    assert pruned == ["throttling", "known_addresses", "records"]


def test_of_a_login_that_is_too_long_little_is_kept_in_memory(house: House) -> None:
    """SMTP and POP3 take lines of 12 kB within AUTH, and many thousands of tries are remembered."""
    for length in (8000, 9000):
        house.refusal("x" * length)
    watch = house.door._watch
    assert watch._throttles._places.cache_info().currsize == 1
    assert {len(entry.attempt.login) for entry in watch._records._waiting} == {255}
