"""Collecting in a worker process: claims what is due, and has a bounded number of threads look at it.

Any number of processes on any number of hosts do the same on one database. A look is blocking code on a thread of a
bridge, which gives it a database connection; the loop only claims, renews, and breaks off what a shutdown does not
wait for.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from collecting.claims import LEASE, ClaimLostError, claim, renew
from collecting.look import Look, Ways, look
from collecting.models import Source
from collecting.outcomes import record
from mailplatform.bridge import Bridge
from mailplatform.claims import renew_for_ever, write_down
from mailstore.pop3_client import Pop3Client, Pop3Error

logger = logging.getLogger(__name__)

#: Seconds between two looks at what is due, and two renewals of claims.
POLL_SECONDS = 2.0
RENEW_SECONDS = 30.0
#: Seconds between two tries to break off what is under way.
BREAK_OFF_SECONDS = 0.2


@dataclass(slots=True)
class Errand:
    """One look that is under way: who claimed for it, what it has found, and what breaks it off."""

    worker: UUID = field(default_factory=uuid4)
    found: Look = field(default_factory=Look)
    ending: bool = False
    client: Pop3Client | None = None

    def opened(self, client: Pop3Client) -> None:
        self.client = client
        if self.ending:
            client.abort()

    def end(self) -> None:
        """Begin no other message."""
        self.ending = True

    def break_off(self) -> None:
        self.ending = True
        if self.client is not None:
            self.client.abort()


def run(source: Source, errand: Errand, clock: Callable[[], datetime] = timezone.now) -> Exception | None:
    """Look at a claimed account; answers what went wrong. Raises DatabaseError, InterfaceError."""
    try:
        look(source, errand.found, Ways(errand.opened, lambda: errand.ending, clock))
    except (DatabaseError, InterfaceError):
        raise  # the bridge closes the connection
    except ClaimLostError:
        logger.warning("source %d was taken by another worker, or is gone", source.pk)
    except Pop3Error as error:
        if not errand.ending:
            return error
        errand.found.broken_off = True
    except Exception as error:
        logger.exception("collecting from source %d", source.pk)
        return error
    return None


class Collector:
    """Collects from `start` to `stop`. `clock` says what time it is."""

    def __init__(
        self,
        *,
        connections: int,
        clock: Callable[[], datetime] = timezone.now,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._clock, self._poll_seconds, self._limit = clock, poll_seconds, connections
        self._errands: dict[asyncio.Task[None], Errand] = {}
        self._stopping = asyncio.Event()
        self._chores: list[asyncio.Task[None]] = []

    def start(self) -> None:
        # One thread more: claims and their renewal do not wait for a server.
        self._bridge = Bridge(threads=self._limit + 1)
        renewing = renew_for_ever(self._renew, self._break_off, clock=self._clock, seconds=RENEW_SECONDS, lease=LEASE)
        self._chores = [asyncio.create_task(self._claim_for_ever()), asyncio.create_task(renewing)]

    async def drain(self) -> None:
        """Claim nothing more, and wait for the message that each look is at."""
        self._stopping.set()
        for errand in self._errands.values():
            errand.end()
        while self._errands:
            await asyncio.wait(self._errands)

    async def stop(self) -> None:
        """Break off what is still under way; what was stored is stored, and the rest is fetched again."""
        self._stopping.set()
        await asyncio.gather(*self._chores[:1], return_exceptions=True)  # what is just being claimed is given back, too
        while self._errands:
            self._break_off()  # again, where it was just about to connect
            await asyncio.wait(self._errands, timeout=BREAK_OFF_SECONDS)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._chores:
            await self._bridge.close()

    async def _claim_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                while self._has_room() and await self._claim_one():
                    pass
            except Exception:
                logger.exception("no account was claimed; trying again")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._poll_seconds)

    def _has_room(self) -> bool:
        return len(self._errands) < self._limit and not self._stopping.is_set()

    async def _claim_one(self) -> bool:
        errand = Errand()
        source = await self._bridge.run(claim, errand.worker, self._clock())
        if source is None:
            return False
        task = asyncio.create_task(self._carry_out(source, errand))
        self._errands[task] = errand
        task.add_done_callback(self._errands.pop)
        if self._stopping.is_set():
            errand.end()
        return True

    async def _carry_out(self, source: Source, errand: Errand) -> None:
        error: Exception | None
        try:
            error = await self._bridge.run(run, source, errand, self._clock)
        except Exception as failure:
            logger.exception("collecting from source %d", source.pk)
            error = failure
        await write_down(
            lambda: self._bridge.run(record, source, errand.found, error, self._clock()),
            gives_up=self._stopping.is_set,
        )

    async def _renew(self, now: datetime) -> None:
        if self._errands:
            await self._bridge.run(renew, [errand.worker for errand in self._errands.values()], now)

    def _break_off(self) -> None:
        for errand in self._errands.values():
            errand.break_off()
