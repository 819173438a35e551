"""What two cores would do, where the load has to share them."""

import pytest

from benchmarks.generating import Load
from benchmarks.workers import Pair


def load(rate: float, server_busy: float, idle: float = 0.0) -> Load:
    return Load(rate=rate, server_busy=server_busy, client_busy=0.3, idle=idle)


def test_workers_that_lose_nothing_to_each_other_do_twice_as_much() -> None:
    pair = Pair(load(2000, 0.6), load(4000, 1.2))
    assert pair.by_clock == pytest.approx(2)
    assert pair.by_processor == pytest.approx(2)


def test_a_poll_that_costs_more_with_two_is_seen_whatever_else_the_machine_does() -> None:
    pair = Pair(load(2000, 0.5), load(2000, 0.8))  # 250 µs, then 400, and other work took the rest of the cores
    assert pair.by_clock == pytest.approx(1)
    assert pair.by_processor == pytest.approx(1.25)


def test_cores_that_stand_idle_while_one_waits_for_the_other_do_not_count() -> None:
    pair = Pair(load(2000, 0.6), load(2000, 0.6, idle=0.5))
    assert pair.by_processor == pytest.approx(1)
