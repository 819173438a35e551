"""`make guessing`: somebody guesses at a password, 2,000 times from one address, while 20 others poll from theirs.

One run on SQLite with two workers. First the good clients poll alone, then beside the guesser, who keeps as many
connections open as a worker allows one person; the mailbox he wants is that of one of them. Printed are what became of
the guesses and what pace the good ones kept. At last 300 logins over TLS in a row, each on a new connection.
"""

import asyncio
import contextlib
import os
import poplib
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.certificate import trusting, write_certificate
from benchmarks.messages import PASSWORD, login
from benchmarks.servers import ROOT, free_port, running

GUESSES = 2000
CONNECTIONS = 40
GUESSER = "127.0.9.9"
CLIENTS = 20
#: Seconds between two polls of one client, and those for which they poll alone.
PAUSE = 0.1
ALONE_SECONDS = 10.0
#: Seconds that the guesser has.
MOST_SECONDS = 120.0
LOGINS = 300


@dataclass
class Polls:
    """What the good clients saw: seconds that each of their polls took."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[bytes] = field(default_factory=Counter)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str = "") -> bytes:
    """The answer to a command, or the greeting; nothing where the server has closed."""
    if command:
        writer.write(command.encode() + b"\r\n")
    try:
        return await reader.readline()
    except ConnectionError:
        return b""


@contextlib.asynccontextmanager
async def connection(port: int, address: str):  # type: ignore[no-untyped-def]
    """A connection from this address that has heard the greeting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        await ask(reader, writer)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def poll(port: int, number: int, polls: Polls, end: asyncio.Event) -> None:
    """One good client: a login, STAT, QUIT, and a pause, until the end."""
    while not end.is_set():
        begun = time.perf_counter()
        async with connection(port, f"127.0.1.{number}") as (reader, writer):
            await ask(reader, writer, f"USER {login(number)}")
            for command in (f"PASS {PASSWORD}", "STAT", "QUIT"):
                answer = await ask(reader, writer, command)
                if not answer.startswith(b"+OK"):
                    polls.errors[answer[:40]] += 1
                    break
        polls.seconds.append(time.perf_counter() - begun)
        await asyncio.sleep(PAUSE)


async def guess(port: int, guesses: Iterator[int], became: Counter[str]) -> None:
    """One connection of the guesser after the other, a guess after the other."""
    for number in guesses:
        async with connection(port, GUESSER) as (reader, writer):
            while True:
                await ask(reader, writer, f"USER {login(1)}")
                answer = await ask(reader, writer, f"PASS guess {number}")
                what = answer.split(b"]")[0].decode() + "]" if b"]" in answer else answer[:20].decode()
                became[what if answer else "closed"] += 1
                if not answer or b"[SYS/TEMP]" not in answer or (number := next(guesses, -1)) < 0:
                    break


async def at_work(port: int, seconds: float, guesses: int) -> tuple[Polls, float, Counter[str], float]:
    """The good clients, for so long, or else as long as guesses are made; what became of those, and in which time."""
    polls, end, became = Polls(), asyncio.Event(), Counter[str]()
    good = [asyncio.create_task(poll(port, number, polls, end)) for number in range(1, CLIENTS + 1)]
    begun, taken = time.perf_counter(), 0.0
    if guesses:
        numbers = iter(range(guesses))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOST_SECONDS):
                await asyncio.gather(*(guess(port, numbers, became) for _ in range(CONNECTIONS)))
        taken = time.perf_counter() - begun
    else:
        await asyncio.sleep(seconds)
    passed = time.perf_counter() - begun
    end.set()
    await asyncio.gather(*good)
    return polls, len(polls.seconds) / passed, became, taken


def describe(name: str, polls: Polls, pace: float) -> str:
    median, worst = statistics.median(polls.seconds), max(polls.seconds)
    return (
        f"{name}: {pace:.0f} polls/s, median {median * 1e3:.1f} ms, longest {worst * 1e3:.0f} ms, {dict(polls.errors)}"
    )


def tls_logins(port: int, context: ssl.SSLContext) -> float:
    """Seconds that so many logins in a row take, each on a new connection with a handshake of its own."""
    begun = time.perf_counter()
    for number in range(LOGINS):
        client = poplib.POP3_SSL("localhost", port, context=context, timeout=30)
        client.user(login(1 + number % CLIENTS))
        client.pass_(PASSWORD)
        client.quit()
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mailplatform-guessing-") as name:
        folder = Path(name)
        files = write_certificate(folder)
        environment = {**os.environ, "DATABASE_URL": "", "VAR_DIR": name, "CREDENTIAL_CACHE_SECONDS": "300"}
        subprocess.run([sys.executable, "-m", "benchmarks.fill"], check=True, cwd=ROOT, env=environment)
        plain, tls = free_port(), free_port()
        serve = [sys.executable, "manage.py", "pop3serve", "--workers", "2", "--bind", f"127.0.0.1:{plain}"]
        serve += ["--tls-bind", f"127.0.0.1:{tls}"]
        serve += ["--certfile", str(files.certfile), "--keyfile", str(files.keyfile)]
        with running(serve, port=plain, log=folder / "log", cwd=ROOT, env=environment):
            asyncio.run(at_work(plain, 3.0, 0))  # until every address is known and every password remembered
            alone, pace_alone, *_ = asyncio.run(at_work(plain, ALONE_SECONDS, 0))
            beside, pace_beside, became, taken = asyncio.run(at_work(plain, 0.0, GUESSES))
            seconds = tls_logins(tls, trusting())
    print(describe("alone", alone, pace_alone))
    print(describe("beside the guesser", beside, pace_beside))
    print(f"the good ones kept {pace_beside / pace_alone:.0%} of their pace")
    print(f"{sum(became.values())} guesses in {taken:.1f} s: {dict(became.most_common())}")
    print(f"{LOGINS} logins over TLS in a row: {seconds:.1f} s")


if __name__ == "__main__":
    main()
