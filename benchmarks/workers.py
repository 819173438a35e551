"""`python -m benchmarks.workers`: polls per second of two workers on two cores, against one worker on one.

With four cores or more the servers have the first one or two to themselves and the load the others, and the clock says
it. With fewer the load has to share the servers' cores: one worker and its load on one core, then two workers and twice
as much of the load on two. The load's processes know nothing of each other, so by themselves they do twice as much;
what the workers lose to each other shows in the processor time that a poll costs the server, and in what the cores
stand idle while one waits for the other. So what two cores would do is there twice what a second of the server's
processor time does, less the share that the cores were idle.
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


@dataclass(frozen=True)
class Pair:
    """One round: with one worker, and with two."""

    one: Load
    two: Load

    @property
    def by_clock(self) -> float:
        return self.two.rate / self.one.rate

    @property
    def by_processor(self) -> float:
        """What two cores would do against one, where the load had cores of its own."""
        one, two = (each.rate / each.server_busy * (1 - each.idle) for each in (self.one, self.two))
        return 2 * two / one


def apart() -> bool:
    """Whether the load has cores of its own."""
    return len(cores.ALL) >= 4


def load_on(workers: int) -> list[int]:
    return cores.ALL[2:] if apart() else cores.ALL[:workers]


def measured(server: Server, workers: int, seconds: float) -> Load:
    """Polls by twenty clients for each worker."""
    return generate(server, "polls", seconds=seconds, cores=load_on(workers), clients=workers * CLIENTS)


def section(*, rounds: int = 3, seconds: float = 3) -> report.Section:
    found: dict[str, list[Pair]] = {}
    for database, starter in databases().items():
        with ExitStack() as stack:
            servers: list[Server] = []
            for workers in (1, 2):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailplatform-bench-")))
                with cores.pinned(cores.ALL[:workers]):
                    servers.append(stack.enter_context(starter(folder, workers=workers)))
            for at in (0, 1):  # each worker has to have checked each password once
                measured(servers[at], at + 1, seconds)
            found[database] = []
            for _ in range(rounds):
                found[database].append(Pair(*(measured(servers[at], at + 1, seconds) for at in (0, 1))))
                print(f"{database}: {found[database][-1]}", flush=True)
    return report.Section("Two workers on two cores", _told(found), list(map(_goal, found, found.values())))


def _told(found: dict[str, list[Pair]]) -> str:
    rows = []
    for database, pairs in found.items():
        for workers, loads in ((1, [pair.one for pair in pairs]), (2, [pair.two for pair in pairs])):
            rate, busy, idle = (
                statistics.median(getattr(load, name) for load in loads) for name in ("rate", "server_busy", "idle")
            )
            cost = statistics.median(load.server_busy / load.rate for load in loads)
            rows.append(
                (f"{database}, {workers}", f"{rate:,.0f}", f"{cost * 1e6:,.0f} µs", f"{busy:.2f}", f"{idle:.0%}")
            )
    head = ("Workers", "polls/s", "server's processor time for one", "cores that the server used", "load's cores idle")
    where = "on cores of its own" if apart() else "on the servers' cores"
    how = f"Median of {len(pairs)} rounds, {CLIENTS} clients for each worker; the load is {where}."
    return f"{report.table(head, rows)}\n\n{how}"


def _goal(database: str, pairs: list[Pair]) -> report.Goal:
    clock, processor = (
        statistics.median(getattr(pair, name) for pair in pairs) for name in ("by_clock", "by_processor")
    )
    told = (
        f"{clock:.2f}" if apart() else f"{processor:.2f} by processor time; {clock:.2f} with the load on the same cores"
    )
    reached = (clock if apart() else min(clock, processor)) >= WANTED
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
