"""`make bench`: Mailplatform on SQLite and on PostgreSQL beside Dovecot, in one run; LMTP after it (benchmarks.lmtp).

All servers run at the same time on one core and the load generator on another; rounds alternate between the servers,
so that whatever else the machine does falls on all of them alike. The table gives medians of the rounds, how far they
lie apart, and the median of each round's ratio to tuned Dovecot.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from benchmarks import dovecot, lmtp, report
from benchmarks.load import SCENARIOS
from benchmarks.servers import (
    ROOT,
    NotStartedError,
    Server,
    dovecot_with,
    mailplatform_on_postgresql,
    mailplatform_on_sqlite,
)

Starter = Callable[[Path], AbstractContextManager[Server]]

OURS: dict[str, Starter] = {
    "Mailplatform, SQLite": mailplatform_on_sqlite,
    "Mailplatform, PostgreSQL": mailplatform_on_postgresql,
}
DOVECOTS = {"Dovecot, tuned": dovecot.TUNED, "Dovecot, defaults": dovecot.DEFAULTS}


def start(stack: ExitStack, folder: Path, only: str) -> dict[str, Server]:
    """Start all servers that are installed and asked for."""
    starters = dict(OURS)
    if shutil.which(dovecot.PROGRAM):
        for name, template in DOVECOTS.items():
            starters[name] = partial(dovecot_with, template)
    else:
        print(
            f"{dovecot.PROGRAM} is not there, so Mailplatform is measured alone. On Debian: apt install dovecot-pop3d"
        )
    servers = {}
    for number, (name, starter) in enumerate(starters.items()):
        if only not in name:
            continue
        own = folder / str(number)
        own.mkdir()
        print(f"starting {name}", flush=True)
        try:
            servers[name] = stack.enter_context(starter(own))
        except NotStartedError as error:
            print(f"{name} is left out: {error}")
    return servers


def measure(server: Server, scenario: str, seconds: float, core: int) -> dict[str, float]:
    """One measurement, by the load generator in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(server.port), "--scenario", scenario]
    command += ["--seconds", str(seconds), "--core", str(core), "--server", *map(str, server.processes)]
    ended = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=seconds + 120)
    result: dict[str, float] = json.loads(ended.stdout)
    return result


def rounds(servers: dict[str, Server], options: argparse.Namespace, core: int, end: float) -> list[report.Measurement]:
    """Every server in every scenario, again and again; one round at least, and no other that would go beyond `end`."""
    measurements = []
    begun = time.monotonic()
    for number in range(options.rounds):
        now = time.monotonic()
        if number and now + (now - begun) / number > end:
            print(f"{number} of {options.rounds} rounds: another one would take longer than {options.limit:.0f} s")
            break
        for scenario in SCENARIOS:
            for name, server in servers.items():
                result = measure(server, scenario, options.seconds, core)
                measurements.append(report.Measurement(name, scenario, number, **result))
                print(f"round {number + 1}: {measurements[-1]}", flush=True)
    return measurements


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement, after its warm-up")
    parser.add_argument(
        "--limit", type=float, default=180, help="seconds for POP3, one round at least; LMTP takes some 60 more"
    )
    parser.add_argument("--only", default="", help="servers whose name holds this")
    parser.add_argument("--output", type=Path, help="a JSON file for every single measurement")
    options = parser.parse_args()
    end = time.monotonic() + options.limit
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that the servers end too
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})  # what this process starts inherits it
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailplatform-bench-")))
        folder.chmod(0o755)  # servers that run as another user look into their own folders
        setup = report.setup(cores)
        servers = start(stack, folder, options.only)
        if not servers:
            sys.exit("There is no server to measure.")
        measurements = rounds(servers, options, cores[-1], end)
    print(report.tables(measurements, setup))
    print(lmtp.run(rounds=1, seconds=1, core=cores[-1]))
    if options.output:
        options.output.write_text(report.as_json(measurements, setup), encoding="utf-8")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
