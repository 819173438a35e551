"""`make bench`: Mailplatform beside Dovecot, in one run on one machine.

The short form, within five minutes: POP3 (benchmarks.pop3) and LMTP (benchmarks.lmtp). `--full` takes about 25 minutes:
more rounds of those, and every other scenario. Each of them is a command of its own, too. The result is Markdown: the
goals with what was found first, then a section for each scenario.
"""

import argparse
import contextlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from benchmarks import growth, idle, large, lmtp, pop3, report, workers


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every scenario, and more rounds")
    parser.add_argument("--rounds", type=int, help="of POP3 and LMTP, at most (3; 5 in full)")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement of POP3, after its warm-up")
    parser.add_argument(
        "--limit", type=float, help="seconds for POP3, one round at least (180; 400 in full), and for TLS"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="add the Markdown to what is there")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the curves of what grows there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that the servers end too
    begun, setup = datetime.now().astimezone(), report.setup()
    sections = list(full(options) if options.full else short(options))
    text = "\n".join([f"## {begun:%d %B %Y, %H:%M}\n", report.goals(sections), "", f"{setup}\n", *map(str, sections)])
    print(f"\n{text}")
    if options.write:
        head = "" if options.write.exists() else "# Measurements\n\nWritten by `make bench`, a section for each run.\n"
        with options.write.open("a", encoding="utf-8") as file:
            file.write(f"{head}\n{text}")


def short(options: argparse.Namespace) -> Iterator[report.Section]:
    yield from beside_dovecot(options, rounds=options.rounds or 3)
    yield lmtp.section(rounds=1, seconds=1)


def full(options: argparse.Namespace) -> Iterator[report.Section]:
    rounds = options.rounds or 5
    yield from kept("POP3", lambda: beside_dovecot(options, rounds=rounds, full=True))
    yield from kept("LMTP", lambda: [lmtp.section(rounds=min(rounds, 3), seconds=1)])
    yield from kept("two workers", lambda: [workers.section(rounds=min(rounds, 3))])
    yield from kept("sessions that wait", lambda: [idle.section()])
    yield from kept("one large message", lambda: [large.section()])
    yield from kept("maildrops that grow", lambda: [growth.section(sizes=list(growth.SIZES), plots=options.plots)])


def beside_dovecot(options: argparse.Namespace, *, rounds: int, full: bool = False) -> Iterator[report.Section]:
    """POP3, with the same servers over TLS where all is asked for."""
    limits = {"most": rounds, "seconds": options.seconds, "limit": options.limit or (400 if full else 180)}
    with pop3.started(with_canned=full) as servers:
        for tls in (False, True) if full else (False,):
            yield pop3.section(pop3.rounds(servers, **limits, tls=tls), tls=tls)


def kept(title: str, scenario: Callable[[], Iterable[report.Section]]) -> Iterator[report.Section]:
    """A scenario that fails says so in its place, and the others go on."""
    begun = time.monotonic()
    print(f"\n--- {title}", flush=True)
    try:
        yield from scenario()
    except Exception:
        traceback.print_exc()
        yield report.Section(title, f"Failed:\n\n```\n{traceback.format_exc(limit=-2)}```")
    print(f"--- {title}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
