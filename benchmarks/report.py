"""From measurements to a table, with what it takes to judge them: the machine, the versions, the spread."""

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks import dovecot
from benchmarks.load import CLIENTS, SCENARIOS
from benchmarks.messages import MAILBOXES, MESSAGES, OCTETS
from tests.run import postgresql_programs

#: What the others are compared with.
REFERENCE = "Dovecot, tuned"
HEADINGS = {"polls": "polls/s", "retr": "RETR/s", "pipelined": "RETR/s, pipelined"}
#: From this share of its core on, the load generator may be what is measured.
BUSY = 0.9


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


def setup(cores: list[int]) -> dict[str, str]:
    """The machine and the versions, one line each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    placed = "server on one core, load generator on another" if len(cores) > 1 else "server and load on the same core"
    versions = [f"{name} {version(name)}" for name in ("Django", "uvloop", "psycopg")]
    return {
        "machine": f"{_processor()}, {len(cores)} cores, {memory:.0f} GiB, Linux {platform.release()}; {placed}",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions, _postgresql(), _dovecot()]),
        "work": f"{CLIENTS} clients; {MAILBOXES} maildrops of {MESSAGES} messages of {OCTETS:,} octets",
        "load at start": " ".join(f"{average:.2f}" for average in os.getloadavg()),
    }


def tables(measurements: list[Measurement], setup: dict[str, str]) -> str:
    """Two tables in Markdown, of each server in each scenario: by the clock, and by the processor's."""
    lines = ["", "Per second:", "", *_table(measurements, lambda each: each.rate)]
    lines += ["", "Per second of processor time that the server used:", ""]
    lines += _table(measurements, lambda each: each.per_processor_second)
    rounds = 1 + max(each.round for each in measurements)
    compared = any(each.server == REFERENCE for each in measurements)
    ratio = f"; (ratio to {REFERENCE}, median of each round's)" if compared else f"; {REFERENCE}: not measured"
    lines += ["", f"Median of {rounds} rounds, ± half the spread{ratio}."]
    if any(each.client_busy > BUSY for each in measurements):
        lines.append(f"`>`: the load generator used over {BUSY:.0%} of its core; the server may be faster than this.")
    return "\n".join(lines + [f"{name.capitalize()}: {line}." for name, line in setup.items()])


def _table(measurements: list[Measurement], value: Callable[[Measurement], float]) -> list[str]:
    lines = ["| | " + " | ".join(HEADINGS.values()) + " |", "|---|" + "---:|" * len(HEADINGS)]
    for server in dict.fromkeys(each.server for each in measurements):
        cells = []
        for scenario in SCENARIOS:
            cells.append(_cell([each for each in measurements if each.scenario == scenario], server, value))
        lines.append(f"| {server} | " + " | ".join(cells) + " |")
    return lines


def _cell(measurements: list[Measurement], server: str, value: Callable[[Measurement], float]) -> str:
    """Median, spread and ratio of one server in one scenario."""
    mine = {each.round: value(each) for each in measurements if each.server == server}
    reference = {each.round: value(each) for each in measurements if each.server == REFERENCE}
    median = statistics.median(mine.values())
    spread = (max(mine.values()) - min(mine.values())) / 2 / median
    busy = any(each.client_busy > BUSY for each in measurements if each.server == server)
    ratio = f" ({statistics.median(mine[each] / reference[each] for each in mine):.1f})" if reference else ""
    return f"{'> ' * busy}{median:,.0f} ±{spread:.0%}{ratio}"


def as_json(measurements: list[Measurement], setup: dict[str, str]) -> str:
    return json.dumps({**setup, "measurements": [asdict(each) for each in measurements]}, indent=1) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _postgresql() -> str:
    programs = postgresql_programs()
    return f"PostgreSQL {_says(str(programs / 'postgres')).split()[2]}" if programs else "no PostgreSQL"


def _dovecot() -> str:
    return f"Dovecot {_says(dovecot.PROGRAM).split()[0]}" if shutil.which(dovecot.PROGRAM) else "no Dovecot"


def _says(program: str) -> str:
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
