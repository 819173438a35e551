"""Connections served on real sockets of a loop, with an intake that keeps messages in memory, and their clients."""

import asyncio
import contextlib
import functools
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Self, TypeVar

import uvloop

from accounts.lookup import FoundMailbox
from accounts.routing import Route
from mailplatform.gate import Gate
from mailplatform.networks import Networks
from mailplatform.places import Places
from mailstore.delivery import Body
from mailstore.wire import unstuff
from smtpservice import replies
from smtpservice.commands import Address
from smtpservice.replies import Reply
from smtpservice.requests import Deliver, FindRecipients, Service
from smtpservice.server import Connection, Connections
from smtpservice.storing import Accepted

T = TypeVar("T")

#: Seconds that nothing in these tests takes.
PATIENCE = 10.0
HOST = "mail.maison.mrs"
#: The commands before a message, what they are answered, and a message.
ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<jules@maison.mrs>\r\nDATA\r\n"
TOLD = ["250 2.1.0", "250 2.1.5", "354"]
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


def run(test: Coroutine[Any, Any, T]) -> T:
    """On the product's own loop; a test that hangs fails."""
    return uvloop.run(asyncio.wait_for(test, 6 * PATIENCE))


class MemoryIntake:
    """Takes mail for everybody but `nobody`; deliveries wait for `gate`, look-ups for `found`."""

    def __init__(self) -> None:
        self.messages: list[tuple[Deliver[Accepted], bytes, str]] = []
        self.gate, self.found, self.delivering = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.found.set()

    @property
    def contents(self) -> list[bytes]:
        return [content for _, content, _ in self.messages]

    async def find(self, request: FindRecipients) -> list[Accepted | Reply]:
        await self.found.wait()
        return [self._mailbox(address) for address in request.addresses]

    async def deliver(
        self, request: Deliver[Accepted], body: Body, *, service: Service, client_address: str
    ) -> list[Reply]:
        self.delivering.set()
        await self.gate.wait()
        body.finish()
        self.messages.append((request, b"".join(unstuff(body.pieces())), client_address))
        stored = replies.stored(str(len(self.messages)))
        return [stored] * (len(request.recipients) if service is Service.LMTP else 1)

    def _mailbox(self, address: Address) -> Accepted | Reply:
        if address.local_part == "broken":
            raise RuntimeError("a bug")
        if address.local_part == "nobody":
            return replies.UNKNOWN_RECIPIENT
        return Accepted(str(address), Route((FoundMailbox(1, str(address), 0, 0, True),), direct=True))


class Client:
    """The other end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.writer.transport.abort()

    async def reply(self) -> str:
        """One reply: its last line, without the line end; "" where the server has closed."""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self.reader.readline()).decode()
                if not line or line[3:4] != "-":
                    return line.removesuffix("\r\n")

    async def say(self, data: bytes, answers: int = 1) -> list[str]:
        """Send, and wait for so many replies; of each the code with the enhanced status code."""
        self.writer.write(data)
        await self.writer.drain()
        lines = [await self.reply() for _ in range(answers)]
        return [" ".join(word for word in line.split()[:2] if word[0].isdigit()) for line in lines]

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.writer.start_tls(context, server_hostname="localhost")


class Running:
    """A server on a socket, its connections and its intake."""

    def __init__(self, connections: Connections, intake: MemoryIntake, server: asyncio.Server) -> None:
        self.connections, self.intake, self._server = connections, intake, server
        self.clients: list[Client] = []
        self.port: int = server.sockets[0].getsockname()[1]

    async def client(self, *, greeted: bool = True) -> Client:
        """A client that has said its name, or has not heard the greeting yet."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        if greeted:
            assert (await client.reply())[:3] == "220"
            lmtp = next(iter(self.connections.open))._session.service is Service.LMTP
            assert await client.say(b"LHLO me\r\n" if lmtp else b"EHLO me\r\n") == ["250"]
        return client

    @property
    def connection(self) -> Connection:
        """The only one."""
        (connection,) = self.connections.open
        return connection

    async def until_empty(self) -> None:
        """Wait until the server has let go of every connection."""
        await until(lambda: not self.connections.open)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE):
        for _ in itertools.count():
            if condition():
                return
            await asyncio.sleep(0.005)


async def send_in_packets(client: Client, packets: list[bytes]) -> None:
    """Each packet reaches the server by itself: the loop turns between them."""
    client.writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for packet in packets:
        client.writer.write(packet)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(
    service: Service = Service.SMTP, *, most: int = 100, most_each: int = 100, **options: Any
) -> AsyncIterator[Running]:
    """Serve on a free port, so many connections at once; `options` are those of Connections."""
    limits: dict[str, Any] = {
        "hostname": HOST,
        "max_octets": 50_000_000,
        "idle_seconds": 300.0,
        "message_seconds": 3600.0,
    }
    intake = MemoryIntake()
    connections = Connections(intake, **limits | options)
    places = Places(most=most, most_each=most_each, shared=Networks([]))
    gate = Gate(places=places, proxies=Networks([]), plaintext=Networks(["127.0.0.0/8"]), tls=connections.tls)
    server = await asyncio.get_running_loop().create_server(
        lambda: gate.entry(functools.partial(connections.connected, service), tls=False), "127.0.0.1", 0
    )
    running = Running(connections, intake, server)
    try:
        yield running
    finally:
        for client in running.clients:
            client.writer.transport.abort()
        server.close()
        intake.gate.set()
        intake.found.set()
        await connections.end()
        assert connections.open == set()
        await until(lambda: places.taken == places.told == 0)
