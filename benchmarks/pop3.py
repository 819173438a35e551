"""`python -m benchmarks.pop3`, the first part of `make bench`: polls and RETR beside Dovecot, plain or over TLS.

All servers run at the same time on one core and the load generator on the others; rounds alternate between the servers,
so that whatever else the machine does falls on all of them alike. The tables give medians of the rounds, how far they
lie apart, and the median of each round's ratio to tuned Dovecot. `--canned` adds a server that has its replies ready
(benchmarks.canned), to show what the load generator can do.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from benchmarks import cores, dovecot, report
from benchmarks.canned import canned
from benchmarks.generating import generate
from benchmarks.load import CLIENTS, SCENARIOS
from benchmarks.messages import MAILBOXES, MESSAGES, OCTETS
from benchmarks.servers import NotStartedError, Server, mailplatform, mailplatform_on_postgresql
from tests.dovecot import is_installed

Starter = Callable[[Path], AbstractContextManager[Server]]

ON_SQLITE, ON_POSTGRESQL = "Mailplatform, SQLite", "Mailplatform, PostgreSQL"
CANNED = "Replies made before"
OURS: dict[str, Starter] = {ON_SQLITE: mailplatform, ON_POSTGRESQL: mailplatform_on_postgresql}
DOVECOTS: dict[str, Starter] = {
    report.REFERENCE: partial(dovecot.pop3, dovecot.TUNED),
    "Dovecot, defaults": partial(dovecot.pop3, dovecot.DEFAULTS),
}
#: How many times as fast as tuned Dovecot.
WANTED = {ON_SQLITE: 5.0, ON_POSTGRESQL: 4.0}
WANTED_WITH_TLS = 3.0


@contextlib.contextmanager
def started(*, only: str = "", with_canned: bool = False) -> Iterator[dict[str, Server]]:
    """All servers that are installed and asked for, on the first core."""
    starters = dict(OURS)
    if is_installed():
        starters |= DOVECOTS
    else:
        print("Dovecot is not there, so Mailplatform is measured alone. On Debian: apt install dovecot-pop3d")
    if with_canned:
        starters[CANNED] = canned
    servers = {}
    with ExitStack() as stack, cores.pinned(cores.ALL[:1]):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailplatform-bench-")))
        folder.chmod(0o755)  # servers that run as another user look into their own folders
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
        if not servers:
            sys.exit("There is no server to measure.")
        yield servers


def rounds(
    servers: dict[str, Server], *, most: int, seconds: float, limit: float, tls: bool = False
) -> list[report.Measurement]:
    """Every server in every scenario, again and again: one round at least, and none that would go beyond `limit`."""
    measurements = []
    begun = time.monotonic()
    for number in range(most):
        passed = time.monotonic() - begun
        if number and passed + passed / number > limit:
            print(f"{number} of {most} rounds: another one would take longer than {limit:.0f} s")
            break
        for scenario in SCENARIOS:
            for name, server in servers.items():
                load = generate(server, scenario, seconds=seconds, cores=cores.for_load(), tls=tls)
                figures = load.rate, load.server_busy, load.client_busy
                measurements.append(report.Measurement(name, scenario, number, *figures))
                print(f"round {number + 1}{', TLS' * tls}: {measurements[-1]}", flush=True)
    return measurements


def section(measurements: list[report.Measurement], *, tls: bool) -> report.Section:
    title = "POP3 over TLS, beside Dovecot" if tls else "POP3, beside Dovecot"
    text = f"{CLIENTS} clients; {MAILBOXES} maildrops of {MESSAGES} messages of {OCTETS:,} octets."
    if tls:
        text += " TLS 1.3, a full handshake for each session, one ECDSA certificate for all."
    goals = []
    for server, wanted in WANTED.items():
        for scenario, heading in report.HEADINGS.items():
            clock, processor = (
                report.ratio(measurements, server, scenario, value) for value in (report.by_clock, report.by_processor)
            )
            if clock is None or processor is None:
                continue
            limited = any(
                each.client_busy > report.BUSY
                for each in measurements
                if each.scenario == scenario and each.server == server
            )
            goals.append(
                report.Goal(
                    f"{heading}{' over TLS' * tls}, {server.partition(', ')[2]}, times tuned Dovecot's",
                    f"{WANTED_WITH_TLS if tls else wanted:.0f}",
                    f"{clock:.1f}; {processor:.1f} by processor time",
                    (processor if limited else clock) >= (WANTED_WITH_TLS if tls else wanted),
                )
            )
    return report.Section(title, f"{text}\n\n{report.tables(measurements)}", goals)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pop3", description=__doc__)
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement, after its warm-up")
    parser.add_argument("--limit", type=float, default=180, help="seconds for all rounds, one at least")
    parser.add_argument("--only", default="", help="servers whose name holds this")
    parser.add_argument("--canned", action="store_true", help="besides, a server that has its replies ready")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that the servers end too
    with started(only=options.only, with_canned=options.canned) as servers:
        limits = {"most": options.rounds, "seconds": options.seconds, "limit": options.limit}
        measurements = rounds(servers, **limits, tls=options.tls)
    print(f"\n{section(measurements, tls=options.tls)}\n{report.setup()}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
