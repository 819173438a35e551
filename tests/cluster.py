"""A throw-away PostgreSQL cluster on 127.0.0.1 for one run of the tests or benchmarks.

It lives in a temporary directory of its own and goes with it. PostgreSQL refuses to run as root, so root starts
it as the user `postgres`. Durability is off: a test's database need not outlive the machine.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Any

import psycopg

#: Seconds a cluster may take to answer.
START_SECONDS = 30
FAST = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300"]


class ClusterError(RuntimeError):
    """The cluster did not start; the text holds PostgreSQL's own words."""


def find_binaries() -> Path | None:
    """The directory of the newest `initdb` and `postgres` of this machine; None where there are none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major_version, reverse=True)
    on_path = [Path(directory) for directory in os.environ.get("PATH", "").split(os.pathsep) if directory]
    for directory in [*debian, *on_path]:
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    return None


def _major_version(directory: Path) -> float:
    try:
        return float(directory.parent.name)
    except ValueError:
        return 0.0


@contextmanager
def running_cluster(binaries: Path) -> Iterator[str]:
    """Start a cluster, give its DATABASE_URL, and end it."""
    directory = Path(tempfile.mkdtemp(prefix="mailplatform-postgresql-"))
    identity = _identity(directory)
    password = secrets.token_hex(16)
    server: subprocess.Popen[bytes] | None = None
    try:
        _initialise(binaries, directory, password, identity)
        port = _free_port()
        options = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *FAST]
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", directory / "data", *(f"--{option}" for option in options)],
                stdout=log,
                stderr=log,
                cwd=directory,
                **identity,
            )
        url = f"postgres://tests:{password}@127.0.0.1:{port}/postgres"
        _wait_until_it_answers(server, url, directory / "log")
        yield url
    finally:
        if server is not None:
            _stop(server)
        shutil.rmtree(directory, ignore_errors=True)


def _identity(directory: Path) -> dict[str, Any]:
    """Whom to run as, as arguments of subprocess; the directory is handed over."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    os.chown(directory, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _initialise(binaries: Path, directory: Path, password: str, identity: dict[str, Any]) -> None:
    # A password, though it is on loopback: a superuser of PostgreSQL may run programs as the cluster's user.
    secret = directory / "password"
    secret.touch(mode=0o600)
    secret.write_text(password, encoding="ascii")
    if identity:
        os.chown(secret, identity["user"], identity["group"])
    made = subprocess.run(
        [
            *(binaries / "initdb", "--username=tests", "--auth=scram-sha-256", f"--pwfile={secret}"),
            *("--encoding=UTF8", "--no-locale", "--no-sync", "-D", directory / "data"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        check=False,
        **identity,
    )
    if made.returncode:
        raise ClusterError(made.stdout.decode(errors="replace"))


def _free_port() -> int:
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_answers(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=5).close()
            return
        time.sleep(0.1)
    raise ClusterError(log.read_text(errors="replace"))


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()  # waits for clients; they get a moment, then PostgreSQL closes their connections
    try:
        server.wait(2)
    except subprocess.TimeoutExpired:
        server.send_signal(2)
        server.wait(30)
