"""`python -m benchmarks.lmtp`, a part of `make bench`: mail handed over by LMTP, beside Dovecot's.

Clients send message after message over connections that stay, each command after the reply to the one before, and
each connection to a mailbox of its own. What was answered with 250 is on the disk: SQLite with synchronous=FULL,
PostgreSQL with fsync, Dovecot with mail_fsync=always. All servers run at the same time on one core, and the load on
another; rounds alternate between them. The second figure, by the processor's time, is what a busy machine leaves right.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import uvloop

from benchmarks import cores, dovecot, report
from benchmarks.aiosmtpd_intake import CONNECTIONS, OCTETS, Client, make_accounts
from benchmarks.processor import seconds_used
from benchmarks.servers import ROOT, NotStartedError, Server, cluster, free_port, running
from tests.dovecot import is_installed

REFERENCE = "Dovecot"
#: Seconds that a measurement takes at most where its messages are few.
PATIENCE = 30

Rates = dict[tuple[str, int, int], list[tuple[float, float]]]


# --- The servers ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ours(folder: Path, database_url: str = "") -> Iterator[Server]:
    """One worker of smtpserve, as it is by default."""
    port = free_port()
    make_accounts(folder, database_url)
    environment = {**os.environ, "DATABASE_URL": database_url, "VAR_DIR": str(folder), "LOG_LEVEL": "WARNING"}
    serve = [sys.executable, "manage.py", "smtpserve", "--lmtp-bind", f"127.0.0.1:{port}"]
    with running(serve, port=port, log=folder / "log", greeting=b"220", cwd=ROOT, env=environment) as process:
        yield Server(port, [process])


@contextlib.contextmanager
def ours_on_postgresql(folder: Path) -> Iterator[Server]:
    with cluster() as (url, postmaster), ours(folder, url) as server:
        yield Server(server.port, [*server.processes, postmaster])


STARTERS: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "Mailplatform, SQLite": ours,
    "Mailplatform, PostgreSQL": ours_on_postgresql,
    REFERENCE: dovecot.lmtp,
}


def start(stack: ExitStack, folder: Path) -> dict[str, Server]:
    """All servers that are installed."""
    servers = {}
    for number, (name, starter) in enumerate(STARTERS.items()):
        if name == REFERENCE and not is_installed():
            print("Dovecot's LMTP is not there. On Debian: apt install dovecot-lmtpd")
            continue
        own = folder / str(number)
        own.mkdir()
        try:
            servers[name] = stack.enter_context(starter(own))
        except NotStartedError as error:
            print(f"{name} is left out: {error}")
    return servers


# --- The load -------------------------------------------------------------------------------------------------------


async def load(server: Server, connections: int, octets: int, seconds: float) -> tuple[float, float]:
    """Messages answered with 250, a second, and a second of the processor time of server and database."""
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(connections):
        factory = partial(Client, number, "lmtp", octets)
        clients.append((await loop.create_connection(factory, "127.0.0.1", server.port))[1])
    await asyncio.gather(*(client.ready for client in clients))
    for client in clients:
        client.go_on()
    began, used, done = time.perf_counter(), seconds_used(server.processes), 0
    while (elapsed := time.perf_counter() - began) < seconds or (done < 2 * connections and elapsed < PATIENCE):
        await asyncio.sleep(0.1)
        done = sum(client.done for client in clients)
    if not done:
        raise RuntimeError("no message was taken")
    rates = done / elapsed, done / max(seconds_used(server.processes) - used, 0.01)
    for client in clients:
        client.transport.abort()
    return rates


def table(rates: Rates) -> str:
    """Medians in Markdown, with the median of the rounds' ratios to Dovecot."""
    lines = ["Messages a second; a second of the server's processor time (ratio of that to Dovecot's):", ""]
    names = list(dict.fromkeys(name for name, _, _ in rates))
    lines += ["| octets | connections | " + " | ".join(names) + " |", "|---:|---:|" + "---:|" * len(names)]
    for octets in OCTETS:
        for connections in CONNECTIONS:
            cells = [_cell(rates, name, connections, octets) for name in names]
            lines.append(f"| {octets:,} | {connections} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rates: Rates, name: str, connections: int, octets: int) -> str:
    mine = rates[name, connections, octets]
    by_clock, by_processor = (statistics.median(each[kind] for each in mine) for kind in (0, 1))
    theirs = rates.get((REFERENCE, connections, octets))
    ratio = ""
    if theirs and name != REFERENCE:
        found = statistics.median(our[1] / their[1] for our, their in zip(mine, theirs, strict=True))
        ratio = f" ({found:.1f})"
    return f"{by_clock:,.0f}; {by_processor:,.0f}{ratio}"


def section(*, rounds: int, seconds: float) -> report.Section:
    """Measure everything: the servers on the first core, the load on the last."""
    rates: Rates = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailplatform-bench-")))
        folder.chmod(0o755)
        with cores.pinned(cores.ALL[:1]):
            servers = start(stack, folder)
        stack.enter_context(cores.pinned(cores.ALL[-1:]))
        for _ in range(rounds):
            for octets in OCTETS:
                for connections in CONNECTIONS:
                    for name, server in servers.items():
                        both = uvloop.run(load(server, connections, octets, seconds))
                        rates.setdefault((name, connections, octets), []).append(both)
                        print(f"{name}, {connections} x {octets:,}: {both[0]:,.0f}/s, {both[1]:,.0f}", flush=True)
    return report.Section("LMTP, beside Dovecot", table(rates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    print(f"\n{section(rounds=options.rounds, seconds=options.seconds)}\n{report.setup()}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
