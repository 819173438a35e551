"""`python -m benchmarks.aiosmtpd_intake`: smtpservice beside aiosmtpd in one run, which decided between the two.

aiosmtpd is no dependency, so it has to be installed first: `pip install aiosmtpd==1.4.6`. Both run on uvloop in one
process on one core, with the same intake behind them: once the platform's own, on SQLite as it is by default, and
once one that throws every message away, which leaves the protocol alone. The load generator has another core and
sends message after message over connections that stay, without pipelining, which aiosmtpd does not offer. Rounds
alternate between the two; the table has medians of messages a second, and of the
ratios within a round, by the clock and by the processor time that the server used.
"""

import argparse
import asyncio
import base64
import itertools
import logging
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.processor import seconds_used
from benchmarks.servers import ROOT, free_port

SERVERS = ("smtpservice", "aiosmtpd")
CONNECTIONS = (1, 10, 50)
OCTETS = (10_000, 1_000_000)
#: Seconds that a measurement takes at most where its messages are few.
PATIENCE = 30
DOMAIN = "bench.test"
HOSTNAME = "mail.bench.test"
MAX_OCTETS = 50 * 1024 * 1024


# --- The servers, each in a process of its own -------------------------------------------------------------


class ThrowAway:
    """An intake that takes everything and keeps nothing."""

    async def find(self, request: Any) -> list[Any]:
        from accounts.lookup import FoundMailbox
        from accounts.routing import Route
        from smtpservice.storing import Accepted

        mailbox = FoundMailbox(1, "jules@maison.mrs", 0, 0, True)
        return [Accepted(str(address), Route((mailbox,), direct=True)) for address in request.addresses]

    async def deliver(self, request: Any, body: Any, *, service: Any, client_address: str) -> list[Any]:
        from smtpservice import replies

        body.finish()
        return [replies.stored("0")] * len(request.recipients)


class Handler:
    """aiosmtpd's side of the same intake: RCPT looks a recipient up, DATA delivers and answers for each in LMTP."""

    def __init__(self, intake: Any, service: Any) -> None:
        self.intake = intake
        self.service = service

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        from smtpservice.commands import Address
        from smtpservice.replies import Reply
        from smtpservice.requests import FindRecipients

        local_part, _, domain = address.rpartition("@")
        (found,) = await self.intake.find(FindRecipients([Address(local_part, domain)], 0))
        if isinstance(found, Reply):
            return found.encode().decode().removesuffix("\r\n")
        envelope.rcpt_tos.append(found)
        return "250 2.1.5 Recipient ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        from mailstore.delivery import Body
        from smtpservice.commands import Mail
        from smtpservice.requests import Deliver

        request = Deliver(session.host_name, "ESMTP", Mail(envelope.mail_from, 0), envelope.rcpt_tos)
        with Body() as body:
            body.write(envelope.content)
            answers = await self.intake.deliver(
                request, body, service=self.service, client_address=str(session.peer[0])
            )
        return b"".join(answer.encode() for answer in answers).decode().removesuffix("\r\n")


async def serve(server: str, protocol: str, *, store: bool, port: int) -> None:
    """One of the two, until the process is ended."""
    from mailplatform.bridge import Bridge
    from smtpservice.intake import LocalIntake
    from smtpservice.requests import Service
    from smtpservice.server import Connections
    from smtpservice.worker import DATABASE_THREADS

    service = Service(protocol)
    intake: Any = LocalIntake(Bridge(threads=DATABASE_THREADS), hostname=HOSTNAME) if store else ThrowAway()
    factory: Callable[[], asyncio.BaseProtocol]
    if server == "smtpservice":
        connections = Connections(
            intake,
            hostname=HOSTNAME,
            max_octets=MAX_OCTETS,
            idle_seconds=300.0,
            message_seconds=3600.0,
        )
        factory = partial(connections.connected, service)
    else:
        from aiosmtpd.lmtp import LMTP
        from aiosmtpd.smtp import SMTP

        loop = asyncio.get_running_loop()
        made, handler = LMTP if service is Service.LMTP else SMTP, Handler(intake, service)
        factory = partial(made, handler, data_size_limit=MAX_OCTETS, hostname=HOSTNAME, loop=loop)
    await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port)
    await asyncio.Event().wait()


# --- The load ----------------------------------------------------------------------------------------------


def attachment(octets: int, seed: int) -> bytes:
    """Lines of base64, as most of large mail is: no database makes them smaller."""
    chance = random.Random(seed)
    return b"".join(base64.b64encode(chance.randbytes(57)) + b"\r\n" for _ in range(octets // 78))


class Client(asyncio.Protocol):
    """Sends one message again and again, each command after the reply to the one before."""

    def __init__(self, number: int, protocol: str, octets: int) -> None:
        header = b"Subject: a message to measure with\r\n\r\n"
        envelope = (b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<user%d@%s>\r\n" % (number, DOMAIN.encode()))
        content = header + attachment(octets - len(header), number) + b".\r\n"
        self.hello = b"%s client\r\n" % (b"LHLO" if protocol == "lmtp" else b"EHLO")
        self.steps = itertools.cycle(
            [*zip(envelope, (b"250", b"250"), strict=True), (b"DATA\r\n", b"354"), (content, b"250")]
        )
        self.last, self.sent, self.expected = content, self.hello, b"220"
        self.done = 0
        self.ready = asyncio.get_running_loop().create_future()
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.received.endswith(b"\r\n") or self.received[self.received.rfind(b"\n", 0, -1) + 4 :][:1] != b" ":
            return
        if not self.received.startswith(self.expected):
            raise RuntimeError(f"{self.sent[:60]!r}: {self.received!r}")
        self.received = b""
        if self.expected == b"220":
            self.expected = b"250"
            self.transport.write(self.hello)
            return
        if self.sent is self.hello and not self.ready.done():
            self.ready.set_result(None)
            return
        self.done += self.sent is self.last
        self.go_on()

    def go_on(self) -> None:
        self.sent, self.expected = next(self.steps)
        self.transport.write(self.sent)


async def load(
    protocol: str, *, connections: int, octets: int, port: int, process: int, seconds: float
) -> tuple[float, float]:
    """Messages that were answered with 250, a second and a second of the server's processor time."""
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(connections):
        _, client = await loop.create_connection(partial(Client, number, protocol, octets), "127.0.0.1", port)
        clients.append(client)
    await asyncio.gather(*(client.ready for client in clients))
    for client in clients:
        client.go_on()
    began, used, done = time.perf_counter(), seconds_used([process]), 0
    while (elapsed := time.perf_counter() - began) < seconds or (done < 2 * connections and elapsed < PATIENCE):
        await asyncio.sleep(0.1)
        done = sum(client.done for client in clients)
    rate, per_processor_second = done / elapsed, done / (seconds_used([process]) - used)
    for client in clients:
        client.transport.abort()
    return rate, per_processor_second


# --- The run -----------------------------------------------------------------------------------------------


@contextmanager
def running(server: str, protocol: str, *, store: bool, template: Path, core: int) -> Iterator[tuple[int, int]]:
    """The server as a process on a core, with a new copy of the database; gives its port and its id."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mailplatform-bench-") as folder:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.aiosmtpd_intake", "--serve", server, "--protocol", protocol]
        command += ["--port", str(port), "--core", str(core), *(["--store"] if store else [])]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "VAR_DIR": folder, "DATABASE_URL": ""})
        try:
            yield port, process.pid
        finally:
            process.kill()
            process.wait()


def measured(
    server: str, scenario: tuple[str, bool, int, int], *, seconds: float, template: Path
) -> tuple[float, float]:
    protocol, store, connections, octets = scenario
    with running(server, protocol, store=store, template=template, core=0) as (port, process):
        deadline = time.monotonic() + 30
        while True:
            try:
                work = load(
                    protocol, connections=connections, octets=octets, port=port, process=process, seconds=seconds
                )
                return uvloop.run(work)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def make_accounts(folder: Path, database_url: str = "") -> None:
    """A database with a mailbox for each connection."""
    environment = {**os.environ, "VAR_DIR": str(folder), "DATABASE_URL": database_url}
    code = (
        "from accounts.services import create_account, create_domain, create_mailbox\n"
        f"domain = create_domain(name='{DOMAIN}')\nuser = create_account(username='bench', password='x')\n"
        f"for n in range({max(CONNECTIONS)}): create_mailbox(user=user, domain=domain, local_part=f'user{{n}}')"
    )
    for command in (["migrate", "-v", "0"], ["shell", "-v", "0", "-c", code]):
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--protocol", help=argparse.SUPPRESS)
    parser.add_argument("--store", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options)
    else:
        _run(options)


def _serve(options: argparse.Namespace) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mailplatform.settings")
    os.sched_setaffinity(0, {options.core})
    django.setup()
    logging.getLogger().setLevel(logging.WARNING)
    uvloop.run(serve(options.serve, options.protocol, store=options.store, port=options.port))


def _run(options: argparse.Namespace) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    scenarios = list(itertools.product(("smtp", "lmtp"), (True, False), OCTETS, CONNECTIONS))
    rates: dict[tuple[object, ...], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="mailplatform-bench-") as folder:
        make_accounts(Path(folder))
        for number in range(options.rounds):
            for protocol, store, octets, connections in scenarios:
                for server in SERVERS if number % 2 else SERVERS[::-1]:
                    scenario = (protocol, store, connections, octets)
                    both = measured(server, scenario, seconds=options.seconds, template=Path(folder))
                    rates.setdefault((server, *scenario), []).append(both)
                    print(f"round {number + 1}: {server} {scenario}: {both[0]:,.0f}/s", file=sys.stderr, flush=True)
    print("| | connections | octets | smtpservice | aiosmtpd | ratio | ratio by processor time |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for protocol, store, octets, connections in scenarios:
        ours, theirs = (rates[(server, protocol, store, connections, octets)] for server in SERVERS)
        by_clock, by_processor = (
            statistics.median(our[kind] / their[kind] for our, their in zip(ours, theirs, strict=True))
            for kind in (0, 1)
        )
        cells = [
            f"{protocol.upper()}, {'stored' if store else 'thrown away'}",
            f"{connections}",
            f"{octets:,}",
            *(f"{statistics.median(rate for rate, _ in each):,.0f}" for each in (ours, theirs)),
            f"{by_clock:.1f}",
            f"{by_processor:.1f}",
        ]
        print(f"| {' | '.join(cells)} |")
    print("load:", *(f"{average:.2f}" for average in os.getloadavg()))


if __name__ == "__main__":
    main()
