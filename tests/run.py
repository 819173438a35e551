"""`make test`: the suite on SQLite, then on PostgreSQL where its programs are installed.

In CI a missing PostgreSQL is a failure; elsewhere it is said, and the run on SQLite counts.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl: the newest of Debian's, or what PATH says."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@contextlib.contextmanager
def postgresql(programs: Path) -> Iterator[str]:
    """A cluster of its own in a temporary folder; gives its DATABASE_URL."""
    # PostgreSQL refuses to run as root: then it runs as its own user.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="mailplatform-pg-", ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, **user)
        data = Path(folder) / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off -c max_connections=200"
        control = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", f"{folder}/log"]
        init = [str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
        subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
        try:
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"
        finally:
            stop = [*control, "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)


def run_suite(name: str, arguments: list[str], **environment: str) -> int:
    """pytest on one database, with the tests shared out over the processors."""
    print(f"\n=== The tests on {name} ===", flush=True)
    command = [sys.executable, "-m", "pytest", "-n", str(min(os.cpu_count() or 1, 4)), *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


def main(arguments: list[str]) -> int:
    failed = run_suite("SQLite", arguments, DATABASE_URL="")
    programs = postgresql_programs()
    if programs is None:
        print("PostgreSQL is not installed: the tests ran on SQLite alone.", flush=True)
        return failed or int(bool(os.environ.get("CI")))
    with postgresql(programs) as url:
        return run_suite("PostgreSQL", arguments, DATABASE_URL=url) or failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
