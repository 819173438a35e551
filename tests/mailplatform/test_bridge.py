"""The bridge: batches of what waited, an answer for each item, errors that stay with their item."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from mailplatform.bridge import MAX_BATCH, QUIET_TURNS, Bridge, BridgeClosedError


def test_items_that_wait_together_are_one_call() -> None:
    batches: list[int] = []
    gate = threading.Event()

    def double(items: Sequence[int]) -> list[int]:
        batches.append(len(items))
        return [2 * item for item in items]

    async def main() -> list[int]:
        bridge = Bridge(threads=1)
        busy = bridge.run(gate.wait)
        waiting = [bridge.gather(double, number) for number in range(50)]
        gate.set()
        await busy
        answers = list(await asyncio.gather(*waiting))
        await bridge.close()
        return answers

    assert asyncio.run(main()) == [2 * number for number in range(50)]
    assert batches == [50]


def test_an_exception_goes_to_its_item_alone() -> None:
    def some(items: Sequence[int]) -> list[int | BaseException]:
        return [ValueError("odd") if item % 2 else item for item in items]

    async def main() -> list[int | BaseException]:
        bridge = Bridge(threads=2)
        answers = await asyncio.gather(*(bridge.gather(some, n) for n in range(4)), return_exceptions=True)
        await bridge.close()
        return answers

    even, odd, *_ = asyncio.run(main())
    assert even == 0
    assert isinstance(odd, ValueError)


def test_an_operation_that_fails_or_loses_an_answer_fails_each_item() -> None:
    def short(items: Sequence[int]) -> list[int]:
        return []

    async def main() -> None:
        bridge = Bridge(threads=1)
        with pytest.raises(RuntimeError, match="answered 0 of 1"):
            await bridge.gather(short, 1)
        assert await bridge.run(len, "abc") == 3
        await bridge.close()
        with pytest.raises(BridgeClosedError):
            bridge.run(len, "abc")

    asyncio.run(main())


def test_one_thread_does_it_all_until_it_takes_long() -> None:
    gate, names = threading.Event(), set()

    def quick(number: int) -> int:
        names.add(threading.current_thread().name)
        return number

    async def main() -> None:
        bridge = Bridge(threads=3, awake=1)
        for number in range(20):
            assert await bridge.run(quick, number) == number
        assert len(names) == 1
        held = [bridge.run(gate.wait) for _ in range(2)]  # two threads are stuck, the third helps
        assert await asyncio.gather(*(bridge.run(quick, number) for number in range(20))) == list(range(20))
        assert len(names) == 2
        gate.set()
        await asyncio.gather(*held)
        await bridge.close()

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("awake", [1, None])
def test_nothing_is_lost_when_much_comes_from_many_sides(awake: int | None) -> None:
    def double(items: Sequence[int]) -> list[int]:
        return [2 * item for item in items]

    async def client(bridge: Bridge, number: int) -> None:
        for turn in range(100):
            assert await bridge.gather(double, number + turn) == 2 * (number + turn)
            assert await bridge.run(abs, -number) == number

    async def main() -> None:
        bridge = Bridge(threads=3, awake=awake)
        await asyncio.gather(*(client(bridge, number) for number in range(30)))
        waiting = [bridge.gather(double, number) for number in range(MAX_BATCH + 1)]
        await bridge.close()
        assert await asyncio.gather(*waiting) == [2 * number for number in range(MAX_BATCH + 1)]
        with pytest.raises(BridgeClosedError):
            bridge.gather(double, 1)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_items_of_turns_that_follow_at_once_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when what clients sent at the same moment is read one after the other."""
    monkeypatch.setattr("mailplatform.bridge.MOST_SECONDS", 60)
    batches: list[int] = []

    def note(items: Sequence[int]) -> Sequence[int]:
        batches.append(len(items))
        return items

    async def main() -> None:
        bridge = Bridge(threads=1)
        waiting = []
        for number in range(10):
            waiting.append(bridge.gather(note, number))
            for _ in range(QUIET_TURNS - 1):
                await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        await bridge.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert batches == [10]


def test_a_batch_does_not_wait_until_nothing_more_comes() -> None:
    async def main() -> None:
        bridge = Bridge(threads=1)
        waiting = [bridge.gather(list, 0)]
        while not waiting[0].done():
            await asyncio.sleep(0)
            waiting.append(bridge.gather(list, len(waiting)))
        await asyncio.gather(*waiting)
        await bridge.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_was_asked_for_at_the_last_moment_is_answered() -> None:
    async def main() -> list[int]:
        bridge = Bridge(threads=1)
        waiting = [bridge.gather(list, number) for number in range(3)]
        await bridge.close()
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == [0, 1, 2]


@pytest.mark.parametrize("company", [True, False])
def test_what_has_patience_goes_along_or_by_itself_in_the_end(company: bool) -> None:
    batches: list[list[str]] = []

    def note(items: Sequence[str]) -> Sequence[str]:
        batches.append([*items])
        return items

    async def main() -> None:
        bridge = Bridge(threads=1)
        waiting = [bridge.gather(note, "late", patience=600 if company else 0.01) for _ in range(2)]
        for _ in range(2 * QUIET_TURNS):
            await asyncio.sleep(0)
        assert not batches
        if company:
            waiting.append(bridge.gather(note, "now"))
        assert await asyncio.gather(*waiting) == batches[0]
        await bridge.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert batches == [["late", "late", "now"] if company else ["late", "late"]]


def test_patience_ends_with_the_bridge() -> None:
    async def main() -> list[int]:
        bridge = Bridge(threads=1)
        waiting = bridge.gather(list, 1, patience=600)
        await bridge.close()
        return await waiting

    assert asyncio.run(asyncio.wait_for(main(), 60)) == 1
