"""`python -m benchmarks.idle`: thousands of sessions that are logged in and wait, on one worker; a poll beside them.

Memory is that of all processes of the server, what they share counted once, over that of the server after many polls
with nobody logged in. What the kernel keeps for a connection is not in it, nor is it for Dovecot, which runs tuned,
with fewer sessions. Polls are made one after the other, by a client that does nothing else: before there are any
sessions, beside them, and when they have gone.
"""

import argparse
import resource
import signal
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import cores, dovecot, memory, report
from benchmarks.client import Client, poll
from benchmarks.messages import MAILBOXES
from benchmarks.servers import Server, mailplatform
from tests.dovecot import is_installed

SESSIONS, DOVECOTS = 10_000, 500
#: Addresses of loopback that the sessions come from.
ADDRESSES = 100
POLLS = 1000
#: Octets for each session, and how many times as long a poll may take beside them.
MOST_OCTETS, MOST_TIMES = 20_000, 2.0
#: Files that this process has open besides the connections.
_OTHER_FILES = 100


def log_in(port: int, names: list[str], addresses: int) -> list[Client]:
    clients = []
    for number, name in enumerate(names):
        address = f"127.0.2.{1 + number % addresses}"
        clients.append(Client(port, name, address=address, buffer=256))
        clients[-1].do("STAT")
    return clients


def polls(server: Server, count: int) -> list[float]:
    """Seconds of each, in order of length; the first polls, after which passwords are remembered, do not count."""
    for number in range(1, MAILBOXES + 1):
        poll(server.port, f"user{number}")
    return sorted(poll(server.port, f"user{1 + number % MAILBOXES}") for number in range(count))


def many(server: Server, names: list[str], addresses: int) -> tuple[int, float, list[list[float]]]:
    """Memory before, memory for each session, and the polls before, beside and after them."""
    taken = [polls(server, POLLS)]
    before = memory.used(server.processes)
    clients = log_in(server.port, names, addresses)
    taken.append(polls(server, POLLS))
    each = (memory.used(server.processes) - before) / len(clients)
    for client in clients:
        client.close()
    taken.append(polls(server, POLLS))
    return before, each, taken


def of_dovecot(sessions: int, addresses: int) -> float:
    """Memory that each of so many sessions takes."""
    with tempfile.TemporaryDirectory(prefix="mailplatform-bench-") as name, cores.pinned(cores.ALL[:1]):
        folder = Path(name)
        folder.chmod(0o755)
        with dovecot.pop3(dovecot.TUNED, folder, mailboxes=sessions, messages=1) as server:
            before = memory.used(server.processes)
            clients = log_in(server.port, [f"user{number}" for number in range(1, sessions + 1)], addresses)
            each = (memory.used(server.processes) - before) / sessions
            for client in clients:
                client.close()
    return each


def section(*, sessions: int = SESSIONS, addresses: int = ADDRESSES) -> report.Section:
    sessions = min(sessions, _files() - _OTHER_FILES)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailplatform-bench-")))
        with cores.pinned(cores.ALL[:1]):
            fills = ((), ("copies", "idle", "1"), ("more", "idle", str(sessions)))
            server = stack.enter_context(mailplatform(folder, fills=fills))
        stack.enter_context(cores.pinned(cores.for_load()))
        before, each, taken = many(server, [f"idle{number}" for number in range(sessions)], addresses)
    rows = [("One worker with nobody logged in", f"{before / 2**20:,.0f} MiB")]
    rows.append((f"Each of {sessions:,} sessions", f"{each:,.0f} octets"))
    if is_installed():
        theirs = of_dovecot(DOVECOTS, addresses)
        rows.append((f"Dovecot, tuned: each of {DOVECOTS:,} sessions", f"{theirs:,.0f} octets"))
    text = report.table(("Memory", ""), rows) + "\n\n" + _polls(taken, sessions)
    times = statistics.median(taken[1]) / statistics.median(taken[0])
    goals = [
        report.Goal(
            f"memory of each of {sessions:,} idle sessions",
            f"{MOST_OCTETS:,} octets",
            f"{each:,.0f}",
            each <= MOST_OCTETS and sessions >= SESSIONS,
        ),
        report.Goal("a poll beside them, times one without", f"{MOST_TIMES:.0f}", f"{times:.2f}", times <= MOST_TIMES),
    ]
    return report.Section("Sessions that wait", text, goals)


def _polls(taken: list[list[float]], sessions: int) -> str:
    rows = []
    for name, seconds in zip(("before", f"beside {sessions:,} sessions", "when they have gone"), taken, strict=True):
        figures = statistics.median(seconds), seconds[len(seconds) * 99 // 100], seconds[-1]
        rows.append((name, *(f"{figure * 1000:,.1f} ms" for figure in figures)))
    return report.table(("A poll", "median", "99 of 100 within", "longest"), rows)


def _files() -> int:
    """How many files this process may have open, and the server that it starts, as many as are allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="fewer where `ulimit -Hn` allows fewer files")
    parser.add_argument(
        "--addresses", type=int, default=ADDRESSES, help="of loopback, that they come from; at most 254"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    print(f"{section(sessions=options.sessions, addresses=options.addresses)}\n{report.setup()}")


if __name__ == "__main__":
    main()
