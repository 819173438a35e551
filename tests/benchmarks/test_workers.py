"""What two cores would do, where the load has to share them."""

import pytest

from benchmarks.generating import Load
from benchmarks.workers import Round


def load(rate: float, server_busy: float, idle: float = 0.0) -> Load:
    return Load(rate=rate, server_busy=server_busy, client_busy=0.3, idle=idle)


def test_workers_that_lose_nothing_to_each_other_do_twice_as_much() -> None:
    found = Round(load(2000, 0.6), load(2000, 0.6), load(4000, 1.2))
    assert found.by_clock == pytest.approx(2)
    assert found.by_processor == pytest.approx(2)


def test_a_poll_that_costs_more_with_two_is_seen_whatever_else_the_machine_does() -> None:
    # 250 µs, then 400, and other work took the rest of the cores
    found = Round(load(2000, 0.5), load(2000, 0.5), load(2000, 0.8))
    assert found.by_clock == pytest.approx(1)
    assert found.by_processor == pytest.approx(1.25)


def test_a_worker_that_takes_turns_with_its_load_is_no_measure_of_processor_time() -> None:
    found = Round(load(4000, 1.0), load(2500, 0.5), load(3200, 1.6))  # 250 µs, then 200 beside the load, and 500
    assert found.by_processor == pytest.approx(1)


def test_cores_that_stand_idle_while_one_waits_for_the_other_do_not_count() -> None:
    found = Round(load(2000, 0.6), load(2000, 0.6), load(2000, 0.6, idle=0.5))
    assert found.by_processor == pytest.approx(1)
