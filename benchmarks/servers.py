"""Starting what is measured, on this process's cores, and ending it again. Everything lies in one temporary folder."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.certificate import write_certificate
from tests.run import postgresql, postgresql_programs

ROOT = Path(__file__).resolve().parent.parent
#: Seconds a server may take until it greets.
STARTING = 30


@dataclass(frozen=True)
class Server:
    """A server that answers on `port`, with TLS on `tls_port`, and the processes that it and its database are made of,
    with their children. `database_url` is that of ours, where it is no SQLite."""

    port: int
    processes: list[int]
    tls_port: int = 0
    database_url: str = ""


class NotStartedError(Exception):
    """A server did not greet; the message holds the end of its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def greets(port: int, greeting: bytes = b"+OK") -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        said = connection.recv(512)
        connection.sendall(b"QUIT\r\n")
        return said.startswith(greeting)
    return False


def until_greeted(process: "subprocess.Popen[bytes]", port: int, *, log: Path, greeting: bytes = b"+OK") -> None:
    """Wait for a server's greeting. Raises NotStartedError."""
    deadline = time.monotonic() + STARTING
    while not greets(port, greeting):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotStartedError(f"{process.args!r}\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


@contextlib.contextmanager
def running(command: list[str], *, port: int, log: Path, greeting: bytes = b"+OK", **options: Any) -> Iterator[int]:
    """The command as a process of ours, from its greeting on until the block ends; gives its id."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        until_greeted(process, port, log=log, greeting=greeting)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def mailplatform(
    folder: Path,
    database_url: str = "",
    *,
    fills: Sequence[Sequence[str]] = ((),),
    workers: int = 1,
) -> Iterator[Server]:
    """Workers of ours, on SQLite without a URL; benchmarks.fill is run before, with each of these arguments."""
    port, tls_port = free_port(), free_port()
    environment = in_database(folder, database_url)
    for arguments in fills:
        fill(environment, *arguments)
    files = write_certificate(folder)
    serve = [sys.executable, "manage.py", "pop3serve", "--workers", str(workers), "--bind", f"127.0.0.1:{port}"]
    serve += ["--tls-bind", f"127.0.0.1:{tls_port}"]
    serve += ["--certfile", str(files.certfile), "--keyfile", str(files.keyfile)]
    with running(serve, port=port, log=folder / "log", cwd=ROOT, env=environment) as process:
        yield Server(port, [process], tls_port, database_url)


def fill(environment: dict[str, str], *arguments: str) -> None:
    """Run benchmarks.fill in a server's database."""
    subprocess.run([sys.executable, "-m", "benchmarks.fill", *arguments], check=True, cwd=ROOT, env=environment)


def in_database(folder: Path, database_url: str) -> dict[str, str]:
    """The environment of the processes of one server of ours."""
    return {**os.environ, "DATABASE_URL": database_url, "VAR_DIR": str(folder)}


@contextlib.contextmanager
def cluster() -> Iterator[tuple[str, int]]:
    """PostgreSQL as it is installed, with every commit synchronous; only its place is another, and it is reached by its
    socket of the file system, where Dovecot has its mail too. URL and process."""
    programs = postgresql_programs()
    if programs is None:
        raise NotStartedError("PostgreSQL is not installed. On Debian: apt install postgresql")
    with postgresql(programs, fsync=True, by_socket=True) as url:
        with psycopg.connect(url) as connection:
            backend = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
        yield url, int(backend[1])


@contextlib.contextmanager
def mailplatform_on_postgresql(folder: Path, **options: Any) -> Iterator[Server]:
    with cluster() as (url, postmaster), mailplatform(folder, url, **options) as server:
        yield Server(server.port, [*server.processes, postmaster], server.tls_port, url)


def databases() -> dict[str, Callable[..., AbstractContextManager[Server]]]:
    """Ways to start ours (`mailplatform`), by the databases that are installed."""
    found: dict[str, Callable[..., AbstractContextManager[Server]]] = {"SQLite": mailplatform}
    if postgresql_programs() is None:
        print("PostgreSQL is not there, so SQLite is measured alone. On Debian: apt install postgresql")
    else:
        found["PostgreSQL"] = mailplatform_on_postgresql
    return found
