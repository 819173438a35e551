"""The way from asyncio to the database: a few threads, each with its own connection.

`await bridge.run(function, *args)` runs one function on one of the threads. `await bridge.gather(operation, item)`
is for hot paths: items of one operation that wait at the same moment become ONE call `operation(items)`, which
answers with a list as long as its argument, each element the item's result or an exception for that item alone.
What was asked for in one turn of the loop and in those that follow at once, or has queued while the threads were busy,
is the batch. What nobody waits for has `patience`: it goes along with the next batch that somebody waits for.

Where work computes more than it waits, one thread does it all (`awake=1`): each more that is awake fights with the
others and with the loop for Python's interpreter at every statement, and makes SQLite forget what the others have read
(measured with 20 POP3 sessions at once: four threads cost a fifth more processor time than one). For each that is at
the same job since HELP_SECONDS another one is woken, so a slow statement holds up nobody for long.

The bridge knows no app. It belongs to one event loop; `close` waits for work that has begun.
"""

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, connections

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Operation = Callable[[Sequence[Any]], Sequence[Any]]

#: The largest batch: one statement stays well under the parameter limits of both databases.
MAX_BATCH = 200
#: A batch waits until so many turns of the loop, some microseconds each, have brought nothing more, at most for so
#: many seconds: what clients send at the same moment takes more than one to come, a batch costs as much as several
#: items, and while the loop is at work its thread would fight with it for the interpreter (measured with 20 clients
#: that poll by POP3: a tenth of the processor time).
QUIET_TURNS = 5
MOST_SECONDS = 0.003
#: Seconds after which a thread that is at the same job still gets another one to its help.
HELP_SECONDS = 0.005

Job = Callable[[], None]


class BridgeClosedError(RuntimeError):
    """Work was asked for after `close`."""


class Bridge:
    """A few database threads for one event loop."""

    def __init__(self, *, threads: int = 4, awake: int | None = None) -> None:
        """`awake`: how many threads work as long as none takes long; None for all."""
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[Job] = deque()
        #: Guards the jobs and who sleeps. A sleeping thread waits for its bell, the one that fell asleep last is woken.
        self._lock = threading.Lock()
        self._asleep: list[threading.Lock] = []
        #: What each thread is at, and was at when that was looked at last; threads that are wanted awake.
        self._at: list[Job | None] = [None] * threads
        self._was_at = self._at.copy()
        self._awake = self._wanted = awake or threads
        self._looking = False
        self._waiting: defaultdict[Operation, deque[tuple[Any, asyncio.Future[Any]]]] = defaultdict(deque)
        #: Operations that a thread will see to, and those of them that none has been told of yet.
        self._called: set[Operation] = set()
        self._untold: list[Operation] = []
        self._more_came = False
        #: Operations with items that have patience, until it is over.
        self._patient: set[Operation] = set()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"bridge-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, function: Callable[..., Result], *args: Any) -> asyncio.Future[Result]:
        """Run `function(*args)` on a database thread; the future carries what it returns or raises."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._put(lambda: self._run_one(function, args, future))
        return future

    def gather(
        self,
        operation: Callable[[Sequence[Item]], Sequence[Result | BaseException]],
        item: Item,
        *,
        patience: float = 0.0,
    ) -> asyncio.Future[Result]:
        """Add `item` to the next batch of `operation`; the future carries this item's result or exception.

        With `patience` there is no batch for its sake before so many seconds.
        """
        if self._closed:
            raise BridgeClosedError("the bridge is closed")
        future: asyncio.Future[Result] = self._loop.create_future()
        # In this order, and the thread's the other way round, no item is left behind, without any lock.
        self._waiting[operation].append((item, future))
        if not patience:
            self._more_came = True
            self._call(operation)
        elif operation not in self._patient:
            self._patient.add(operation)
            self._loop.call_later(patience, self._call_late, operation)
        return future

    def _call(self, operation: Operation) -> None:
        """Have a thread see to the items of an operation."""
        if operation not in self._called:
            self._called.add(operation)
            if not self._untold:
                self._loop.call_soon(self._tell_soon, QUIET_TURNS, time.monotonic() + MOST_SECONDS)
            self._untold.append(operation)

    def _call_late(self, operation: Operation) -> None:
        """Have one see to those of them that had patience, if none has."""
        self._patient.discard(operation)
        if self._waiting[operation] and not self._closed:
            self._call(operation)

    async def close(self) -> None:
        """Finish the work that was asked for, close the connections and end the threads."""
        if not self._closed:
            for operation in self._patient:
                self._call(operation)
            self._tell()
            self._closed = True
            for _ in self._threads:
                self._wake(len(self._threads))
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _tell_soon(self, quiet_turns: int, latest: float) -> None:
        """Tell when so many turns of the loop have brought nothing more, or it is that late."""
        if self._more_came:
            self._more_came = False
            quiet_turns = QUIET_TURNS
        if quiet_turns and time.monotonic() < latest:
            self._loop.call_soon(self._tell_soon, quiet_turns - 1, latest)
        else:
            self._tell()

    def _tell(self) -> None:
        """Wake a thread for each operation that was asked for."""
        untold, self._untold = self._untold, []
        for operation in untold:
            self._put(functools.partial(self._run_batch, operation))

    def _put(self, job: Job) -> None:
        if self._closed:
            raise BridgeClosedError("the bridge is closed")
        self._jobs.append(job)
        self._wake(self._wanted)
        if not self._looking:
            self._looking = True
            self._loop.call_later(HELP_SECONDS, self._look)

    def _wake(self, wanted: int) -> None:
        """Wake a thread, unless so many are awake."""
        with self._lock:
            self._wanted = wanted
            if self._asleep and len(self._threads) - len(self._asleep) < wanted:
                self._asleep.pop().release()

    def _look(self) -> None:
        """Have a thread more for each that is at the same job as when it was looked at last."""
        at = self._at.copy()
        stuck = sum(job is not None and job is before for job, before in zip(at, self._was_at, strict=True))
        self._was_at = at
        self._looking = any(at) or bool(self._jobs)
        if self._looking:
            self._loop.call_later(HELP_SECONDS, self._look)
        if not self._closed:
            self._wake(self._awake + stuck)

    def _work(self, number: int) -> None:
        """What one thread does: a job at a time, until the bridge is closed and there is none left."""
        bell = threading.Lock()
        bell.acquire()
        try:
            while (job := self._next_job(number, bell)) is not None:
                job()
        finally:
            connections.close_all()

    def _next_job(self, number: int, bell: threading.Lock) -> Job | None:
        """Wait for a job, or for the need of another thread; None: the bridge is closed."""
        self._at[number] = None
        while True:
            with self._lock:
                if len(self._threads) - len(self._asleep) <= self._wanted:
                    if self._jobs:
                        job = self._at[number] = self._jobs.popleft()
                        return job
                    if self._closed:
                        return None
                self._asleep.append(bell)
            bell.acquire()

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
        self._called.discard(operation)
        batch = self._next_batch(self._waiting[operation])
        if len(batch) == MAX_BATCH:
            self._jobs.append(functools.partial(self._run_batch, operation))
        if not batch:
            return  # another thread has taken the items with those before them
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

    @staticmethod
    def _next_batch(waiting: deque[tuple[Any, asyncio.Future[Any]]]) -> list[tuple[Any, asyncio.Future[Any]]]:
        batch: list[tuple[Any, asyncio.Future[Any]]] = []
        with contextlib.suppress(IndexError):
            while len(batch) < MAX_BATCH:
                batch.append(waiting.popleft())
        return batch

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
