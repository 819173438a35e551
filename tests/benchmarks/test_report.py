"""Tables and goals: medians of the ratios within a round, and what was limited by the load generator."""

from benchmarks import report
from benchmarks.report import REFERENCE, Goal, Measurement, Section, by_clock, by_processor

OURS = "Mailplatform, SQLite"


def measured(server: str, *rates: float, busy: float = 0.5, client: float = 0.3) -> list[Measurement]:
    """One scenario, a round for each rate."""
    return [Measurement(server, "polls", number, rate, busy, client) for number, rate in enumerate(rates)]


def test_the_ratio_is_that_of_the_same_round() -> None:
    # Of the medians, 30 and 10, it would be 3; the machine was busy in one round, for both.
    measurements = measured(OURS, 20, 30, 50) + measured(REFERENCE, 10, 10, 25)
    assert report.ratio(measurements, OURS, "polls", by_clock) == 2


def test_by_processor_time_an_idle_server_is_not_a_slow_one() -> None:
    measurements = measured(OURS, 100, busy=0.25) + measured(REFERENCE, 100, busy=1.0)
    assert report.ratio(measurements, OURS, "polls", by_clock) == 1
    assert report.ratio(measurements, OURS, "polls", by_processor) == 4


def test_a_round_without_the_reference_does_not_count() -> None:
    measurements = measured(OURS, 20, 90) + measured(REFERENCE, 10)
    assert report.ratio(measurements, OURS, "polls", by_clock) == 2
    assert report.ratio(measured(OURS, 20), OURS, "polls", by_clock) is None


def test_the_table_has_median_spread_and_ratio() -> None:
    text = report.tables(measured(OURS, 2000, 2200, 1800) + measured(REFERENCE, 1000, 1000, 1000))
    assert f"| {OURS} | 2,000 ±10% (2.0) |" in text
    assert f"| {OURS} | 4,000 ±10% (2.0) |" in text  # by processor time
    assert f"| {OURS} | 30% |" in text
    assert "Median of 3 rounds" in text
    assert ">`" not in text


def test_what_the_load_generator_limits_is_marked_by_the_clock_alone() -> None:
    text = report.tables(measured(OURS, 2000, client=0.95) + measured(REFERENCE, 1000))
    assert f"| {OURS} | > 2,000 ±0% (2.0) |" in text
    assert f"| {OURS} | 4,000 ±0% (2.0) |" in text
    assert f"| {REFERENCE} | 1,000 ±0% (1.0) |" in text
    assert "`>`: the load generator used over 90%" in text


def test_goals_of_all_sections_are_one_table() -> None:
    sections = [
        Section("One", "", [Goal("polls", "5", "2.3", reached=False)]),
        Section("Another", "", [Goal("memory", "20 kB", "4 kB", reached=True)]),
    ]
    assert report.goals(sections).splitlines()[2:] == [
        "| polls | 5 | 2.3 | **no** |",
        "| memory | 20 kB | 4 kB | yes |",
    ]
