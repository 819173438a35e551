"""Collecting in a worker: what is due is collected, by as many threads as may be, and a shutdown waits for no server."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import pytest
from django.db import OperationalError

from accounts.lookup import FoundMailbox
from collecting import collector, errands, hosts
from collecting import look as looking
from collecting.claims import claim
from collecting.collector import Collector
from collecting.look import OUR_ERROR
from collecting.models import Source
from mailplatform import claims
from tests.collecting.sources import collected, make_source
from tests.mailstore.mailboxes import make_mailbox
from tests.mailstore.pop3_server import SILENCE, ScriptedPop3
from tests.smtpservice.relay.relaying import Clock, database, run, until

pytestmark = pytest.mark.django_db(transaction=True)
MESSAGE = b"Subject: x\r\n\r\nx\r\n"


def work(use: Callable[[Collector], Awaitable[None]], clock: Clock | None = None, *, connections: int = 2) -> None:
    async def main() -> None:
        made = Collector(connections=connections, clock=clock or Clock(), poll_seconds=0.02)
        made.start()
        try:
            await use(made)
        finally:
            await made.stop()

    run(main())


def is_done(source: Source) -> bool:
    source.refresh_from_db()
    return source.last_look_at is not None and source.claimed_by is None


def test_what_is_due_is_collected_by_itself_and_again_when_it_is_due(mailbox: FoundMailbox) -> None:
    clock = Clock()
    with ScriptedPop3([(b"a", MESSAGE)]).serving() as other:
        source = make_source(mailbox, other)
        clock.forward(seconds=1)

        async def twice(_: Collector) -> None:
            await until(lambda: is_done(source))
            other.messages.append((b"b", MESSAGE))
            clock.forward(minutes=16)
            await until(lambda: Source.objects.filter(collected=2, claimed_by=None).exists())

        work(twice, clock)
    assert collected(mailbox) == [MESSAGE] * 2


def test_servers_that_say_nothing_hold_up_as_many_threads_and_no_shutdown(mailbox: FoundMailbox) -> None:
    clock = Clock()
    with ScriptedPop3(script={"": SILENCE}).serving() as other:
        silent = [make_source(mailbox, other, login=str(n)) for n in range(3)]
        Source.objects.update(failures=7, last_error="before")
        clock.forward(seconds=1)

        async def wait(made: Collector) -> None:
            await until(lambda: other.sessions == 2)
            await until(lambda: Source.objects.filter(claimed_by__isnull=False).count() == 2)

        work(wait, clock)
    assert other.sessions == 2
    assert sum(is_done(each) for each in silent) == 2
    # Broken off, neither failed nor well: they are due again, at once, and all is as it was.
    assert {(each.failures, each.last_error, each.next_look_at <= clock()) for each in silent} == {(7, "before", True)}


def test_a_host_that_answers_no_connection_holds_up_no_shutdown(
    mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "CONNECT_SECONDS", 600.0)  # more than the test may take
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):  # it takes no more, and what comes then waits for an answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        source = make_source(mailbox, ScriptedPop3(port=full.getsockname()[1]))
        clock.forward(seconds=1)

        async def wait(_: Collector) -> None:
            await until(lambda: Source.objects.filter(claimed_by__isnull=False).exists())
            await asyncio.sleep(0.1)  # so that it connects

        work(wait, clock)
    source.refresh_from_db()
    assert (source.claimed_by, source.failures) == (None, 0)


def test_what_is_being_claimed_when_the_end_comes_is_given_back(
    mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, go_on, clock = threading.Event(), threading.Event(), Clock()

    def slowly(worker: UUID, now: datetime) -> Source | None:
        try:
            return claim(worker, now)
        finally:
            claimed.set()
            go_on.wait(20)

    monkeypatch.setattr(collector, "claim", slowly)
    with ScriptedPop3(script={"": SILENCE}).serving() as other:
        source = make_source(mailbox, other)
        clock.forward(seconds=1)

        async def stop(made: Collector) -> None:
            await asyncio.to_thread(claimed.wait, 20)
            stopping = asyncio.create_task(made.stop())
            await asyncio.sleep(0)
            go_on.set()
            await stopping

        work(stop, clock)
    source.refresh_from_db()
    assert (source.claimed_by, source.failures) == (None, 0)


def test_a_shutdown_waits_for_the_message_that_is_coming_and_begins_no_other(mailbox: FoundMailbox) -> None:
    asked, go_on, clock = threading.Event(), threading.Event(), Clock()

    def slowly(number: str) -> None:
        asked.set()
        go_on.wait(20)

    with ScriptedPop3([(b"a", MESSAGE), (b"b", MESSAGE)], {"RETR": slowly}).serving() as other:
        source = make_source(mailbox, other, keep=False)
        clock.forward(seconds=1)

        async def drain(made: Collector) -> None:
            await asyncio.to_thread(asked.wait, 20)
            draining = asyncio.create_task(made.drain())
            await asyncio.sleep(0)
            go_on.set()
            await draining
            assert await database(is_done, source)

        work(drain, clock)
    assert collected(mailbox) == [MESSAGE]
    assert [uid for uid, _ in other.messages] == [b"b"]
    assert (source.collected, source.last_error) == (1, "")


def test_a_database_that_is_away_is_waited_for(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def failing(function: Callable[..., object]) -> Callable[..., object]:
        failures = iter(range(3))

        def call(*arguments: object) -> object:
            if next(failures, None) is not None:
                raise OperationalError("away")
            return function(*arguments)

        return call

    monkeypatch.setattr(collector, "claim", failing(collector.claim))
    monkeypatch.setattr(errands, "record", failing(errands.record))
    monkeypatch.setattr(claims, "RECORD_SECONDS", 0.01)
    with ScriptedPop3([(b"a", MESSAGE)]).serving() as other:
        source = make_source(mailbox, other)
        clock.forward(seconds=1)

        async def wait(_: Collector) -> None:
            await until(lambda: is_done(source))

        work(wait, clock)
    assert collected(mailbox) == [MESSAGE]


def test_a_database_that_goes_away_in_the_middle_costs_one_look(
    mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, failures, real = Clock(), iter(range(1)), looking.deliver

    def failing(**arguments: object) -> object:
        if next(failures, None) is not None:
            raise OperationalError("away")
        return real(**arguments)

    monkeypatch.setattr(looking, "deliver", failing)
    with ScriptedPop3([(b"a", MESSAGE)]).serving() as other:
        source = make_source(mailbox, other)
        clock.forward(seconds=1)

        async def wait(_: Collector) -> None:
            await until(lambda: is_done(source))
            assert (source.last_error, source.failures) == (OUR_ERROR, 1)
            clock.forward(minutes=16)
            await until(lambda: Source.objects.filter(collected=1, failures=0, claimed_by=None).exists())

        work(wait, clock)
    assert collected(mailbox) == [MESSAGE]


def test_two_workers_share_what_is_due() -> None:
    clock = Clock()
    with ScriptedPop3([(b"a", MESSAGE), (b"b", MESSAGE)]).serving() as other:
        mailboxes = [make_mailbox(f"m{n}") for n in range(4)]
        for mailbox in mailboxes:
            make_source(mailbox, other)
        clock.forward(seconds=1)

        async def both(_: Collector) -> None:
            second = Collector(connections=2, clock=clock, poll_seconds=0.02)
            second.start()
            await until(lambda: Source.objects.filter(collected=2, claimed_by=None).count() == 4)
            await second.stop()

        work(both, clock)
    assert other.sessions == 4
    assert [len(collected(mailbox)) for mailbox in mailboxes] == [2] * 4
