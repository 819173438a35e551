"""Slow hashes, off the event loop and off the database's threads: a few at a time, and a queue that has an end."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

Result = TypeVar("Result")

#: Logins that wait for their turn, some two seconds of work, and how many of them may be of one network: nobody fills
#: the queue alone. Others of that network wait behind them, up to so many: a school comes back all at once.
MOST_WAITING = 200
MOST_OF_ONE = 40
MOST_BEHIND = 1000


class TooBusyError(Exception):
    """Too many wait already."""


class _Network:
    """The logins of one network: those that have a place in the queue or their turn, and those behind them."""

    __slots__ = ("logins", "places")

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(MOST_OF_ONE)
        self.logins = 0


class Hashing:
    """A thread for each processor. A hash is computed in a turn, which comes in the order in which it was asked for."""

    def __init__(self, threads: int | None = None) -> None:
        threads = threads or os.cpu_count() or 2
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="password")
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0
        self._networks: dict[str, _Network] = {}

    @asynccontextmanager
    async def turn(self, network: str) -> AsyncIterator[None]:
        """Wait until a thread is free, then hold it. Raises TooBusyError where too many wait."""
        those = self._networks.setdefault(network, _Network())
        if those.logins >= MOST_OF_ONE + MOST_BEHIND:
            raise TooBusyError
        those.logins += 1
        try:
            async with those.places:
                await self._wait_in_queue()
                try:
                    yield
                finally:
                    self._free.release()
        finally:
            those.logins -= 1
            if not those.logins:
                del self._networks[network]

    async def _wait_in_queue(self) -> None:
        if self._waiting >= MOST_WAITING:
            raise TooBusyError
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    async def run(self, function: Callable[..., Result], *args: object) -> Result:
        """Run `function(*args)` on the thread that a turn holds."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def close(self) -> None:
        """Begin no further hash; what is under way comes to its end on its thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)
