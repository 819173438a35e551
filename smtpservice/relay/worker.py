"""The relay of one worker process: claims what is due, and has a bounded number of connections send it.

Any number of processes on any number of hosts do the same on one database. What is claimed here is renewed for as long
as a connection works at it; where that fails for too long, others may have it, and the connections are broken off.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from django.utils import timezone

from mailplatform.bridge import Bridge
from mailplatform.claims import renew_for_ever, write_down
from smtpservice.queue import read_piece
from smtpservice.relay.claims import LEASE, Claim, ClaimedMessage, Wish, claim, postpone, renew
from smtpservice.relay.destinations import Destination
from smtpservice.relay.local import deliver_here
from smtpservice.relay.outcomes import Outcome, PeerReply, Report, Result, record
from smtpservice.relay.peer import VanishedError
from smtpservice.relay.sending import carry_out, for_all

logger = logging.getLogger(__name__)

#: Seconds between two looks at the queue, and two renewals of claims.
POLL_SECONDS = 1.0
RENEW_SECONDS = 30.0

_OUR_ERROR = PeerReply(451, "4.3.0", "An error on our side; the log has it")


@dataclass(frozen=True, slots=True)
class Limits:
    """Connections of this process, and those of all processes to one destination."""

    connections: int
    per_destination: int


class Relay:
    """Works the queue from `start` to `stop`. `clock` says what time it is."""

    def __init__(
        self,
        bridge: Bridge,
        destination: Destination,
        limits: Limits,
        *,
        clock: Callable[[], datetime] = timezone.now,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._bridge, self._destination, self._limits = bridge, destination, limits
        self._clock, self._poll_seconds = clock, poll_seconds
        self._woken = asyncio.Event()
        self._connections: dict[UUID, asyncio.Task[None]] = {}
        self._stopping = self._breaking_off = False
        #: Outcomes that are being written down, whatever becomes of the connection that they are of.
        self._writing: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        renewing = renew_for_ever(self._renew, self._break_off, clock=self._clock, seconds=RENEW_SECONDS, lease=LEASE)
        self._tasks = [asyncio.create_task(self._claim_for_ever()), asyncio.create_task(renewing)]

    def wake(self) -> None:
        """Something has been queued here: it need not wait for the next look."""
        self._woken.set()

    async def drain(self) -> None:
        """Claim nothing more, and wait until what is being sent has been sent."""
        self._stopping = True
        while self._connections:
            await asyncio.wait(self._connections.values())

    async def stop(self) -> None:
        """Break off what is still being sent; its claims end by themselves. What was said of it is written."""
        self._stopping = self._breaking_off = True
        tasks = [*self._tasks, *self._connections.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _claim_for_ever(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                while await self._claim_one():
                    pass
            except Exception:
                logger.exception("nothing was claimed; trying again")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._poll_seconds)

    async def _claim_one(self) -> bool:
        """Claim what is due and have it sent. False where there is nothing, or no connection is free for it."""
        if self._stopping or len(self._connections) >= self._limits.connections:
            return False
        wish = Wish(
            id=uuid4(),
            now=self._clock(),
            limit=self._limits.per_destination,
            together=self._destination.together,
        )
        claimed = await self._bridge.run(claim, wish)
        if claimed is None:
            return False
        task = asyncio.create_task(self._work(claimed))
        self._connections[claimed.id] = task
        task.add_done_callback(lambda _: self._ended(claimed.id))
        return True

    def _ended(self, claim_id: UUID) -> None:
        del self._connections[claim_id]
        self._woken.set()

    async def _work(self, claimed: Claim) -> None:
        book = _Connection(self, claimed)
        try:
            left = await self._bridge.run(deliver_here, claimed, self._clock())
            if not left.messages:
                return
            await carry_out(left, book, self._destination, self._pieces)
        except Exception:
            logger.exception("an error while sending to %s", claimed.domain)
            await book.give_up(_OUR_ERROR)

    async def _pieces(self, message: ClaimedMessage) -> AsyncIterator[bytes]:
        number, left = 0, message.wire_octets
        while left and (piece := await self._bridge.run(read_piece, message.id, number)) is not None:
            yield piece
            number, left = number + 1, left - len(piece)
        if left:
            raise VanishedError

    async def _renew(self, now: datetime) -> None:
        if self._connections:
            await self._bridge.run(renew, list(self._connections), now)

    def _break_off(self) -> None:
        for task in self._connections.values():
            task.cancel()

    async def record(self, claim_id: UUID, message_id: int, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes down, for as long as it takes where the database is away.

        So it may take longer than a claim lasts without being renewed, for which the connection is broken off.
        """
        report = Report(claim_id, message_id, tuple(outcomes), self._clock())
        write = write_down(lambda: self._bridge.gather(record, report), gives_up=lambda: self._breaking_off)
        writing = asyncio.create_task(write)
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        await asyncio.shield(writing)

    async def claim_more(self, claimed: Claim) -> Claim | None:
        """More for the connection that has `claimed` before."""
        wish = Wish(
            id=claimed.id,
            now=self._clock(),
            limit=self._limits.per_destination,
            domain=claimed.domain,
            together=self._destination.together,
        )
        added = await self._bridge.run(claim, wish)
        return None if added is None else await self._bridge.run(deliver_here, added, self._clock())

    async def unreachable(self, domain: str, reply: PeerReply) -> None:
        """What is due for `domain`, and is not claimed, has made its attempt with `reply`."""
        together = self._destination.together
        await self._bridge.run(postpone, "" if together else domain, str(reply), self._clock())

    @property
    def is_stopping(self) -> bool:
        return self._stopping


class _Connection:
    """What one connection has claimed, and whose outcome is not known yet: the Book of its Sender."""

    def __init__(self, relay: Relay, claimed: Claim) -> None:
        self._relay, self._claimed = relay, claimed
        self._messages = list(claimed.messages)
        self._known: set[int] = set()

    @property
    def is_ending(self) -> bool:
        return self._relay.is_stopping

    async def report(self, message: ClaimedMessage, outcomes: Sequence[Outcome]) -> None:
        self._known.update(outcome.recipient_id for outcome in outcomes)
        await self._relay.record(self._claimed.id, message.id, outcomes)

    async def more(self) -> Claim | None:
        added = await self._relay.claim_more(self._claimed)
        if added is not None:
            self._messages += added.messages
        return added

    async def unreachable(self, reply: PeerReply) -> None:
        await self._relay.unreachable(self._claimed.domain, reply)

    async def give_up(self, reply: PeerReply) -> None:
        """Whoever has no outcome yet is tried again."""
        for message in self._messages:
            outcomes = [
                outcome
                for outcome in for_all(message, Result.DEFERRED, reply)
                if outcome.recipient_id not in self._known
            ]
            if outcomes:
                await self.report(message, outcomes)
