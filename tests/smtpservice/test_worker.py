"""The worker: its listeners' services, its settings, the day's counts, and an end that leaves nothing open."""

import asyncio
import functools
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from pytest_django import Settings

from accounts import activity
from accounts.models import DayCount
from mailplatform.processes import Bind
from smtpservice import worker
from smtpservice.models import QueuedMessage
from smtpservice.requests import Service
from smtpservice.worker import IntakeWorker, SmtpWorker
from tests.smtpservice.local import make_mailbox, stored
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.relay.peers import ScriptedPeer
from tests.smtpservice.relay.relaying import queue
from tests.smtpservice.relay.relaying import until as until_the_database_says
from tests.smtpservice.serving import ENVELOPE, MESSAGE, TOLD, Client, run, until

pytestmark = pytest.mark.django_db(transaction=True)


def made_ready(kind: type[SmtpWorker]) -> SmtpWorker:
    """A worker that has not begun."""
    binds = [Bind(service.value, "127.0.0.1", 0) for service in Service]
    application = SimpleNamespace(tls=None, binds=binds)
    made = kind(1, os.getpid(), [], application, 30, Config(), logging.getLogger("gunicorn"))
    made.tmp.close()
    return made


def with_worker(use: Callable[[SmtpWorker], Awaitable[None]], kind: type[SmtpWorker] = SmtpWorker) -> None:
    """A worker between its begin and its end, without an arbiter."""

    async def main() -> None:
        made = made_ready(kind)
        await made.begin()
        try:
            await use(made)
        finally:
            await made.end()

    run(main())


async def connect(made: SmtpWorker, service: Service) -> Client:
    connected = functools.partial(made.connected, Bind(service.value, "127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(
        lambda: made.gate.entry(connected, tls=False), "127.0.0.1", 0
    )
    client = Client(*await asyncio.open_connection(*server.sockets[0].getsockname()))
    server.close()
    return client


def test_a_bind_is_served_as_its_role_says_with_the_settings_of_the_project(settings: Settings) -> None:
    settings.MAIL_HOSTNAME, settings.MAIL_MAX_OCTETS, settings.SMTP_MAX_CONNECTIONS = "mail.maison.mrs", 12345, 2

    async def use(made: SmtpWorker) -> None:
        async with await connect(made, Service.SMTP) as smtp, await connect(made, Service.LMTP) as lmtp:
            assert await smtp.reply() == "220 mail.maison.mrs ESMTP ready"
            assert await lmtp.reply() == "220 mail.maison.mrs LMTP ready"
            assert await lmtp.say(b"LHLO me\r\nMAIL FROM:<> SIZE=12346\r\n", 2) == ["250", "552 5.3.4"]
            async with await connect(made, Service.SMTP) as third:
                assert (await third.reply())[:3] == "421"

    with_worker(use)


def test_a_message_is_stored_counted_and_the_count_written_at_the_end() -> None:
    make_mailbox("jules@maison.mrs")
    activity.flush()
    before = sum(DayCount.objects.filter(name="deliveries").values_list("times", flat=True))

    async def use(made: SmtpWorker) -> None:
        async with await connect(made, Service.SMTP) as client:
            assert await client.say(b"EHLO me\r\n", 2) == ["220", "250"]
            assert await client.say(ENVELOPE + MESSAGE + b".\r\n", 4) == [*TOLD, "250 2.0.0"]

    with_worker(use)
    assert len(stored("jules@maison.mrs")) == 1
    assert sum(DayCount.objects.filter(name="deliveries").values_list("times", flat=True)) == before + 1


def test_counts_that_cannot_be_written_are_logged_and_do_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "FLUSH_SECONDS", 0.01)
    tries: list[None] = []

    def fail() -> None:
        tries.append(None)
        raise OSError("no disk")

    monkeypatch.setattr(activity, "flush", fail)

    async def use(made: SmtpWorker) -> None:
        await until(lambda: len(tries) > 2)

    with_worker(use)
    assert "the day's counts were not written" in caplog.text


def test_drain_and_end_leave_no_client_and_no_thread() -> None:
    async def use(made: SmtpWorker) -> None:
        async with await connect(made, Service.SMTP) as client:
            await client.reply()
            await made.drain()
            assert (await client.rest())[:3] == b"421"

    before = set(threading.enumerate())
    with_worker(use)
    assert not [thread for thread in threading.enumerate() if thread not in before and "bridge" in thread.name]


def test_a_worker_sends_what_is_queued_and_one_that_only_takes_mail_in_does_not(settings: Settings) -> None:
    queue("a@example.org")

    async def use(made: SmtpWorker) -> None:
        zone = {"example.org MX": ["10 peer.example."], "peer.example A": ["127.0.0.1"]}
        async with NameServer(zone).serving() as names, ScriptedPeer().serving() as peer:
            settings.RELAY_NAME_SERVERS, settings.RELAY_PORT = [names.address], peer.port
            other = made_ready(IntakeWorker)
            await other.begin()
            await until_the_database_says(lambda: QueuedMessage.objects.exists())
            await other.end()
            sending = made_ready(SmtpWorker)
            await sending.begin()
            await until_the_database_says(lambda: not QueuedMessage.objects.exists())
            await sending.drain()
            await sending.end()
            assert len(peer.taken) == 1

    with_worker(use, IntakeWorker)
