"""Login records: one for each try, alike ones together, bounded in memory and in the database."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import records
from accounts.addresses import kept_login
from accounts.callers import Caller, Protocol
from accounts.models import LoginRecord, LoginResult, Mailbox
from accounts.records import Attempt, Records, prune
from accounts.services import create_account, create_domain
from tests.accounts.here import Clock, HereBridge

pytestmark = pytest.mark.django_db

CALLER = Caller(Protocol.POP3, "192.0.2.7", "TLSv1.3")
WRONG = Attempt(CALLER, "jules@maison.mrs", "PLAIN", LoginResult.WRONG, 31)
RIGHT = Attempt(CALLER, "jules@maison.mrs", "USER", LoginResult.ADMITTED, 2, mailbox_id=7, app_password="telephone")


def flush(gathered: Records, bridge: HereBridge | None = None, **more: bool) -> None:
    bridge = bridge or HereBridge()
    bridge.drive(gathered.flush(bridge, **more))


def kept() -> list[tuple[str, int]]:
    return list(LoginRecord.objects.order_by("pk").values_list("login", "times"))


def test_a_record_says_who_when_from_where_how_and_what_became_of_it() -> None:
    gathered = Records(Clock(1_800_000_000.5))
    gathered.add(RIGHT)
    flush(gathered)
    at = datetime.fromtimestamp(1_800_000_000.5, UTC)
    (row,) = LoginRecord.objects.values()
    assert row.pop("id")
    assert row == {
        "at": at, "last_at": at, "times": 1, "login": "jules@maison.mrs", "mailbox_id": 7, "protocol": "pop3",
        "address": "192.0.2.7", "tls": "TLSv1.3", "mechanism": "USER", "result": "admitted", "milliseconds": 2,
        "app_password": "telephone",
    }  # fmt: skip


def test_refusals_that_are_alike_within_a_minute_are_one_record_that_counts_them() -> None:
    clock = Clock()
    gathered = Records(clock)
    for _ in range(3):
        gathered.add(WRONG)
    flush(gathered)
    assert kept() == [("jules@maison.mrs", 3)]
    clock.now += 59
    gathered.add(WRONG)
    gathered.add(WRONG._replace(milliseconds=99))
    flush(gathered)
    assert kept() == [("jules@maison.mrs", 5)]
    row = LoginRecord.objects.get()
    assert row.last_at - row.at == timedelta(seconds=59)
    clock.now += 1
    gathered.add(WRONG)
    flush(gathered)
    assert kept() == [("jules@maison.mrs", 5), ("jules@maison.mrs", 1)]


def test_a_client_that_polls_is_one_record_an_hour_and_written_once_a_minute(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    clock = Clock()
    gathered = Records(clock)
    gathered.add(RIGHT)
    flush(gathered)
    assert kept() == [("jules@maison.mrs", 1)]
    for seconds in (1, 58):
        clock.now += seconds
        gathered.add(RIGHT)
        with django_assert_num_queries(0):
            flush(gathered)
    clock.now += 1
    flush(gathered)
    assert kept() == [("jules@maison.mrs", 3)]
    clock.now += 3539
    gathered.add(RIGHT)
    clock.now += 1
    gathered.add(RIGHT)
    flush(gathered)
    assert kept() == [("jules@maison.mrs", 4), ("jules@maison.mrs", 1)]


def test_at_the_end_everything_is_written() -> None:
    gathered = Records(Clock())
    for _ in range(2):
        gathered.add(RIGHT)
        flush(gathered)
    assert kept() == [("jules@maison.mrs", 1)]
    flush(gathered, everything=True)
    assert kept() == [("jules@maison.mrs", 2)]


def test_not_all_of_many_are_brought_up_to_date_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_COUNTED", 2)
    clock = Clock()
    gathered = Records(clock)
    for _ in range(2):
        for number in range(5):
            gathered.add(RIGHT._replace(login=str(number)))
        flush(gathered)
    clock.now += 60
    written = []
    for _ in range(4):
        flush(gathered)
        written.append([times for _, times in kept()].count(2))
    assert written == [2, 4, 5, 5]


@pytest.mark.parametrize(
    "other",
    [
        WRONG._replace(login="alfred@maison.mrs"),
        WRONG._replace(caller=CALLER._replace(address="192.0.2.8")),
        WRONG._replace(caller=CALLER._replace(protocol=Protocol.SMTP)),
        WRONG._replace(mechanism="LOGIN"),
        WRONG._replace(result=LoginResult.ADMITTED),
        WRONG._replace(app_password="telephone"),
    ],
)
def test_tries_that_differ_are_two_records(other: Attempt) -> None:
    gathered = Records(Clock())
    gathered.add(WRONG)
    gathered.add(other)
    flush(gathered)
    assert [times for _, times in kept()] == [1, 1]


def test_many_are_written_with_few_statements(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    gathered = Records(Clock())
    for number in range(50):
        gathered.add(RIGHT._replace(login=str(number)))
    with django_assert_num_queries(3):  # SAVEPOINT, INSERT, RELEASE
        flush(gathered)
    with django_assert_num_queries(0):
        flush(gathered)
    assert LoginRecord.objects.count() == 50


def test_what_comes_while_a_batch_is_being_written_is_not_lost() -> None:
    gathered = Records(Clock())

    class Meanwhile(HereBridge):
        def run(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
            gathered.add(WRONG)
            return super().run(function, *args)

    gathered.add(WRONG)
    flush(gathered, Meanwhile())
    assert kept() == [("jules@maison.mrs", 1)]
    flush(gathered)
    assert kept() == [("jules@maison.mrs", 2)]


def test_what_could_not_be_written_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = Records(Clock())
    gathered.add(WRONG)
    with monkeypatch.context() as patch:
        patch.setattr(records, "_write", lambda taken: (_ for _ in ()).throw(DatabaseError("away")))
        with pytest.raises(DatabaseError):
            flush(gathered)
    gathered.add(WRONG)
    flush(gathered)
    assert kept() == [("jules@maison.mrs", 2)]


def test_what_does_not_fit_is_dropped_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(records, "MOST_WAITING", 5)
    monkeypatch.setattr(records, "MOST_FAILURES_WAITING", 2)
    gathered = Records(Clock())
    for number in range(4):
        gathered.add(WRONG._replace(login=f"wrong {number}"))
    for number in range(4):
        gathered.add(RIGHT._replace(login=f"right {number}"))
    gathered.add(RIGHT._replace(login="right 0"))
    flush(gathered)
    assert [login for login, _ in kept()] == ["wrong 0", "wrong 1", "right 0", "right 1", "right 2"]
    assert "3 login records were dropped" in caplog.text
    gathered.add(WRONG._replace(login="wrong 9"))
    flush(gathered)
    assert kept()[-1] == ("wrong 9", 1)
    assert caplog.text.count("were dropped") == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every record written, those that are open still are not too many either; a closed one is not lost."""
    monkeypatch.setattr(records, "MOST_OPEN", 2)
    gathered = Records(Clock())
    for number in (1, 2, 3, 3, 1):
        gathered.add(WRONG._replace(login=str(number)))
    flush(gathered)
    assert kept() == [("1", 1), ("2", 1), ("3", 2), ("1", 1)]
    assert len(gathered._open[False]) == 2


def test_after_a_minute_a_record_leaves_memory() -> None:
    clock = Clock()
    gathered = Records(clock)
    gathered.add(WRONG)
    clock.now += 60
    flush(gathered)
    assert len(gathered._open[False]) == 0
    assert kept() == [("jules@maison.mrs", 1)]


@given(st.text(max_size=400))
def test_whatever_is_typed_can_be_written(login: str) -> None:
    shown = kept_login(login)
    assert len(shown) <= 255
    assert shown.isprintable()
    assert "\0" not in shown


def test_what_is_too_long_or_odd_is_kept_as_far_as_it_goes() -> None:
    gathered = Records(Clock())
    odd = "\0\ud800\r\n" + "x" * 1000
    gathered.add(Attempt(Caller(Protocol.POP3, "f" * 100, "y" * 100), odd, odd, LoginResult.UNKNOWN, 1))
    flush(gathered)
    assert kept() == [("\ufffd" * 4 + "x" * 251, 1)]


def test_a_failure_is_one_line_in_the_log_and_a_success_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gathered = Records(Clock())
    for _ in range(3):
        gathered.add(WRONG._replace(login="jules\r\nERROR é"))
    gathered.add(RIGHT)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "accounts.records"]
    assert line == r"login refused: pop3 from 192.0.2.7 as 'jules\ufffd\ufffdERROR \xe9': wrong"


def test_a_record_outlives_its_mailbox() -> None:
    create_domain(name="maison.mrs")
    mailbox: Mailbox = create_account(username="jules", password="x").mailboxes.get()
    gathered = Records(Clock())
    gathered.add(RIGHT._replace(mailbox_id=mailbox.pk))
    flush(gathered)
    gone = mailbox.pk
    mailbox.delete()
    assert LoginRecord.objects.get().mailbox_id == gone


def test_the_database_takes_no_result_that_is_not_known() -> None:
    now = timezone.now()
    with pytest.raises(IntegrityError):
        LoginRecord.objects.create(at=now, last_at=now, protocol="pop3", result="maybe", milliseconds=1)


# --- Pruning --------------------------------------------------------------------------------------------------


def make(number: int, *, days_old: float) -> None:
    at = timezone.now() - timedelta(days=days_old)
    rows = [
        LoginRecord(at=at, last_at=at, login=f"{days_old}", protocol="pop3", result="wrong", milliseconds=1)
        for _ in range(number)
    ]
    LoginRecord.objects.bulk_create(rows)


def test_old_records_go(settings: Settings) -> None:
    settings.LOGIN_RECORD_DAYS = 10
    make(3, days_old=10.1)
    make(2, days_old=9.9)
    assert prune() == 3
    assert kept() == [("9.9", 1)] * 2


def test_of_too_many_records_the_oldest_go(settings: Settings) -> None:
    settings.LOGIN_RECORDS_MAX = 4
    make(3, days_old=2)
    make(3, days_old=1)
    assert prune() == 2
    assert kept() == [("2", 1)] + [("1", 1)] * 3
    assert prune() == 0
