"""The worker process of `smtpserve`: one loop with its bridges to the database, its connections and its relay."""

import asyncio
import logging
from typing import ClassVar

from django.conf import settings

from accounts import activity
from accounts.door import Door
from collecting.collector import Collector
from mailplatform.arrivals import Arrival
from mailplatform.bridge import Bridge
from mailplatform.networks import Networks
from mailplatform.processes import Bind, ServerWorker
from smtpservice.authenticator import Authenticator
from smtpservice.intake import LocalIntake
from smtpservice.pace import Pace
from smtpservice.relay.configured import make_relay
from smtpservice.requests import Service
from smtpservice.server import Connections
from smtpservice.socketmap import AddressTables
from smtpservice.spam import SpamCheck
from smtpservice.submission import Desk

logger = logging.getLogger(__name__)

#: Threads with a database connection each. Deliveries wait for the disk, not for the processor.
DATABASE_THREADS = 4
#: Those of the relay, apart, so that a long queue keeps no delivery waiting.
RELAY_THREADS = 2
#: Seconds between two writings of the day's counts.
FLUSH_SECONDS = 5.0
#: The role of a bind where Postfix asks for tables.
SOCKETMAP = "socketmap"


class SmtpWorker(ServerWorker):
    """Serves SMTP and LMTP on the sockets of the arbiter; a bind's role is the name of its Service.

    It works the outbound queue besides, and collects from other accounts.
    """

    relays: ClassVar[bool] = True

    async def begin(self) -> None:
        self._bridge = Bridge(threads=DATABASE_THREADS)
        submits = any(bind.role == Service.SUBMISSION.value for bind in self.app.binds)
        self._door = Door(self._bridge) if submits else None
        if self._door is not None:
            await self._door.tend()
        self._authenticator = _make_authenticator()
        self._spam = _make_spam_check()
        self._storing = Bridge(threads=1)
        self._tables = AddressTables(self._bridge)
        self._relay_bridge = Bridge(threads=RELAY_THREADS)
        self._relay = make_relay(self._relay_bridge)
        self._collector = Collector(connections=settings.COLLECT_CONNECTIONS)
        self._connections = Connections(
            LocalIntake(
                self._bridge,
                hostname=settings.MAIL_HOSTNAME,
                authenticator=self._authenticator,
                spam=self._spam,
                storing=self._storing,
                submitted=self._relay.wake,
            ),
            hostname=settings.MAIL_HOSTNAME,
            max_octets=settings.MAIL_MAX_OCTETS,
            idle_seconds=settings.SMTP_IDLE_SECONDS,
            message_seconds=settings.SMTP_MESSAGE_SECONDS,
            tls=self.tls,
            pace=Pace(settings.SMTP_MESSAGES_PER_MINUTE, Networks(settings.SMTP_AUTHENTICATION_EXEMPT_NETWORKS)),
            desk=Desk(self._bridge, self._door) if self._door else None,
        )
        if self.relays:
            self._relay.start()
            self._collector.start()
        self._chores = [asyncio.create_task(self._flush_for_ever())]
        if self._door:
            self._chores.append(asyncio.create_task(self._door.chores()))

    def limits(self) -> tuple[int, int]:
        return settings.SMTP_MAX_CONNECTIONS, settings.SMTP_MAX_CONNECTIONS_PER_ADDRESS

    def connected(self, bind: Bind, arrival: Arrival) -> asyncio.Protocol:
        if bind.role == SOCKETMAP:
            return self._tables.connected()
        return self._connections.connected(Service(bind.role), arrival)

    async def drain(self) -> None:
        await asyncio.gather(self._connections.drain(), self._relay.drain(), self._collector.drain())

    async def end(self) -> None:
        await self._connections.end()
        self._tables.close()
        self._authenticator.close()
        if self._spam is not None:
            self._spam.close()
        await asyncio.gather(self._relay.stop(), self._collector.stop())
        await self._relay_bridge.close()
        for chore in self._chores:
            chore.cancel()
        if self._door:
            await self._door.close()
        await self._flush()
        await self._storing.close()
        await self._bridge.close()

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        try:
            await self._bridge.run(activity.flush)
        except Exception:
            logger.exception("the day's counts were not written; they are kept for the next time")


class IntakeWorker(SmtpWorker):
    """Takes mail in, sends none and collects none: other workers do."""

    relays = False


def _make_authenticator() -> Authenticator:
    return Authenticator(
        hostname=settings.MAIL_HOSTNAME,
        exempt=Networks(settings.SMTP_AUTHENTICATION_EXEMPT_NETWORKS),
        looks=settings.SMTP_AUTHENTICATION != "off",
        refuses=settings.SMTP_AUTHENTICATION == "refuse",
        name_servers=settings.RELAY_NAME_SERVERS,
    )


def _make_spam_check() -> SpamCheck | None:
    if not settings.SPAM_CHECK_URL:
        return None
    return SpamCheck(
        url=settings.SPAM_CHECK_URL,
        seconds=settings.SPAM_CHECK_SECONDS,
        hostname=settings.MAIL_HOSTNAME,
        exempt=Networks(settings.SMTP_AUTHENTICATION_EXEMPT_NETWORKS),
    )
