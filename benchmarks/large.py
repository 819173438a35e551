"""`python -m benchmarks.large`: RETR of one message of 100 MiB, beside copying the same octets over loopback.

The copy is what a program does that has the whole reply in memory and nothing else to do: one sendall. Both servers are
on one core, the client, the same for both, on another; turns alternate. Then twenty clients fetch it at once, and what
all processes of the server use beyond what they used before is its memory for that.
"""

import argparse
import contextlib
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import cores, memory, report
from benchmarks.client import Client
from benchmarks.processor import seconds_used
from benchmarks.servers import ROOT, Server, databases, free_port, running

OCTETS = 100 * 1024 * 1024
CLIENTS = 20
TURNS = 5
COPY = "Copied from memory"
#: The share of the copy's speed that is wanted.
WANTED = 0.5
#: Octets that the clients together may add.
MOST_OCTETS = 100_000_000


# --- The copy -------------------------------------------------------------------------------------------------------


def copy_to(connection: socket.socket, reply: bytes) -> None:
    """Answers with +OK, and RETR with the reply."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as lines:
        connection.sendall(b"+OK\r\n")
        for line in lines:
            connection.sendall(reply if line.startswith(b"RETR") else b"+OK\r\n")
            if line.startswith(b"QUIT"):
                break


def serve_copies(port: int, octets: int) -> None:
    reply = b"+OK\r\n" + (b"x" * 76 + b"\r\n") * (octets // 78) + b".\r\n"
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=copy_to, args=(connection, reply), daemon=True).start()


@contextlib.contextmanager
def copier(folder: Path, octets: int) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.large", "--serve", str(port), "--octets", str(octets)]
    with running(command, port=port, log=folder / "log", cwd=ROOT) as process:
        yield Server(port, [process])


# --- What is measured -----------------------------------------------------------------------------------------------


def fetch(server: Server) -> tuple[float, float]:
    """Octets a second of one RETR: of the clock, and of the server's processor time."""
    with Client(server.port, "large") as client:
        used, begun = seconds_used(server.processes), time.perf_counter()
        octets = client.octets("RETR 1")
        passed = time.perf_counter() - begun
        return octets / passed, octets / max(seconds_used(server.processes) - used, 0.01)


def fetch_at_once(server: Server, clients: int) -> tuple[int, float]:
    """Octets of memory that so many clients add, each with a mailbox of its own, and what they get a second."""
    received: list[int] = []

    def one(number: int) -> None:
        with Client(server.port, f"large{number}") as client:
            received.append(client.octets("RETR 1"))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    before, begun = memory.used(server.processes), time.perf_counter()
    with memory.highest(server.processes) as seen:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if len(received) != clients or len(set(received)) != 1:
        raise RuntimeError(f"not every client got the message: {received}")
    return max(seen) - before, sum(received) / (time.perf_counter() - begun)


def section(*, octets: int = OCTETS, clients: int = CLIENTS, turns: int = TURNS) -> report.Section:
    fills = [("large", "large", str(octets), str(clients))]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailplatform-bench-")))
        with cores.pinned(cores.ALL[:1]):
            servers = {COPY: stack.enter_context(copier(folder, octets))}
            for database, starter in databases().items():
                own = folder / database
                own.mkdir()
                servers[f"Mailplatform, {database}"] = stack.enter_context(starter(own, fills=fills))
        stack.enter_context(cores.pinned(cores.for_load()))
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
        for turn in range(turns + 1):
            for name, server in servers.items():
                speeds = fetch(server)
                if turn:  # the first fills the caches
                    found[name].append(speeds)
        together = {name: fetch_at_once(servers[name], clients) for name in servers if name != COPY}
    return report.Section("One large message", *_told(found, together, octets, clients))


def _told(
    found: dict[str, list[tuple[float, float]]], together: dict[str, tuple[int, float]], octets: int, clients: int
) -> tuple[str, list[report.Goal]]:
    rows, goals = [], []
    for name, speeds in found.items():
        ratios = [
            statistics.median(mine[kind] / copy[kind] for mine, copy in zip(speeds, found[COPY], strict=True))
            for kind in (0, 1)
        ]
        clock, processor = (statistics.median(each[kind] for each in speeds) / 2**20 for kind in (0, 1))
        row = [name, f"{clock:,.0f} ({ratios[0]:.2f})", f"{processor:,.0f} ({ratios[1]:.2f})"]
        if name in together:
            added, speed = together[name]
            row += [f"{speed / 2**20:,.0f}", f"{added / 2**20:,.0f} MiB"]
            of = f"RETR of {octets // 2**20} MiB, {name.partition(', ')[2]}"
            wanted = f"{MOST_OCTETS // 10**6} MB"
            goals += [
                report.Goal(f"{of}, times a copy", f"{WANTED}", f"{ratios[0]:.2f}", ratios[0] >= WANTED),
                report.Goal(f"{of}, {clients} clients add", wanted, f"{added / 10**6:.0f} MB", added <= MOST_OCTETS),
            ]
        rows.append([*row, "", ""][:5])
    head = (
        f"{octets // 2**20} MiB",
        "MiB/s",
        "MiB/s of processor time",
        f"{clients} clients, MiB/s",
        "memory that they add",
    )
    return f"{report.table(head, rows)}\n\nMedian of {len(speeds)} turns (ratio to the copy).", goals


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--octets", type=int, default=OCTETS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if options.serve:
        serve_copies(options.serve, options.octets)
    print(f"{section(octets=options.octets, clients=options.clients, turns=options.turns)}\n{report.setup()}")


if __name__ == "__main__":
    main()
