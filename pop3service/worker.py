"""The worker process of `pop3serve`: one loop with its bridge to the database and its connections.

The worker has a row in the database, which it keeps fresh and by which its locks are judged (pop3service.workers).
"""

import asyncio
import functools
import logging
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings

from accounts import activity
from accounts.callers import Protocol
from accounts.door import Door
from accounts.guests import Guest, find_unwelcome
from accounts.policies import find_announced
from accounts.tokens import BearerToken
from mailplatform.arrivals import Arrival
from mailplatform.bridge import Bridge
from mailplatform.processes import Bind, ServerWorker
from pop3service import ending, languages, sessions, workers
from pop3service.access import Visit
from pop3service.keeper import Admitted, Keeper
from pop3service.protocol import Session
from pop3service.server import Connections, Limits
from pop3service.states import Announced, Channel, Ending, NoPolicy

logger = logging.getLogger(__name__)

#: Seconds between two writings of the day's counts.
FLUSH_SECONDS = 5.0
#: Seconds between two looks at the policies of all mailboxes.
ANNOUNCE_SECONDS = 60.0


class Pop3Worker(ServerWorker):
    """Serves POP3 on the sockets of the arbiter."""

    async def begin(self) -> None:
        self._row = {"worker": uuid.uuid4(), "arbiter": self.app.identity}
        self._bridge = Bridge(awake=1)
        await self._bridge.run(functools.partial(workers.register, **self._row))
        self._door = Door(self._bridge)
        await self._door.tend()
        self._keeper = Keeper(bridge=self._bridge, door=self._door, worker=self._row["worker"])
        reception = Reception(self._keeper, starttls=self.tls is not None)
        reception.announce(await self._bridge.run(find_announced))
        self._connections = Connections(
            welcome=reception,
            limits=Limits(settings.POP3_IDLE_SECONDS, settings.POP3_LOGIN_SECONDS),
            tls=self.tls,
        )
        self._flushing = asyncio.Lock()
        self._chores = [
            asyncio.create_task(self._door.chores()),
            asyncio.create_task(self._repeat(workers.BEAT_SECONDS, self._stay_alive)),
            asyncio.create_task(self._end_asked()),
            asyncio.create_task(self._end_unwelcome()),
            asyncio.create_task(self._end_revoked()),
            asyncio.create_task(self._announce(reception)),
            asyncio.create_task(self._repeat(FLUSH_SECONDS, activity.flush)),
            asyncio.create_task(self._repeat(sessions.PRUNE_SECONDS, sessions.prune)),
            asyncio.create_task(self._write_sessions()),
        ]

    def limits(self) -> tuple[int, int]:
        return settings.POP3_MAX_CONNECTIONS, settings.POP3_MAX_CONNECTIONS_PER_ADDRESS

    def connected(self, bind: Bind, arrival: Arrival) -> asyncio.Protocol:
        return self._connections.connected(arrival)

    async def drain(self) -> None:
        await self._connections.drain()

    async def end(self) -> None:
        await self._connections.end()
        await self._keeper.close()
        for chore in self._chores:
            chore.cancel()
        await self._flush_sessions(everything=True)
        await self._door.close()
        await self._do(activity.flush)
        await self._do(functools.partial(workers.retire, worker=self._row["worker"]))
        await self._bridge.close()

    async def _repeat(self, seconds: float, chore: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._do(chore)

    def _stay_alive(self) -> None:
        workers.beat(**self._row)
        self._keeper.pulse.went_through()

    async def _end_asked(self) -> None:
        """End the sessions that somebody wants to end."""
        while True:
            await asyncio.sleep(workers.BEAT_SECONDS)
            asked = await self._do(functools.partial(ending.take_asked, self._row["worker"]))
            if asked:
                logger.info("sessions to end: %s", asked)
                self._connections.end_some(asked, ending.TEXT, Ending.ADMIN)

    async def _end_unwelcome(self) -> None:
        """End the sessions of those who would not be let in any more."""
        while True:
            await asyncio.sleep(ending.LOOK_SECONDS)
            if admitted := dict(self._keeper.admitted):
                self._turn_out(await self._do(functools.partial(_find_unwelcome, admitted)))

    async def _end_revoked(self) -> None:
        """End the sessions whose bearer token has been revoked. Apart: who issued it may take long to answer."""
        asked: set[BearerToken] = set()
        turns = asyncio.Semaphore(ending.ASKED_AT_ONCE)

        async def ask(token: BearerToken, names: set[ending.Named]) -> None:
            async with turns:
                if await self._door.is_revoked(token):
                    self._turn_out(names)
            asked.discard(token)

        async with asyncio.TaskGroup() as asking:
            while True:
                await asyncio.sleep(ending.LOOK_SECONDS)
                for token, names in self._opened_by_tokens().items():
                    if token not in asked:
                        asked.add(token)
                        asking.create_task(ask(token, names))

    def _opened_by_tokens(self) -> dict[BearerToken, set[ending.Named]]:
        opened: dict[BearerToken, set[ending.Named]] = {}
        for name, (admission, _) in self._keeper.admitted.items():
            if admission.token is not None:
                opened.setdefault(admission.token, set()).add(name)
        return opened

    def _turn_out(self, names: set[ending.Named] | None) -> None:
        if names:
            logger.info("sessions whose login is no longer allowed: %s", names)
            self._connections.end_some(names, ending.REVOKED, Ending.REVOKED)

    async def _announce(self, reception: "Reception") -> None:
        """Keep up with what CAPA says to anyone."""
        while True:
            await asyncio.sleep(ANNOUNCE_SECONDS)
            if (announced := await self._do(find_announced)) is not None:
                reception.announce(announced)

    async def _write_sessions(self) -> None:
        while True:
            await asyncio.sleep(sessions.FLUSH_SECONDS)
            # Cancelled between a statement and its answer a batch would be written twice.
            await asyncio.shield(asyncio.ensure_future(self._flush_sessions()))

    async def _flush_sessions(self, *, everything: bool = False) -> None:
        async with self._flushing:
            try:
                await self._keeper.sessions.flush(self._bridge, everything=everything)
            except Exception:
                logger.exception("writing the records of sessions failed, the next turn tries again")

    async def _do(self, chore: Callable[[], Any]) -> Any:
        """A chore in the database; an error is logged. The next turn tries anew, and a row left over goes stale."""
        try:
            return await self._bridge.run(chore)
        except Exception:
            logger.exception("%r failed", chore)
            return None


def _find_unwelcome(admitted: Admitted) -> set[ending.Named]:
    """By a name of each, the sessions of those who would not be let in any more. On a thread: there may be many."""
    guests = {
        name: Guest.of(admission, Protocol.POP3, [mailbox_id for mailbox_id, _serial in names])
        for name, (admission, names) in admitted.items()
    }
    unwelcome = find_unwelcome(set(guests.values()))
    return {name for name, guest in guests.items() if guest in unwelcome}


class Reception:
    """Gives each connection its session and its way to the maildrop."""

    def __init__(self, keeper: Keeper, *, starttls: bool) -> None:
        self._keeper = keeper
        self._starttls = starttls
        self._languages = languages.spoken()
        self.announce(NoPolicy())

    def announce(self, policy: Announced) -> None:
        """What sessions that begin from now on say of the policies before the login."""
        #: One for all connections of a kind.
        self._channels = {
            (encrypted, plaintext): Channel(
                hostname=settings.MAIL_HOSTNAME,
                encrypted=encrypted,
                starttls=self._starttls,
                plaintext=plaintext,
                mechanisms=self._keeper.door.mechanisms,
                policy=policy,
                languages=self._languages,
            )
            for encrypted in (False, True)
            for plaintext in (False, True)
        }

    def __call__(self, arrival: Arrival) -> tuple[Session, Visit]:
        channel = self._channels[arrival.encrypted, arrival.plaintext]
        return Session(channel), Visit(self._keeper, arrival.address, arrival.tls)
