"""Starting what is measured, on this process's cores, and ending it again. Everything lies in one temporary folder."""

import contextlib
import getpass
import grp
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import dovecot
from tests.run import postgresql, postgresql_programs

ROOT = Path(__file__).resolve().parent.parent
#: Seconds a server may take until it greets.
STARTING = 30
#: Whom a server runs as that refuses to be root.
NOBODY = ("nobody", "nogroup")


@dataclass(frozen=True)
class Server:
    """A server that answers on `port`, and the processes that it and its database are made of, with their children."""

    port: int
    processes: list[int]


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


@contextlib.contextmanager
def running(command: list[str], *, port: int, log: Path, greeting: bytes = b"+OK", **options: Any) -> Iterator[int]:
    """The command as a process of ours, from its greeting on until the block ends; gives its id."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        deadline = time.monotonic() + STARTING
        while not greets(port, greeting):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotStartedError(f"{command}\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
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
    folder: Path, database_url: str, *, filled_by: Sequence[str] = ("benchmarks.fill",)
) -> Iterator[Server]:
    """One worker of ours on a database that a module with its arguments fills first."""
    port = free_port()
    environment = {**os.environ, "DATABASE_URL": database_url, "VAR_DIR": str(folder)}
    subprocess.run([sys.executable, "-m", *filled_by], check=True, cwd=ROOT, env=environment)
    serve = [sys.executable, "manage.py", "pop3serve", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    with running(serve, port=port, log=folder / "log", cwd=ROOT, env=environment) as process:
        yield Server(port, [process])


@contextlib.contextmanager
def mailplatform_on_sqlite(folder: Path) -> Iterator[Server]:
    with mailplatform(folder, "") as server:
        yield server


@contextlib.contextmanager
def mailplatform_on_postgresql(folder: Path) -> Iterator[Server]:
    """On a cluster as it is installed, with every commit synchronous; only its place is another."""
    programs = postgresql_programs()
    if programs is None:
        raise NotStartedError("PostgreSQL is not installed. On Debian: apt install postgresql")
    with postgresql(programs, fsync=True) as url, mailplatform(folder, url) as server:
        with psycopg.connect(url) as connection:
            postmaster = int(
                Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()[1]
            )
        yield Server(server.port, [*server.processes, postmaster])


@contextlib.contextmanager
def dovecot_with(template: str, folder: Path) -> Iterator[Server]:
    """Dovecot in the given configuration, with Maildirs of its own, as one user who is not root."""
    port = free_port()
    user, group = (getpass.getuser(), grp.getgrgid(os.getgid()).gr_name) if os.getuid() else NOBODY
    dovecot.write_maildirs(folder / "mail")
    dovecot.write_passwords(folder / "passwd")
    file = dovecot.write_configuration(template, folder=folder, port=port, user=user, group=group)
    as_user: dict[str, Any] = {}
    if not os.getuid():
        as_user = {"user": user, "group": group, "extra_groups": []}
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user, group)
    command = [dovecot.PROGRAM, "-F", "-c", str(file)]
    with running(command, port=port, log=folder / "output", **as_user) as process:
        yield Server(port, [process])
