"""Collecting in a worker process: claims what is due, for as many looks at once as it may have.

Any number of processes on any number of hosts do the same on one database.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from django.utils import timezone

from collecting.claims import claim
from collecting.errands import Errands

logger = logging.getLogger(__name__)

#: Seconds between two looks at what is due.
POLL_SECONDS = 2.0


class Collector:
    """Collects from `start` to `stop`. `clock` says what time it is."""

    def __init__(
        self,
        *,
        connections: int,
        clock: Callable[[], datetime] = timezone.now,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._poll_seconds = poll_seconds
        self._errands = Errands(limit=connections, clock=clock)
        self._stopping = asyncio.Event()
        self._claiming: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._errands.start()
        self._claiming = asyncio.create_task(self._claim_for_ever())

    async def drain(self) -> None:
        """Claim nothing more, and wait for the message that each look is at."""
        self._stopping.set()
        await self._errands.drain()

    async def stop(self) -> None:
        """Break off what is still under way."""
        self._stopping.set()
        if self._claiming is not None:
            await self._claiming  # what is just being claimed is given back, too
            await self._errands.stop()

    async def _claim_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                while self._errands.has_room and await self._errands.begin(claim):
                    pass
            except Exception:
                logger.exception("no account was claimed; trying again")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._poll_seconds)
