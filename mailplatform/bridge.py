"""The way from asyncio to the database: a few threads, each with its own connection.

`await bridge.run(function, *args)` runs one function on one of the threads. `await bridge.gather(operation, item)`
is for hot paths: items of one operation that wait at the same moment become ONE call `operation(items)`, which
answers with a list as long as its argument, each element the item's result or an exception for that item alone.
There is no timer: whatever has queued while the threads were busy is the batch.

The bridge knows no app. It belongs to one event loop; `close` waits for work that has begun.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, connections

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Operation = Callable[[Sequence[Any]], Sequence[Any]]

#: The largest batch: one statement stays well under the parameter limits of both databases.
MAX_BATCH = 200


class BridgeClosedError(RuntimeError):
    """Work was asked for after `close`."""


class Bridge:
    """A few database threads for one event loop."""

    def __init__(self, *, threads: int = 4) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: dict[Operation, list[tuple[Any, asyncio.Future[Any]]]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"bridge-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, function: Callable[..., Result], *args: Any) -> asyncio.Future[Result]:
        """Run `function(*args)` on a database thread; the future carries what it returns or raises."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._put(lambda: self._run_one(function, args, future))
        return future

    def gather(
        self, operation: Callable[[Sequence[Item]], Sequence[Result | BaseException]], item: Item
    ) -> asyncio.Future[Result]:
        """Add `item` to the next batch of `operation`; the future carries this item's result or exception."""
        future: asyncio.Future[Result] = self._loop.create_future()
        with self._lock:
            waiting = self._waiting.get(operation)
            if waiting is None:
                self._waiting[operation] = waiting = []
            first = not waiting
            waiting.append((item, future))
        if first:
            self._put(lambda: self._run_batch(operation))
        return future

    async def close(self) -> None:
        """Finish the work that was asked for, close the connections and end the threads."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _put(self, job: Callable[[], None]) -> None:
        if self._closed:
            raise BridgeClosedError("the bridge is closed")
        self._jobs.put(job)

    def _work(self) -> None:
        """What one thread does: a job at a time, until None."""
        try:
            while (job := self._jobs.get()) is not None:
                job()
        finally:
            connections.close_all()

    def _run_one(self, function: Callable[..., Result], args: tuple[Any, ...], future: asyncio.Future[Result]) -> None:
        outcome: Any
        try:
            outcome = function(*args)
        except BaseException as error:
            _drop_broken_connection(error)
            outcome = error
            self._answer([(future, outcome, True)])
        else:
            self._answer([(future, outcome, False)])

    def _run_batch(self, operation: Operation) -> None:
        with self._lock:
            waiting = self._waiting[operation]
            batch, self._waiting[operation] = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
            more = bool(self._waiting[operation])
        if more:
            self._jobs.put(lambda: self._run_batch(operation))
        try:
            outcomes = operation([item for item, _ in batch])
            if len(outcomes) != len(batch):
                raise RuntimeError(f"{operation!r} answered {len(outcomes)} of {len(batch)} items")
        except BaseException as error:
            _drop_broken_connection(error)
            outcomes = [error] * len(batch)
        self._answer(
            [
                (future, outcome, isinstance(outcome, BaseException))
                for (_, future), outcome in zip(batch, outcomes, strict=True)
            ]
        )

    def _answer(self, outcomes: list[tuple[asyncio.Future[Any], Any, bool]]) -> None:
        """Hand a whole batch to the loop in one wake-up."""
        try:
            self._loop.call_soon_threadsafe(_settle, outcomes)
        except RuntimeError:  # the loop has ended: nobody waits for the answer any more
            logger.warning("an answer of the database came after the loop's end")


def _settle(outcomes: list[tuple[asyncio.Future[Any], Any, bool]]) -> None:
    for future, outcome, failed in outcomes:
        if future.done():  # cancelled: its session has gone
            continue
        if failed:
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _drop_broken_connection(error: BaseException) -> None:
    """After a database error the thread's next job begins on a new connection."""
    if isinstance(error, DatabaseError | InterfaceError):
        for connection in connections.all(initialized_only=True):
            try:
                connection.close()
            except DatabaseError:
                logger.debug("closing a broken connection failed", exc_info=True)
