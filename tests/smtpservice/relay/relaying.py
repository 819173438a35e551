"""A relay on the test's database with a clock that is set, name servers and peers of the test's own."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TypeVar

import uvloop
from django.db import connections
from django.utils import timezone

from mailplatform.bridge import Bridge
from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.queue import Recipient, enqueue
from smtpservice.relay.destinations import Destination, MailExchanges
from smtpservice.relay.peer import Timeouts
from smtpservice.relay.routes import Router
from smtpservice.relay.worker import Limits, Relay
from tests.mailstore.mailboxes import body_of

T = TypeVar("T")

#: Seconds that nothing in these tests takes.
PATIENCE = 20.0
HOST = "mail.maison.mrs"
MESSAGE = b"Subject: hello\r\nMessage-ID: <1@maison.mrs>\r\n\r\n.hello\r\n"
#: None of a peer's silences is waited for longer.
SHORT = Timeouts(connect=5.0, greeting=0.5, handshake=5.0, command=0.5, data=0.5, block=0.5, end=0.5, quit=0.5)


class Clock:
    """What time it is, as a test has it."""

    def __init__(self) -> None:
        self.now = timezone.now()

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


def run(test: Awaitable[None]) -> None:
    uvloop.run(asyncio.wait_for(test, PATIENCE * 3))


def queue(
    *recipients: str | Recipient, sender: str = "jules@maison.mrs", message: bytes = MESSAGE, **more: object
) -> QueuedMessage:
    """A message for these addresses, due at once."""
    wanted = [one if isinstance(one, Recipient) else Recipient(one) for one in recipients]
    with body_of(message) as body:
        return enqueue(sender=sender, recipients=wanted, body=body, **more)


def state(address: str) -> tuple[str, int, str]:
    """State, attempts and last reply of a queued recipient."""
    row = QueuedRecipient.objects.get(address=address)
    return row.state, row.attempts, row.last_reply


def exchanges(name_server: str, port: int, timeouts: Timeouts = SHORT) -> MailExchanges:
    """Mail goes where this name server says, to `port`."""
    router = Router(name_servers=[name_server], ourselves=HOST, ipv6=False)
    return MailExchanges(router, hostname=HOST, port=port, timeouts=timeouts)


@asynccontextmanager
async def relaying(
    destination: Destination,
    clock: Callable[[], datetime] = timezone.now,
    connections: int = 4,
    per_destination: int = 2,
) -> AsyncIterator[Relay]:
    """A relay that works until the block ends."""
    bridge = Bridge(threads=2)
    relay = Relay(bridge, destination, Limits(connections, per_destination), clock=clock, poll_seconds=0.02)
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
        await bridge.close()


async def database(function: Callable[..., T], *arguments: object, **more: object) -> T:
    """What this answers on a thread of its own, whose connection is closed then."""

    def call() -> T:
        try:
            return function(*arguments, **more)
        finally:
            connections.close_all()

    return await asyncio.to_thread(call)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; it may ask the database."""
    async with asyncio.timeout(PATIENCE):
        for _ in itertools.count():
            if await database(condition):
                return
            await asyncio.sleep(0.01)
