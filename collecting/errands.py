"""Looks that are under way in one process: each on a thread, its claim renewed, and what came of it written down.

A look is blocking code on a thread of a bridge, which gives it a database connection; the loop renews the claims, and
breaks off what a shutdown does not wait for. Who claims is another matter: the collector of a worker, or a command.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from collecting.claims import LEASE, ClaimLostError, renew
from collecting.look import Look, Ways, look
from collecting.models import Source
from collecting.outcomes import record
from mailplatform.bridge import Bridge
from mailplatform.claims import renew_for_ever, write_down
from mailstore.pop3_client import Pop3Client, Pop3Error

logger = logging.getLogger(__name__)

#: Seconds between two renewals of claims.
RENEW_SECONDS = 10.0
#: Seconds between two tries to break off what is under way.
BREAK_OFF_SECONDS = 0.2

#: What one look came to, and what went wrong.
Result = tuple[Look, Exception | None]


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


class Errands:
    """A bounded number of them, from `start` to `stop`. `clock` says what time it is."""

    def __init__(self, *, limit: int, clock: Callable[[], datetime] = timezone.now) -> None:
        self._limit, self._clock = limit, clock
        self._claiming: set[asyncio.Task[asyncio.Task[Result] | None]] = set()
        self._under_way: dict[asyncio.Task[Result], Errand] = {}
        self._ending = False

    def start(self) -> None:
        # One thread more: claims and their renewal do not wait for a server.
        self._bridge = Bridge(threads=self._limit + 1)
        renewing = renew_for_ever(self._renew, self._break_off, clock=self._clock, seconds=RENEW_SECONDS, lease=LEASE)
        self._renewing = asyncio.create_task(renewing)

    @property
    def has_room(self) -> bool:
        return len(self._under_way) < self._limit and not self._ending

    async def begin(self, take: Callable[[UUID, datetime], Source | None]) -> "asyncio.Task[Result] | None":
        """Look at what `take` claims for a worker of this name, at this time; None where it claims nothing.

        The task is not to be cancelled: `stop` breaks it off. Who waits for this may be: what is claimed is given back.
        """
        claiming = asyncio.create_task(self._claim(take))
        self._claiming.add(claiming)
        claiming.add_done_callback(self._claiming.discard)
        return await asyncio.shield(claiming)

    async def _claim(self, take: Callable[[UUID, datetime], Source | None]) -> "asyncio.Task[Result] | None":
        errand = Errand()
        source = await self._bridge.run(take, errand.worker, self._clock())
        if source is None:
            return None
        task = asyncio.create_task(self._carry_out(source, errand))
        self._under_way[task] = errand
        task.add_done_callback(self._under_way.pop)
        if self._ending:
            errand.end()
        return task

    async def drain(self) -> None:
        """Wait for the message that each look is at."""
        self._ending = True
        for errand in self._under_way.values():
            errand.end()
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def stop(self) -> None:
        """Break off what is still under way; what was stored is stored, and the rest is fetched again."""
        self._ending = True
        await asyncio.gather(*self._claiming, return_exceptions=True)
        while self._under_way:
            self._break_off()  # again, where it was just about to connect
            await asyncio.wait(self._under_way, timeout=BREAK_OFF_SECONDS)
        self._renewing.cancel()
        await asyncio.gather(self._renewing, return_exceptions=True)
        await self._bridge.close()

    async def _carry_out(self, source: Source, errand: Errand) -> Result:
        error: Exception | None
        try:
            error = await self._bridge.run(run, source, errand, self._clock)
        except Exception as failure:
            logger.exception("collecting from source %d", source.pk)
            error = failure
        await write_down(
            lambda: self._bridge.run(record, source, errand.found, error, self._clock()), gives_up=lambda: self._ending
        )
        return errand.found, error

    async def _renew(self, now: datetime) -> None:
        if self._under_way:
            await self._bridge.run(renew, [errand.worker for errand in self._under_way.values()], now)

    def _break_off(self) -> None:
        for errand in self._under_way.values():
            errand.break_off()
