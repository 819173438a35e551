"""A bridge whose database work is done on the test's own thread: one transaction, every statement seen by the test.

The loop runs on a thread of its own meanwhile, so `drive` takes what a test does in the loop as a coroutine.
"""

import asyncio
import atexit
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any

Job = Callable[[], None]

#: Turns only while something is driven, so what goes on in the background of one call goes on in the next.
_LOOP = asyncio.new_event_loop()
atexit.register(_LOOP.close)


class HereBridge:
    """Stands in for mailplatform.bridge.Bridge."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def run(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def job() -> None:
            try:
                settle, outcome = future.set_result, function(*args)
            except BaseException as error:
                settle, outcome = future.set_exception, error
            loop.call_soon_threadsafe(lambda: future.done() or settle(outcome))

        self._jobs.put(job)
        return future

    def gather(self, operation: Callable[[list[Any]], list[Any]], item: Any) -> asyncio.Future[Any]:
        return self.run(lambda: _sound(operation([item])[0]))

    def drive(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end; what it asks of the bridge is done on this thread."""
        outcome: list[Any] = []

        def turn() -> None:
            try:
                outcome.extend([_LOOP.run_until_complete(work), None])
            except BaseException as error:
                outcome.extend([None, error])
            finally:
                self._jobs.put(None)

        thread = threading.Thread(target=turn)
        thread.start()
        while (job := self._jobs.get()) is not None:
            job()
        thread.join()
        result, error = outcome
        if error is not None:
            raise error
        return result


def _sound(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


class Clock:
    """A clock that a test sets; sleeping moves it."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)
