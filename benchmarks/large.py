"""`python -m benchmarks.large`: a maildrop of 100,000 messages, and the memory of sessions and of large messages.

One worker of Mailplatform on SQLite, alone on a core; a client on another. Every figure is of what a client sees by
the clock, or of the worker's resident memory.
"""

import argparse
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Self

from benchmarks.messages import DOMAIN, PASSWORD
from benchmarks.servers import mailplatform

MESSAGES = 100_000
DELETED = 1000
SESSIONS = 1000
READERS, LARGE_OCTETS = 20, 100 * 1024 * 1024
_TURNS = 7


class Client:
    """A session, as plain as can be."""

    def __init__(self, port: int, name: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=256 * 1024)
        self._file.readline()
        self.do(f"USER {name}@{DOMAIN}")
        self.do(f"PASS {PASSWORD}")

    def do(self, command: str) -> bytes:
        self._socket.sendall(command.encode() + b"\r\n")
        reply = self._file.readline()
        if not reply.startswith(b"+OK"):
            raise RuntimeError(f"{command}: {reply!r}")
        return reply

    def lines(self, command: str) -> int:
        """How many lines follow; read in large parts, so that the client costs little."""
        self._socket.sendall(command.encode() + b"\r\n")
        end, lines = b"", -2  # the status line and the terminator are none
        while not end.endswith(b"\r\n.\r\n"):
            octets = self._socket.recv(1024 * 1024)
            if not octets:
                raise RuntimeError(f"{command}: the server has closed")
            lines += octets.count(b"\n")
            end = (end + octets)[-5:]
        return lines

    def octets(self, command: str) -> int:
        """How many octets follow, the terminator left out."""
        self.do(command)
        return sum(len(line) for line in iter(self._file.readline, b".\r\n"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.do("QUIT")
        self._file.read()
        self._socket.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--fill", action="store_true", help="only fill the database of the environment (used inside)")
    if parser.parse_args().fill:
        fill_database()
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    filled_by = ("benchmarks.large", "--fill")
    with tempfile.TemporaryDirectory(prefix="mailplatform-bench-") as folder:
        print(
            f"filling a maildrop with {MESSAGES:,} messages, and another with one of {LARGE_OCTETS:,} octets",
            flush=True,
        )
        with mailplatform(Path(folder), "", filled_by=filled_by) as server:
            os.sched_setaffinity(0, {cores[-1]})
            worker = worker_of(server.processes[0])
            print("\n| | |\n|---|---:|")
            port = server.port
            for what, figure in chain(many_sessions(port, worker), large_maildrop(port), large_messages(port, worker)):
                print(f"| {what} | {figure} |", flush=True)


def large_maildrop(port: int) -> Iterator[tuple[str, str]]:
    def stat() -> None:
        with Client(port, "big") as client:
            client.do("STAT")

    stat()  # from here on the password is known
    yield f"Connect, log in, `STAT`, `QUIT` with {MESSAGES:,} messages", timed(stat)
    with Client(port, "big") as client:
        begun = time.perf_counter()
        client.lines("LIST")
        yield "`LIST`, read from the database", f"{(time.perf_counter() - begun) * 1000:,.0f} ms"
        yield "`LIST`, remembered", timed(lambda: client.lines("LIST"))
        yield "`UIDL`, remembered", timed(lambda: client.lines("UIDL"))
        for number in range(1, DELETED + 1):
            client.do(f"DELE {number}")
        begun = time.perf_counter()
    yield f"`QUIT` after {DELETED:,} `DELE`", f"{(time.perf_counter() - begun) * 1000:,.0f} ms"


def many_sessions(port: int, worker: int) -> Iterator[tuple[str, str]]:
    with Client(port, "idle0") as client:
        client.do("STAT")
    before = resident(worker)
    yield "Memory of the worker, with nobody logged in", f"{before / 2**20:,.0f} MiB"
    clients = [Client(port, f"idle{number}") for number in range(SESSIONS)]
    for client in clients:
        client.do("STAT")
    each = (resident(worker) - before) / SESSIONS
    yield f"Memory for each of {SESSIONS:,} sessions that are logged in and wait", f"{each / 1024:,.1f} KiB"
    for client in clients:
        client.__exit__()


def large_messages(port: int, worker: int) -> Iterator[tuple[str, str]]:
    before, begun = resident(worker), time.perf_counter()
    sizes: list[int] = []

    def fetch(number: int) -> None:
        with Client(port, f"large{number}") as client:
            sizes.append(client.octets("RETR 1"))

    with highest(worker) as seen:
        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(READERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if len(sizes) != READERS or min(sizes) < LARGE_OCTETS:
        raise RuntimeError(f"not every client got the message: {sizes}")
    passed = time.perf_counter() - begun
    yield (
        f"Memory that {READERS} clients add which fetch {LARGE_OCTETS // 2**20} MiB at once, all together",
        f"{(max(seen) - before) / 2**20:,.0f} MiB",
    )
    yield "Their octets each second, all together", f"{sum(sizes) / passed / 2**20:,.0f} MiB/s"


def timed(work: Callable[[], object]) -> str:
    """The median of several turns."""
    times = []
    for _ in range(_TURNS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return f"{statistics.median(times) * 1000:,.1f} ms"


def worker_of(arbiter: int) -> int:
    children = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text(encoding="ascii").split()
    return int(children[0])


def resident(process: int) -> int:
    """Octets of memory that are the process's."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def highest(process: int) -> Iterator[list[int]]:
    """What the process's memory was, looked at a hundred times a second."""
    seen, ended = [resident(process)], threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            seen.append(resident(process))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def fill_database() -> None:
    """A user with all these mailboxes: one password, one hash."""
    import django
    from django.core.management import call_command

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mailplatform.settings")
    django.setup()
    call_command("migrate", verbosity=0)
    # models can be imported only after django.setup
    from accounts.services import create_account, create_domain, create_mailbox

    domain = create_domain(name=DOMAIN)
    user = create_account(username="big", password=PASSWORD)
    names = [*(f"idle{number}" for number in range(SESSIONS)), *(f"large{number}" for number in range(READERS))]
    ids = {name: create_mailbox(user=user, domain=domain, local_part=name).pk for name in names}
    add_small(user.mailboxes.get(local_part="big").pk)
    for number in range(READERS):
        add_large(ids[f"large{number}"])


def add_small(mailbox_id: int) -> None:
    from mailstore.delivery import Body, Import, append_many

    for first in range(0, MESSAGES, 1000):
        bodies = []
        for number in range(first, first + 1000):
            body = Body()
            body.write(f"From: sender@example.org\r\nSubject: {number}\r\n\r\n{number:040d}\r\n".encode())
            body.finish()
            bodies.append(body)
        append_many(mailbox_id=mailbox_id, imports=[Import(body) for body in bodies])
        for body in bodies:
            body.close()


def add_large(mailbox_id: int) -> None:
    from mailstore.delivery import Body, append

    lines = (b"x" * 76 + b"\r\n") * 1000
    with Body() as body:
        body.write(b"From: sender@example.org\r\nSubject: large\r\n\r\n")
        for _ in range(LARGE_OCTETS // len(lines) + 1):
            body.write(lines)
        body.finish()
        append(mailbox_id=mailbox_id, body=body)


if __name__ == "__main__":
    main()
