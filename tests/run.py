"""`make test`: the suite on SQLite, then on PostgreSQL where its programs are installed.

Arguments are pytest's: `make test ARGS="tests/pop3service -x"`. In CI a missing PostgreSQL is a failure; elsewhere it
is said, and the run on SQLite counts.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

ROOT = Path(__file__).resolve().parent.parent
#: What the tests write, several times over.
MEMORY_OCTETS = 4 << 30
#: Names the setting of a database that has the tables, and nobody in it: tests copy it.
TEMPLATE = "TEMPLATE_DATABASE_URL"
#: pytest's exit code where no test was chosen.
NO_TESTS = 5


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an end from outside takes the cluster along
    failed = run_suite("SQLite", arguments, database_url="")
    programs = postgresql_programs()
    if programs is None:
        print("\n=== PostgreSQL is not installed: the tests ran on SQLite alone. ===", flush=True)
        return failed or int(bool(os.environ.get("CI")))
    with postgresql(programs, directory=memory()) as url:
        # What cannot see the database (tests/conftest.py says how that is known) has run by now.
        return run_suite("PostgreSQL", [*arguments, "--only-with-database"], database_url=url) or failed


def run_suite(name: str, arguments: list[str], *, database_url: str) -> int:
    """pytest on one database, the files of tests shared out over the processors."""
    print(f"\n=== The tests on {name} ===", flush=True)
    began = time.monotonic()
    # One more than processors: end-to-end tests wait much, for programs of other people.
    processes = str(min((os.cpu_count() or 1) + 1, 5))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-n",
        processes,
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
    ]
    # A VAR_DIR of its own: the tests neither see nor touch what `make run` keeps in var/.
    with tempfile.TemporaryDirectory(prefix="mailplatform-tests-", dir=memory()) as folder:
        environment = os.environ | {"VAR_DIR": f"{folder}/var", "DATABASE_URL": database_url}
        # Some two hundred processes are started: none of them is to compile the whole project anew.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        template = environment[TEMPLATE] = new_template(database_url, folder)
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        subprocess.run(migrate, cwd=ROOT, env=environment | {"DATABASE_URL": template}, check=True)
        command += [f"--basetemp={folder}/pytest", *arguments]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code == NO_TESTS and "--only-with-database" in arguments:
        code = 0
    result = "passed" if code == 0 else f"FAILED ({code})"
    print(f"=== {name}: {result} in {time.monotonic() - began:.0f} s ===", flush=True)
    return code


def new_template(database_url: str, folder: str) -> str:
    """An empty database: a file in `folder`, or one on the server of a DATABASE_URL."""
    if not database_url:
        return f"sqlite:///{folder}/template.sqlite3"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_of_tests")
    return urlsplit(database_url)._replace(path="/template_of_tests").geturl()


def memory() -> str | None:
    """A folder in memory where there is one with room enough: on a disk, tests wait half of their time for it."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free >= MEMORY_OCTETS
    return str(shared) if roomy else None


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl: the newest of Debian's, or what PATH says."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@contextlib.contextmanager
def postgresql(
    programs: Path, *, fsync: bool = False, directory: str | None = None, by_socket: bool = False
) -> Iterator[str]:
    """A cluster of its own in a temporary folder; gives its DATABASE_URL, by TCP or by its socket of the file system.
    Tests need no disk to survive a crash."""
    # PostgreSQL refuses to run as root: then it runs as its own user.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="mailplatform-pg-", dir=directory, ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, **user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-p {port} -h 127.0.0.1 -k {folder} -c max_connections=300"
        if not fsync:
            options += " -c fsync=off -c full_page_writes=off"
        control = [str(programs / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log"]
        init = [str(programs / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "-E", "UTF8"]
        run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **user}
        subprocess.run([*init, "--no-sync"], **run)
        subprocess.run([*control, "-o", options, "start"], **run)
        try:
            socket_url = f"postgres://postgres@:{port}/postgres?host={folder}"
            yield socket_url if by_socket else f"postgres://postgres@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
