"""Records of sessions: one for each that did something, idle polls together, bounded in memory and in the database."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.callers import Caller, Protocol
from accounts.lookup import FoundMailbox
from mailstore.locks import Lock
from mailstore.maildrop import Opened
from mailstore.models import Message
from pop3service import sessions
from pop3service.models import SessionRecord
from pop3service.sessions import Sessions, prune
from pop3service.states import Ending, Tally
from tests.accounts.here import Clock, HereBridge
from tests.pop3service.serving import DatabaseServed, Outage, Tls, wait_until

CALLER = Caller(Protocol.POP3, "192.0.2.7", "TLSv1.3")
WORKER = uuid.uuid4()
NOON = 1_800_000_000.0


def opened(serial: int = 1, *, mailbox_id: int = 7, messages: int = 3) -> Opened:
    return Opened(mailbox_id, Lock(WORKER, serial), 1, 10, messages, 600, 1, has_surrogates=False)


def tally(retrieved: int = 0, octets: int = 0, topped: int = 0, topped_octets: int = 0) -> Tally:
    made = Tally()
    made.retrieved, made.retrieved_octets, made.topped, made.topped_octets = retrieved, octets, topped, topped_octets
    return made


def poll(gathered: Sessions, serial: int = 1, *, ending: Ending = Ending.QUIT, caller: Caller = CALLER) -> None:
    gathered.end(gathered.begin(opened(serial), caller, "jules"), ending, Tally())


def flush(gathered: Sessions, bridge: HereBridge | None = None, *, everything: bool = False) -> None:
    bridge = bridge or HereBridge()
    bridge.drive(gathered.flush(bridge, everything=everything))


def kept() -> list[tuple[int, int, str]]:
    return list(SessionRecord.objects.order_by("pk").values_list("serial", "times", "ending"))


@pytest.mark.django_db
class TestRecords:
    def test_a_record_says_who_when_from_where_what_and_how_it_ended(self) -> None:
        clock = Clock(NOON)
        gathered = Sessions(clock)
        session = gathered.begin(opened(5), CALLER, "jules%maison.mrs", "telephone")
        clock.now += 2.5
        gathered.end(session, Ending.QUIT, tally(2, 300, 1, 80), deleted=1)
        flush(gathered)
        (row,) = SessionRecord.objects.values()
        assert row.pop("id")
        assert row == {
            "mailbox_id": 7, "serial": 5, "times": 1, "login": "jules%maison.mrs", "app_password": "telephone",
            "began_at": datetime.fromtimestamp(NOON, UTC), "ended_at": datetime.fromtimestamp(NOON + 2.5, UTC),
            "address": "192.0.2.7", "tls": "TLSv1.3", "retrieved": 2, "retrieved_octets": 300, "topped": 1,
            "topped_octets": 80, "deleted": 1, "left": 2, "ending": "quit",
        }  # fmt: skip

    def test_idle_polls_within_an_hour_are_one_record_that_counts_them(self) -> None:
        clock = Clock(NOON)
        gathered = Sessions(clock)
        for serial in range(1, 60):
            poll(gathered, serial)
            flush(gathered)
            clock.now += 60
        assert len(kept()) == 1
        flush(gathered, everything=True)
        assert kept() == [(59, 59, "quit")]
        row = SessionRecord.objects.get()
        assert row.ended_at is not None
        assert row.ended_at - row.began_at == timedelta(minutes=58)
        clock.now += 60
        poll(gathered, 61)
        flush(gathered)
        assert kept() == [(59, 59, "quit"), (61, 1, "quit")]

    def test_counts_are_written_once_a_minute(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        clock = Clock(NOON)
        gathered = Sessions(clock)
        poll(gathered, 1)
        flush(gathered)
        for serial in range(2, 31):
            clock.now += 2
            poll(gathered, serial)
            with django_assert_num_queries(0):
                flush(gathered)
        clock.now += 4
        with django_assert_num_queries(3):  # SAVEPOINT, INSERT ... ON CONFLICT, RELEASE
            flush(gathered)
        assert kept() == [(30, 30, "quit")]

    def test_what_did_something_is_a_record_of_its_own(self) -> None:
        gathered = Sessions(Clock())
        for number, did in enumerate((tally(), tally(1, 10), tally(0, 0, 1, 10), tally()), 1):
            gathered.end(gathered.begin(opened(number), CALLER, "jules"), Ending.QUIT, did)
        gathered.end(gathered.begin(opened(5), CALLER, "jules"), Ending.QUIT, tally(), deleted=2)
        flush(gathered, everything=True)
        assert sorted(kept()) == [(2, 1, "quit"), (3, 1, "quit"), (4, 2, "quit"), (5, 1, "quit")]

    @pytest.mark.parametrize(
        "other",
        [
            {"ending": Ending.DROPPED},
            {"caller": Caller(Protocol.POP3, "192.0.2.8", "TLSv1.3")},
            {"caller": Caller(Protocol.POP3, "192.0.2.7")},
        ],
    )
    def test_polls_that_differ_are_two_records(self, other: dict[str, Any]) -> None:
        gathered = Sessions(Clock())
        poll(gathered, 1)
        poll(gathered, 2, **other)
        flush(gathered)
        assert [times for _, times, _ in kept()] == [1, 1]

    def test_a_session_that_lasts_is_written_while_it_is_open(self) -> None:
        clock = Clock(NOON)
        gathered = Sessions(clock)
        lasting = gathered.begin(opened(1), CALLER, "jules")
        flush(gathered)
        assert kept() == []
        clock.now += sessions.LASTS_SECONDS
        flush(gathered)
        assert kept() == [(1, 1, "")]
        assert SessionRecord.objects.get().ended_at is None
        gathered.end(lasting, Ending.TIMED_OUT, Tally())
        flush(gathered)
        assert kept() == [(1, 1, "timed-out")]

    def test_one_that_ends_while_its_row_is_being_made_has_its_end_written(self) -> None:
        clock = Clock(NOON)
        gathered = Sessions(clock)
        lasting = gathered.begin(opened(1), CALLER, "jules")
        clock.now += 10

        class Meanwhile(HereBridge):
            def run(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
                if lasting.ending is None:
                    gathered.end(lasting, Ending.QUIT, Tally())
                return super().run(function, *args)

        flush(gathered, Meanwhile())
        assert kept() == [(1, 1, "quit")]

    def test_many_are_written_with_few_statements(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        gathered = Sessions(Clock())
        for number in range(50):
            gathered.end(gathered.begin(opened(number, mailbox_id=number), CALLER, "x"), Ending.QUIT, tally(1, 1))
        with django_assert_num_queries(3):  # SAVEPOINT, INSERT, RELEASE
            flush(gathered)
        assert SessionRecord.objects.count() == 50

    def test_what_could_not_be_written_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gathered = Sessions(Clock())
        for serial in (1, 2, 3):
            gathered.end(gathered.begin(opened(serial), CALLER, "jules"), Ending.QUIT, tally(1, 1))
        with monkeypatch.context() as broken:
            broken.setattr(sessions, "_write", _fail)
            with pytest.raises(DatabaseError):
                flush(gathered)
        flush(gathered)
        assert [serial for serial, _, _ in kept()] == [1, 2, 3]

    def test_what_can_never_be_written_holds_up_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        gathered = Sessions(Clock())
        gathered.end(gathered.begin(opened(2**70), CALLER, "jules"), Ending.QUIT, tally(1, 1))
        flush(gathered)
        assert "1 session records are not to be written" in caplog.text
        poll(gathered, 2)
        flush(gathered)
        assert kept() == [(2, 1, "quit")]

    def test_what_does_not_fit_is_dropped_and_said(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(sessions, "MOST_WAITING", 2)
        monkeypatch.setattr(sessions, "MOST_COUNTING", 1)
        gathered = Sessions(Clock())
        for number in range(4):
            poll(gathered, number, caller=Caller(Protocol.POP3, f"192.0.2.{number}"))
        with caplog.at_level(logging.WARNING):
            flush(gathered)
        assert "2 session records were dropped" in caplog.text
        assert len(kept()) == 2
        assert len(gathered._counting) == 1

    def test_what_a_client_said_is_shown_safely(self) -> None:
        gathered = Sessions(Clock())
        gathered.end(gathered.begin(opened(), CALLER, "ju\0les\n" * 100), Ending.QUIT, Tally())
        flush(gathered)
        login = SessionRecord.objects.get().login
        assert login.isprintable() or "\ufffd" in login
        assert len(login) == 255

    def test_a_record_without_an_end_has_no_time_of_one(self) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            SessionRecord.objects.create(mailbox_id=7, serial=1, began_at=timezone.now(), ended_at=timezone.now())

    def test_old_ones_and_too_many_are_pruned(self, settings: Settings) -> None:
        settings.SESSION_RECORD_DAYS, settings.SESSION_RECORDS_MAX = 10, 3
        now = timezone.now()
        for days in (11, 5, 4, 3, 2, 1):
            SessionRecord.objects.create(mailbox_id=7, serial=20 - days, began_at=now - timedelta(days=days))
        assert prune() == 3
        assert [serial for serial, _, _ in kept()] == [17, 18, 19]


def _fail(*_: Any) -> list[int]:
    raise DatabaseError("away")


Serve = Callable[..., DatabaseServed]


class TestServed:
    """What real sessions leave behind."""

    def test_a_session_is_recorded_and_its_messages_say_so(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("jules@maison.mrs", "x")
            client.ask("RETR 2")
            client.ask("RETR 3")
            client.ask("TOP 1 0")
            client.say("DELE 2")
            assert client.say("QUIT").startswith(b"+OK")
            assert client.closed()
        (row,) = self.records(served)
        assert (row.mailbox_id, row.login, row.address, row.tls) == (jules.id, "jules@maison.mrs", "127.0.0.1", "")
        assert (row.retrieved, row.retrieved_octets, row.topped) == (2, 500, 1)
        assert 0 < row.topped_octets < 100
        assert (row.deleted, row.left, row.ending) == (1, 2, "quit")
        marks = Message.objects.filter(mailbox_id=jules.id).order_by("uid")
        assert [mark.retrieved_serial for mark in marks] == [None, row.serial, row.serial]
        assert [mark.deleted_serial for mark in marks] == [None, row.serial, None]

    def test_how_a_session_ended(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("jules@maison.mrs", "x").ask("RETR 1")
            client.say("DELE 1")
            client.reset()
        wait_until(lambda: served.open() == 0 and not served.keeper.held)
        with served.connect() as client:
            client.log_in("jules@maison.mrs", "x").ask("RETR 1")
            served.thread.run(served.connections.drain())
        dropped, stopped = self.records(served)
        assert [(row.ending, row.retrieved, row.deleted, row.left) for row in (dropped, stopped)] == [
            ("dropped", 1, 0, 3),
            ("server", 1, 0, 3),
        ]

    def test_a_quit_that_fails_is_recorded_as_such(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage, no_patience: None
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("jules@maison.mrs", "x").say("DELE 1")
            with outage:
                assert client.say("QUIT").startswith(b"-ERR [SYS/TEMP]")
        wait_until(lambda: not served.keeper.held)
        (row,) = self.records(served)
        assert (row.ending, row.deleted, row.left) == ("failed", 0, 3)

    def test_under_tls_its_version_is_noted(self, serve_mailboxes: Serve, jules: FoundMailbox, tls: Tls) -> None:
        served = serve_mailboxes(tls=tls.server)
        with served.connect(tls=tls.client) as client:
            client.log_in("jules@maison.mrs", "x").say("QUIT")
            assert client.closed()
        with served.connect() as client:
            client.greet()
            client.say("STLS")
            client.start_tls(tls.client)
            for command in ("USER jules@maison.mrs", "PASS x", "DELE 1", "QUIT"):
                assert client.say(command).startswith(b"+OK")
            assert client.closed()
        assert [row.tls for row in self.records(served)] == ["TLSv1.3", "TLSv1.3"]

    @staticmethod
    def records(served: DatabaseServed) -> list[SessionRecord]:
        served.thread.run(served.keeper.sessions.flush(served.bridge, everything=True))
        return list(SessionRecord.objects.order_by("began_at"))
