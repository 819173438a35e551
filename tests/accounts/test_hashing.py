"""Slow hashes take turns, and the queue for them has an end."""

import asyncio
import threading

import pytest

from accounts import hashing
from accounts.hashing import Hashing, TooBusyError


def test_no_more_are_computed_at_once_than_there_are_threads() -> None:
    at_once: list[int] = []
    running = 0
    lock = threading.Lock()
    barrier = threading.Barrier(2)

    def work() -> None:
        nonlocal running
        with lock:
            running += 1
            at_once.append(running)
        barrier.wait(timeout=30)
        with lock:
            running -= 1

    async def main() -> None:
        queue = Hashing(threads=2)

        async def login() -> None:
            async with queue.turn("here"):
                await queue.run(work)

        await asyncio.gather(*(login() for _ in range(6)))
        queue.close()

    asyncio.run(main())
    assert max(at_once) == 2
    assert len(at_once) == 6


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    came: list[int] = []

    async def main() -> None:
        queue = Hashing(threads=1)

        async def login(number: int) -> None:
            async with queue.turn("here"):
                came.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(login(number) for number in range(5)))
        queue.close()

    asyncio.run(main())
    assert came == [0, 1, 2, 3, 4]


def test_one_network_does_not_fill_the_queue_and_its_others_wait_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "MOST_OF_ONE", 2)
    monkeypatch.setattr(hashing, "MOST_BEHIND", 1)
    monkeypatch.setattr(hashing, "MOST_WAITING", 3)

    async def main() -> list[str]:
        queue = Hashing(threads=1)
        go_on = asyncio.Event()

        async def login(network: str) -> str:
            try:
                async with queue.turn(network):
                    await go_on.wait()
                    return network
            except TooBusyError:
                return "busy"

        holder = asyncio.create_task(login("holder"))
        await asyncio.sleep(0)
        logins = [asyncio.create_task(login(network)) for network in ("a", "a", "a", "b", "b")]
        for _ in range(3):
            await asyncio.sleep(0)
        # one that gives up leaves its place to the one behind it
        logins[0].cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        logins += [asyncio.create_task(login("a")) for _ in range(2)]
        for _ in range(3):
            await asyncio.sleep(0)
        go_on.set()
        answers = await asyncio.gather(holder, *logins, return_exceptions=True)
        async with queue.turn("a"):
            queue.close()
        assert (queue._waiting, queue._networks) == (0, {})
        return ["gone" if isinstance(answer, BaseException) else answer for answer in answers]

    assert asyncio.run(main()) == ["holder", "gone", "a", "a", "b", "busy", "a", "busy"]


def test_a_turn_whose_work_fails_is_over() -> None:
    async def main() -> None:
        queue = Hashing(threads=1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with queue.turn("here"):
                    await queue.run(lambda: 1 / 0)
        queue.close()

    asyncio.run(asyncio.wait_for(main(), timeout=30))


def test_there_is_a_thread_for_each_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing.os, "cpu_count", lambda: None)
    queue = Hashing()
    assert queue._threads._max_workers == 2
    queue.close()
