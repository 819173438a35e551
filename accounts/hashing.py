"""Slow hashes, off the event loop and off the database's threads: a few at a time, and a queue that has an end."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

Result = TypeVar("Result")

#: Logins that wait for their turn, some two seconds of work, and those of one network among them: nobody fills the
#: queue alone.
MOST_WAITING = 200
MOST_OF_ONE = 40


class TooBusyError(Exception):
    """Too many wait already."""


class Hashing:
    """A thread for each processor. A hash is computed in a turn, which comes in the order in which it was asked for."""

    def __init__(self, threads: int | None = None) -> None:
        threads = threads or os.cpu_count() or 2
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="password")
        self._free = asyncio.Semaphore(threads)
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, network: str) -> AsyncIterator[None]:
        """Wait until a thread is free, then hold it. Raises TooBusyError at once where the queue is full."""
        if self._waiting.total() >= MOST_WAITING or self._waiting[network] >= MOST_OF_ONE:
            raise TooBusyError
        self._waiting[network] += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting[network] -= 1
            if not self._waiting[network]:
                del self._waiting[network]
        try:
            yield
        finally:
            self._free.release()

    async def run(self, function: Callable[..., Result], *args: object) -> Result:
        """Run `function(*args)` on the thread that a turn holds."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def close(self) -> None:
        """Begin no further hash; what is under way comes to its end on its thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)
