"""`python -m benchmarks.workers`: polls per second of two workers on two cores, against one worker on one.

With four cores or more the servers have the first one or two to themselves and the load the others, and the clock says
it. With fewer the load has to share the cores of two workers, and the clock says little: one worker takes turns with a
load on its core, so that all clients ask at the same moment and share a batch, which they do nowhere else. So one
worker is measured with its load on the other core, too, and what counts is the processor time that a poll costs the
server. What workers lose to each other shows in that, and in what the cores stand idle while one waits for the other:
two cores would do twice what a second of the server's processor time does, less the share that they were idle.
"""

import argparse
import signal
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cores, report
from benchmarks.generating import Load, generate
from benchmarks.load import CLIENTS
from benchmarks.servers import Server, databases

WANTED = 1.7


#: With the load on cores of its own.
APART = len(cores.ALL) >= 4


@dataclass(frozen=True)
class Round:
    """Polls of one worker with the load on another core, of one with the load beside it, and of two."""

    apart: Load
    beside: Load
    two: Load

    @property
    def by_clock(self) -> float:
        return self.two.rate / (self.apart if APART else self.beside).rate

    @property
    def by_processor(self) -> float:
        """What two cores would do against one, where the load had cores of its own."""
        one, two = (each.rate / each.server_busy for each in (self.apart, self.two))
        return 2 * two * (1 - self.two.idle) / one


def section(*, rounds: int = 3, seconds: float = 3) -> report.Section:
    found: dict[str, list[Round]] = {}
    for database, starter in databases().items():
        with ExitStack() as stack:
            servers: list[Server] = []
            for workers in (1, 2):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailplatform-bench-")))
                with cores.pinned(cores.ALL[:workers]):
                    servers.append(stack.enter_context(starter(folder, workers=workers)))
            _round(servers, seconds)  # each worker has to have checked each password once
            found[database] = []
            for _ in range(rounds):
                found[database].append(_round(servers, seconds))
                print(f"{database}: {found[database][-1]}", flush=True)
    return report.Section("Two workers on two cores", _told(found, rounds), list(map(_goal, found, found.values())))


def _round(servers: list[Server], seconds: float) -> Round:
    """With one worker and with two; twenty clients for each worker."""
    one, two = servers
    elsewhere = cores.ALL[2:] if APART else cores.for_load()

    def polls(server: Server, workers: int, load: list[int]) -> Load:
        return generate(server, "polls", seconds=seconds, cores=load, clients=workers * CLIENTS)

    return Round(
        apart=polls(one, 1, elsewhere),
        beside=polls(one, 1, cores.ALL[:1]),
        two=polls(two, 2, elsewhere if APART else cores.ALL[:2]),
    )


def _told(found: dict[str, list[Round]], rounds: int) -> str:
    names = {
        "apart": "1, the load elsewhere",
        "beside": "1, the load on its core",
        "two": f"2, the load {'elsewhere' if APART else 'on their cores'}",
    }
    rows = [
        _row(f"{database}, {told}", [getattr(each, name) for each in measured])
        for database, measured in found.items()
        for name, told in names.items()
    ]
    head = ("Workers", "polls/s", "server's processor time for one", "cores that the server used", "load's cores idle")
    return f"{report.table(head, rows)}\n\nMedian of {rounds} rounds, {CLIENTS} clients for each worker."


def _row(name: str, loads: list[Load]) -> tuple[str, ...]:
    rate, busy, idle = (
        statistics.median(getattr(load, value) for load in loads) for value in ("rate", "server_busy", "idle")
    )
    cost = statistics.median(load.server_busy / load.rate for load in loads)
    return name, f"{rate:,.0f}", f"{cost * 1e6:,.0f} µs", f"{busy:.2f}", f"{idle:.0%}"


def _goal(database: str, rounds: list[Round]) -> report.Goal:
    clock, processor = (
        statistics.median(getattr(each, name) for each in rounds) for name in ("by_clock", "by_processor")
    )
    told = (
        f"{clock:.2f}" if APART else f"{processor:.2f} by processor time; {clock:.2f} with the load on the same cores"
    )
    reached = (clock if APART else processor) >= WANTED
    return report.Goal(f"polls/s with two workers on two cores, times one, {database}", f"{WANTED}", told, reached)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement, after its warm-up")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if len(cores.ALL) < 2:
        sys.exit("There is one core alone.")
    print(f"{section(rounds=options.rounds, seconds=options.seconds)}\n{report.setup()}")


if __name__ == "__main__":
    main()
