"""`make test`: the whole suite on SQLite, then on PostgreSQL where its binaries are installed.

Arguments are pytest's: `make test ARGS="tests/pop3service -x"`. In CI (CI=true) a missing PostgreSQL is a failure;
elsewhere it is said and skipped. The exit code is that of the first run that failed.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from tests.cluster import ClusterError, find_binaries, running_cluster

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _end)  # so that the cluster and the temporary files go with us
    results = {"SQLite": _run_sqlite(arguments)}
    binaries = find_binaries()
    if binaries is not None:
        results["PostgreSQL"] = _run_postgresql(arguments, binaries)
    elif IN_CI:
        _say("PostgreSQL is not installed, and in CI the suite runs on it too.")
        results["PostgreSQL"] = 1
    for name, code in results.items():
        _say(f"{name}: {'passed' if code == 0 else f'FAILED (exit code {code})'}")
    if binaries is None:
        _say("PostgreSQL: not run; install it (Debian: apt install postgresql) to test on it too.")
    return next((code for code in results.values() if code), 0)


def _run_sqlite(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="mailplatform-tests-") as directory:
        return _pytest("SQLite", arguments, directory, f"sqlite:///{directory}/mailplatform.sqlite3")


def _run_postgresql(arguments: list[str], binaries: Path) -> int:
    try:
        with (
            running_cluster(binaries) as url,
            tempfile.TemporaryDirectory(prefix="mailplatform-tests-") as directory,
        ):
            return _pytest(f"PostgreSQL ({binaries})", arguments, directory, url)
    except ClusterError as error:
        _say(f"PostgreSQL did not start:\n{error}")
        return 1


def _pytest(database: str, arguments: list[str], directory: str, url: str) -> int:
    """One run of the suite on one database; its output goes straight to the screen."""
    _say(f"The suite on {database}")
    began = time.monotonic()
    workers = max(2, min(os.cpu_count() or 2, 8))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "--dist", "loadfile", *arguments],
        cwd=ROOT,
        env=os.environ | {"VAR_DIR": directory, "DATABASE_URL": url},
        check=False,
    )
    _say(f"{database}: {time.monotonic() - began:.0f} s")
    return run.returncode


def _say(text: str) -> None:
    sys.stdout.write(f"== {text}\n")
    sys.stdout.flush()


def _end(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(143)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
