"""`python -m benchmarks.growth`: what a maildrop costs as it grows, from ten messages to a million.

One worker on SQLite, then one on PostgreSQL, on one core; a client that does one thing after the other on another.

- **a poll**: connect, log in, STAT, QUIT, when nothing has changed since the last one;
- **the first**: the same, the worker having been started just now;
- **LIST, UIDL**: lines a second, of a listing that the worker remembers; and LIST when it has to be read;
- **after deliveries**: connect, log in, `LIST n` of the last message, QUIT, when so many messages have come since the
  last time: that reads what is new, and should cost what that costs, whatever was there before;
- **after a deletion**: the same, when nothing has come, and the session before has deleted one;
- **QUIT** after 1,000 DELE.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import cores, plot, report
from benchmarks.client import Client, poll
from benchmarks.processor import seconds_used
from benchmarks.servers import ROOT, Server, databases, in_database

SIZES = (10, 1000, 100_000, 1_000_000)
NEW = (1, 10, 100, 1000)
POLLS, LISTINGS, TURNS = 200, 5, 5
DELETED = 1000
#: Below so many messages a listing is too short for its lines a second to say anything.
_LISTED = 100_000
#: How many times as long as with the fewest messages; lines a second; seconds.
MOST_TIMES, LEAST_LINES, MOST_QUIT = 3.0, 1_000_000, 0.1


@dataclass
class Found:
    """Of a maildrop of one size: seconds, and lines a second; both by the clock and by processor time where two."""

    messages: int
    first: float = 0.0
    poll: float = 0.0
    poll_processor: float = 0.0
    read: float = 0.0
    lines: dict[str, tuple[float, float]] = field(default_factory=dict)
    after: dict[int, float] = field(default_factory=dict)
    after_deletion: float = 0.0
    quit: float | None = None


def examine(server: Server, name: str, messages: int, deliver: Callable[[str, int], None]) -> Found:
    found = Found(messages, first=poll(server.port, name))
    poll(server.port, name)
    used = seconds_used(server.processes)
    found.poll = statistics.median(poll(server.port, name) for _ in range(POLLS))
    found.poll_processor = (seconds_used(server.processes) - used) / POLLS
    with Client(server.port, name) as client:
        found.read = timed(lambda: client.lines("LIST"))
        for command in ("LIST", "UIDL"):
            found.lines[command] = lines(server, client, command, messages)
    for new in NEW:
        found.after[new] = statistics.median(after_deliveries(server, name, new, deliver) for _ in range(TURNS))
    found.after_deletion = statistics.median(after_deletion(server, name) for _ in range(TURNS))
    if messages >= DELETED:
        client = Client(server.port, name)
        for number in range(1, DELETED + 1):
            client.do(f"DELE {number}")
        found.quit = timed(client.close)
    return found


def lines(server: Server, client: Client, command: str, messages: int) -> tuple[float, float]:
    """Lines a second of a listing that is remembered: the median by the clock, and all of them by processor time."""
    used, times = seconds_used(server.processes), []
    for _ in range(LISTINGS):
        times.append(timed(lambda: client.lines(command)))
    used = max(seconds_used(server.processes) - used, 0.01)
    return messages / statistics.median(times), messages * LISTINGS / used


def after_deliveries(server: Server, name: str, new: int, deliver: Callable[[str, int], None]) -> float:
    """Seconds of a session that asks for the last message, so many having come since one that did so."""
    look_at_last(server.port, name)
    deliver(name, new)
    return timed(lambda: look_at_last(server.port, name))


def after_deletion(server: Server, name: str) -> float:
    """Seconds of a session that asks for the last message, after one that did so and deleted the first."""
    with Client(server.port, name) as client:
        client.do("LIST 1")
        client.do("DELE 1")
    return timed(lambda: look_at_last(server.port, name))


def look_at_last(port: int, name: str) -> None:
    with Client(port, name) as client:
        _, count, _ = client.do("STAT").split()
        client.do(f"LIST {int(count)}")


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@contextmanager
def deliverer(folder: Path, database_url: str) -> Iterator[Callable[[str, int], None]]:
    """Puts messages into mailboxes; a process of its own, which has started before the clock does."""
    environment = in_database(folder, database_url)
    pipes: dict[str, Any] = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "benchmarks.fill", "deliver"], env=environment, **pipes) as process:

        def deliver(name: str, count: int) -> None:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("it has pipes")
            process.stdin.write(f"{name} {count}\n".encode())
            process.stdin.flush()
            if not process.stdout.readline():
                raise RuntimeError(f"{count} messages were not delivered to {name}")

        try:
            yield deliver
        finally:
            process.kill()


def on(database: str, starter: Callable[..., AbstractContextManager[Server]], sizes: list[int]) -> list[Found]:
    fills = [("copies", f"box{size}", str(size)) for size in sizes]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailplatform-bench-")))
        with cores.pinned(cores.ALL[:1]):
            server = stack.enter_context(starter(folder, fills=fills))
        stack.enter_context(cores.pinned(cores.for_load()))
        deliver = stack.enter_context(deliverer(folder, server.database_url))
        found = []
        for size in sizes:
            found.append(examine(server, f"box{size}", size, deliver))
            print(f"{database}: {found[-1]}", flush=True)
        return found


# --- What is said of it ---------------------------------------------------------------------------------------------


def section(*, sizes: list[int], plots: Path | None = None) -> report.Section:
    found = {database: on(database, starter, sizes) for database, starter in databases().items()}
    text = "\n\n".join(f"{database}:\n\n{_table(each)}" for database, each in found.items())
    if plots:
        _draw(found, plots)
    return report.Section(
        "Maildrops that grow", text, [goal for name, each in found.items() for goal in _goals(name, each)]
    )


def _table(found: list[Found]) -> str:
    def row(what: str, cells: Callable[[Found], str]) -> list[str]:
        return [what, *(cells(each) for each in found)]

    rows = [
        row("a poll, nothing new", lambda each: _ms(each.poll)),
        row("the same, processor time", lambda each: _ms(each.poll_processor)),
        row("the first after a start", lambda each: _ms(each.first)),
        row("LIST, read from the database", lambda each: _ms(each.read)),
    ]
    for command in ("LIST", "UIDL"):
        by_clock, by_processor = ([each.lines[command][kind] for each in found] for kind in (0, 1))
        rows.append([f"{command}, lines a second", *(f"{each:,.0f}" for each in by_clock)])
        # The processor's clock ticks too slowly for the short ones.
        long = [each.messages >= _LISTED for each in found]
        told = (f"{each:,.0f}" * said for each, said in zip(by_processor, long, strict=True))
        rows.append(["the same, of processor time", *told])
    for new in NEW:
        rows.append([f"{new:,} new, log in and look at the last", *(_ms(each.after[new]) for each in found)])
    rows.append(row("one deleted, log in and look at the last", lambda each: _ms(each.after_deletion)))
    rows.append(row(f"QUIT after {DELETED:,} DELE", lambda each: _ms(each.quit) if each.quit else ""))
    return report.table(("Messages", *(f"{each.messages:,}" for each in found)), rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


def _goals(database: str, found: list[Found]) -> Iterator[report.Goal]:
    few, many = found[0], found[-1]
    sizes = f"{many.messages:,} messages against {few.messages:,}, {database}"
    times = many.poll / few.poll
    yield report.Goal(f"a poll, {sizes}", f"{MOST_TIMES:.0f} times", f"{times:.1f}", times < MOST_TIMES)
    for command in ("LIST", "UIDL"):
        for each in found:
            if each.messages >= _LISTED:
                clock, processor = each.lines[command]
                yield report.Goal(
                    f"{command} of {each.messages:,}, lines a second, {database}",
                    f"{LEAST_LINES:,}",
                    f"{clock:,.0f}; {processor:,.0f} of processor time",
                    clock >= LEAST_LINES,
                )
    for new in (NEW[0], NEW[-1]):
        times = many.after[new] / few.after[new]
        yield report.Goal(
            f"log in after {new:,} came, {sizes}", f"{MOST_TIMES:.0f} times", f"{times:.1f}", times < MOST_TIMES
        )
    slowest = max((each.quit for each in found if each.quit), default=0.0)
    yield report.Goal(f"QUIT after {DELETED:,} DELE, {database}", _ms(MOST_QUIT), _ms(slowest), slowest < MOST_QUIT)


def _draw(found: dict[str, list[Found]], folder: Path) -> None:
    polls = {database: [(each.messages, each.poll * 1000) for each in of] for database, of in found.items()}
    plot.write(
        folder / "growth-poll.svg",
        title="A poll of a maildrop in which nothing is new",
        across="messages in the maildrop",
        up="ms",
        curves=polls,
    )
    listings = {
        f"{command}, {database}": [(each.messages, each.lines[command][0]) for each in of if each.messages > SIZES[0]]
        for database, of in found.items()
        for command in ("LIST", "UIDL")
    }
    plot.write(
        folder / "growth-listing.svg",
        title="Lines of a listing that is remembered, by the clock",
        across="messages in the maildrop",
        up="lines a second",
        curves=listings,
    )
    for database, of in found.items():
        curves = {f"{each.messages:,} messages": [(new, each.after[new] * 1000) for new in NEW] for each in of}
        plot.write(
            folder / f"growth-new-{database.lower()}.svg",
            title=f"Log in and look at the last message, {database}",
            across="messages that have come since the last login",
            up="ms",
            curves=curves,
            log_up=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="messages of the maildrops")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the curves there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    print(f"{section(sizes=options.sizes, plots=options.plots)}\n{report.setup()}")


if __name__ == "__main__":
    main()
