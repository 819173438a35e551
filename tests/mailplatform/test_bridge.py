"""The bridge: batches of what waited, an answer for each item, errors that stay with their item."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from mailplatform.bridge import Bridge, BridgeClosedError


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
