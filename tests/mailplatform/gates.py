"""A gate on real sockets, in a loop of its own, before sessions that say who has arrived and echo what comes."""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Iterator, Sequence

from mailplatform.arrivals import Arrival
from mailplatform.gate import Gate
from mailplatform.networks import Networks
from mailplatform.places import Places
from tests.pop3service.serving import PATIENCE, LoopThread, Tls, wait_until


class Echo(asyncio.Protocol):
    """Says who has arrived, then what was said."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival

    def connection_lost(self, error: Exception | None) -> None:
        self.arrival.leave()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(f"{self.arrival.address} {self.arrival.tls or '-'} {self.arrival.plaintext}\n".encode())
        if self.arrival.refused:
            transport.write(f"{self.arrival.refused.name}\n".encode())
            transport.close()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Gated:
    """Two sockets of 127.0.0.1, `plain` and `encrypted`, behind one gate."""

    def __init__(
        self, thread: LoopThread, tls: Tls, proxies: Sequence[str], plaintext: Sequence[str], places: Places
    ) -> None:
        self.thread = thread
        self.places = places
        self.gate: Gate = thread.call(
            Gate, places=places, proxies=Networks(proxies), plaintext=Networks(plaintext), tls=tls.server
        )
        self.listeners: list[asyncio.Server] = []
        self.plain, self.encrypted = self._listen(False), self._listen(True)

    def _listen(self, tls: bool) -> int:
        entry = functools.partial(self.gate.entry, Echo, tls=tls)
        self.listeners.append(self.thread.run(self.thread.loop.create_server(entry, "127.0.0.1", 0)))
        port: int = self.listeners[-1].sockets[0].getsockname()[1]
        return port

    def waiting(self) -> int:
        return self.thread.call(lambda: len(self.gate.waiting))

    def close(self) -> None:
        for listener in self.listeners:
            self.thread.call(listener.close)
        self.thread.call(self.gate.close)


class Caller:
    """A client of a gate."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def send_apart(self, octets: bytes) -> None:
        """Each octet by itself."""
        for at in range(len(octets)):
            self.socket.sendall(octets[at : at + 1])

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def hear(self) -> str:
        """The next line."""
        line = b""
        while not line.endswith(b"\n"):
            octet = self.socket.recv(1)
            assert octet, line
            line += octet
        return line.decode().strip()

    def ended(self) -> bool:
        """Wait for the end; whether nothing came before it."""
        with contextlib.suppress(ConnectionError):
            return self.socket.recv(100) == b""
        return True


class Memory:
    """The client's side of TLS, whose records it keeps until they are sent."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def shaken(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True


@contextlib.contextmanager
def gated(
    thread: LoopThread,
    tls: Tls,
    *,
    proxies: Sequence[str] = (),
    plaintext: Sequence[str] = (),
    most: int = 100,
    most_each: int = 100,
) -> Iterator[Gated]:
    places = Places(most=most, most_each=most_each, shared=Networks([]))
    gated = Gated(thread, tls, proxies, plaintext, places)
    try:
        yield gated
    finally:
        gated.close()
    wait_until(lambda: places.taken == places.told == 0 and not places.each and not places.shaking)
    assert thread.errors == []
