"""From measurements to Markdown, with what it takes to judge them: the goals, the machine, the versions, the spread."""

import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks import cores
from tests import dovecot
from tests.run import postgresql_programs

#: What the others are compared with.
REFERENCE = "Dovecot, tuned"
HEADINGS = {"polls": "polls/s", "retr": "RETR/s", "pipelined": "RETR/s, pipelined"}
#: From this share of its core on, the load generator may be what is measured.
BUSY = 0.9


@dataclass(frozen=True)
class Goal:
    """What is wanted of something, what was found, and whether that is enough."""

    of: str
    wanted: str
    found: str
    reached: bool


@dataclass(frozen=True)
class Section:
    """What one scenario has to say: Markdown, and how far its goals are reached."""

    title: str
    text: str
    goals: list[Goal] = field(default_factory=list)

    def __str__(self) -> str:
        return f"### {self.title}\n\n{self.text.strip()}\n"


@dataclass(frozen=True)
class Measurement:
    """One server in one round: how many a second, and the shares of their cores that server and client used."""

    server: str
    scenario: str
    round: int
    rate: float
    server_busy: float
    client_busy: float

    def __str__(self) -> str:
        busy = f"server {self.server_busy:.0%} busy, client {self.client_busy:.0%}"
        return f"{self.server}: {self.rate:,.0f} {HEADINGS[self.scenario]} ({busy})"

    @property
    def per_processor_second(self) -> float:
        """What the rate would be with a core of its own."""
        return self.rate / self.server_busy


Value = Callable[[Measurement], float]


def by_clock(each: Measurement) -> float:
    return each.rate


def by_processor(each: Measurement) -> float:
    return each.per_processor_second


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown: the first column is text, the others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def goals(sections: Sequence[Section]) -> str:
    rows = [
        (goal.of, goal.wanted, goal.found, "yes" if goal.reached else "**no**")
        for each in sections
        for goal in each.goals
    ]
    return table(("Goal", "wanted", "found", "reached"), rows)


def tables(measurements: Sequence[Measurement]) -> str:
    """Of each server in each scenario: by the clock, by the processor's, and how busy the load generator was."""
    rounds = 1 + max(each.round for each in measurements)
    compared = any(each.server == REFERENCE for each in measurements)
    ratio = f"; (ratio to {REFERENCE}, median of each round's)" if compared else f"; {REFERENCE}: not measured"
    lines = ["Per second:", "", _table(measurements, by_clock)]
    lines += ["", "Per second of processor time that the server used:", "", _table(measurements, by_processor)]
    lines += ["", "Share of its core that the load generator used:", "", _busy(measurements)]
    lines += ["", f"Median of {rounds} rounds, ± half the spread{ratio}."]
    if any(each.client_busy > BUSY for each in measurements):
        lines.append(f"`>`: the load generator used over {BUSY:.0%} of its core; the server may be faster than this.")
    return "\n".join(lines)


def ratio(measurements: Sequence[Measurement], server: str, scenario: str, value: Value) -> float | None:
    """The median of the rounds' ratios to the reference; None where one of them was not measured."""
    reference = {each.round: value(each) for each in of(measurements, REFERENCE, scenario)}
    mine = {each.round: value(each) for each in of(measurements, server, scenario)}
    found = [mine[number] / reference[number] for number in mine if number in reference]
    return statistics.median(found) if found else None


def of(measurements: Sequence[Measurement], server: str, scenario: str) -> list[Measurement]:
    """Those of one server in one scenario."""
    return [each for each in measurements if (each.server, each.scenario) == (server, scenario)]


def _table(measurements: Sequence[Measurement], value: Value) -> str:
    scenarios = [name for name in HEADINGS if any(each.scenario == name for each in measurements)]
    rows = []
    for server in dict.fromkeys(each.server for each in measurements):
        rows.append([server, *(_cell(measurements, server, scenario, value) for scenario in scenarios)])
    return table(["", *(HEADINGS[name] for name in scenarios)], rows)


def _cell(measurements: Sequence[Measurement], server: str, scenario: str, value: Value) -> str:
    """Median, spread and ratio of one server in one scenario."""
    mine = of(measurements, server, scenario)
    values = [value(each) for each in mine]
    median = statistics.median(values)
    spread = (max(values) - min(values)) / 2 / median
    compared = ratio(measurements, server, scenario, value)
    limited = value is by_clock and any(each.client_busy > BUSY for each in mine)
    return f"{'> ' * limited}{median:,.0f} ±{spread:.0%}" + (f" ({compared:.1f})" if compared else "")


def _busy(measurements: Sequence[Measurement]) -> str:
    scenarios = [name for name in HEADINGS if any(each.scenario == name for each in measurements)]
    rows = []
    for server in dict.fromkeys(each.server for each in measurements):
        shares = [[each.client_busy for each in of(measurements, server, name)] for name in scenarios]
        rows.append([server, *(f"{statistics.median(each):.0%}" for each in shares)])
    return table(["", *(HEADINGS[name] for name in scenarios)], rows)


def setup() -> str:
    """The machine, the versions and how busy the machine is now, a line each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {version(name)}" for name in ("Django", "uvloop", "psycopg")]
    theirs = f"Dovecot {dovecot.version()}" if dovecot.is_installed() else "no Dovecot"
    lines = {
        "Machine": f"{_processor()}, {len(cores.ALL)} cores, {memory:.0f} GiB, Linux {platform.release()}",
        "Versions": ", ".join([f"Python {platform.python_version()}", *versions, _postgresql(), theirs]),
        "Load at start": " ".join(f"{average:.2f}" for average in os.getloadavg()),
    }
    return "  \n".join(f"{name}: {line}." for name, line in lines.items())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _postgresql() -> str:
    programs = postgresql_programs()
    if programs is None:
        return "no PostgreSQL"
    said = subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return f"PostgreSQL {said.split()[2]}"
