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

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an end from outside takes the cluster along
    failed = run_suite("SQLite", arguments, database_url="")
    programs = postgresql_programs()
    if programs is None:
        print("\n=== PostgreSQL is not installed: the tests ran on SQLite alone. ===", flush=True)
        return failed or int(bool(os.environ.get("CI")))
    with postgresql(programs) as url:
        return run_suite("PostgreSQL", arguments, database_url=url) or failed


def run_suite(name: str, arguments: list[str], *, database_url: str) -> int:
    """pytest on one database, the files of tests shared out over the processors."""
    print(f"\n=== The tests on {name} ===", flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadfile"]
    # A VAR_DIR of its own: the tests neither see nor touch what `make run` keeps in var/.
    with tempfile.TemporaryDirectory(prefix="mailplatform-tests-") as var:
        environment = os.environ | {"VAR_DIR": var, "DATABASE_URL": database_url}
        code = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, check=False).returncode
    result = "passed" if code == 0 else f"FAILED ({code})"
    print(f"=== {name}: {result} in {time.monotonic() - began:.0f} s ===", flush=True)
    return code


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl: the newest of Debian's, or what PATH says."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@contextlib.contextmanager
def postgresql(programs: Path, *, fsync: bool = False) -> Iterator[str]:
    """A cluster of its own in a temporary folder; gives its DATABASE_URL. Tests need no disk to survive a crash."""
    # PostgreSQL refuses to run as root: then it runs as its own user.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="mailplatform-pg-", ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, **user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-p {port} -h 127.0.0.1 -k {folder} -c max_connections=300 -c fsync={'on' if fsync else 'off'}"
        control = [str(programs / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log"]
        init = [str(programs / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "-E", "UTF8"]
        run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **user}
        subprocess.run([*init, "--no-sync"], **run)
        subprocess.run([*control, "-o", options, "start"], **run)
        try:
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
