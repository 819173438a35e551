"""Real sockets for tests: pop3service.server in a loop of its own, and a client that waits for nothing for ever.

The loop runs in a thread, so that a test is written as a client sees it: say something, hear the answer.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper

from accounts.door import Door
from mailplatform.arrivals import Arrival
from mailplatform.bridge import Bridge
from mailplatform.gate import Gate
from mailplatform.networks import Networks
from mailplatform.places import Places
from mailplatform.statements import Statement
from pop3service import workers
from pop3service.keeper import Keeper
from pop3service.protocol import Session
from pop3service.server import Connections, Limits, Work
from pop3service.states import Channel, Ending, Finish, Refusal, Request
from pop3service.worker import Reception
from tests.pop3service.memory import LOGIN, PASSWORD, MemoryMaildrop

#: Seconds after which a test has waited too long.
PATIENCE = 30.0


@dataclass(frozen=True)
class Tls:
    """The server's context and files, and what a client has to trust."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    certfile: Path
    keyfile: Path
    authority: Path


class LoopThread:
    """An event loop, as the servers use it, in a thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        #: What went wrong in callbacks of the loop, where nobody else would see it.
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine that runs in the loop."""
        return self.start(coroutine).result(PATIENCE)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> "concurrent.futures.Future[Any]":
        """Have a coroutine run in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def pause(self, seconds: float) -> None:
        """Let the loop turn for a while."""
        self.run(asyncio.sleep(seconds))

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """The result of a function that is called in the loop."""

        async def call() -> Any:
            return function(*arguments, **named)

        return self.run(call())

    def close(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@contextlib.contextmanager
def loop_thread() -> Iterator[LoopThread]:
    loop = LoopThread()
    try:
        yield loop
    finally:
        loop.close()


@dataclass
class MemoryWork:
    """A visit to a maildrop in memory. Requests of the types in `slow` wait until the test answers them."""

    maildrop: MemoryMaildrop
    slow: tuple[type[Any], ...] = ()
    waiting: "list[tuple[Request, asyncio.Future[Any]]]" = field(default_factory=list)
    left: Ending | None = None
    tls: str = ""
    names: tuple[str, ...] = ()

    def carry_out(self, request: Request) -> Any:
        if isinstance(request, self.slow):
            future = asyncio.get_running_loop().create_future()
            self.waiting.append((request, future))
            return future
        outcome = self.maildrop.carry_out(request)
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    def answer(self) -> None:
        """Carry out what waits. In the loop."""
        request, future = self.waiting.pop(0)
        try:
            future.set_result(self.maildrop.carry_out(request))
        except OSError as error:
            future.set_exception(error)

    def encrypted(self, tls: str) -> None:
        self.tls = tls

    def leave(self, ending: Ending) -> None:
        self.left = self.left or ending


class Served:
    """Connections on two sockets of 127.0.0.1: `plain`, with STLS where there is a certificate, and `tls`."""

    def __init__(
        self,
        thread: LoopThread,
        welcome: Callable[[Arrival], tuple[Session, Work]],
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        most: int = 10_000,
        most_each: int = 10_000,
    ) -> None:
        self.thread = thread
        self.connections: Connections = thread.call(Connections, welcome=welcome, limits=limits or Limits(), tls=tls)
        self.places = Places(most=most, most_each=most_each, shared=Networks([]))
        self._gate: Gate = thread.call(
            Gate, places=self.places, proxies=Networks([]), plaintext=Networks(["127.0.0.0/8"]), tls=tls
        )
        self._listeners: list[asyncio.Server] = []
        self.plain = self._listen(tls=False)
        self.tls = self._listen(tls=True) if tls else 0

    def _listen(self, *, tls: bool) -> int:
        def entry() -> asyncio.Protocol:
            return self._gate.entry(self.connections.connected, tls=tls)

        listener = self.thread.run(self.thread.loop.create_server(entry, "127.0.0.1", 0))
        self._listeners.append(listener)
        port: int = listener.sockets[0].getsockname()[1]
        return port

    def connect(self, *, tls: ssl.SSLContext | None = None, receive_octets: int = 0) -> "Client":
        """A client that has not heard the greeting yet; with TLS from the first octet where `tls` is given."""
        return Client(self.tls if tls else self.plain, tls=tls, receive_octets=receive_octets)

    def open(self) -> int:
        """How many connections are open."""
        return len(self.connections.open)

    def close(self) -> None:
        for listener in self._listeners:
            self.thread.call(listener.close)
        self.thread.call(self._gate.close)
        self.thread.run(self.connections.end())


class MemoryServed(Served):
    """Serves maildrops in memory, one for each connection; `works` are those of all connections so far."""

    def __init__(
        self,
        thread: LoopThread,
        *messages: bytes,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        slow: tuple[type[Any], ...] = (),
        broken: tuple[type[Any], ...] = (),
        most: int = 10_000,
        most_each: int = 10_000,
        **channel: Any,
    ) -> None:
        self.works: list[MemoryWork] = []
        self.arrivals: list[Arrival] = []

        def welcome(arrival: Arrival) -> tuple[Session, Work]:
            self.arrivals.append(arrival)
            self.works.append(MemoryWork(MemoryMaildrop(messages, piece_octets=65_536, broken=broken), slow))
            ours = {"hostname": "dewey", "encrypted": arrival.encrypted, "starttls": tls is not None}
            return Session(Channel(**ours | channel)), self.works[-1]

        super().__init__(thread, welcome, limits=limits, tls=tls, most=most, most_each=most_each)

    @property
    def work(self) -> MemoryWork:
        """That of the last connection."""
        return self.works[-1]

    @property
    def finished(self) -> Finish | None:
        return self.work.maildrop.finished


class DatabaseServed(Served):
    """Serves the mailboxes of the test's database, as one worker does: two of these are two workers."""

    def __init__(self, thread: LoopThread, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.worker, self.arbiter = uuid.uuid4(), uuid.uuid4()
        workers.register(worker=self.worker, arbiter=self.arbiter)
        self.bridge: Bridge = thread.call(Bridge)
        self.door: Door = thread.call(Door, self.bridge)
        self.keeper: Keeper = thread.call(Keeper, bridge=self.bridge, door=self.door, worker=self.worker)
        super().__init__(thread, Reception(self.keeper, starttls=tls is not None), limits=limits, tls=tls)

    def close(self) -> None:
        super().close()
        self.thread.run(self.keeper.close())
        self.thread.run(self.door.close())
        self.thread.run(self.bridge.close())


class Outage:
    """The database can be taken away from every thread, and given back."""

    DETAIL = "no route to 10.9.8.7"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lasts = False
        #: Statements that were not carried out.
        self.refused = 0
        for owner, name in ((CursorWrapper, "execute"), (Statement, "fetch")):
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name)))

    def _failing(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(execute)
        def fail_or_execute(*arguments: Any, **parameters: Any) -> Any:
            if self.lasts:
                self.refused += 1
                raise OperationalError(self.DETAIL)
            return execute(*arguments, **parameters)

        return fail_or_execute

    def __enter__(self) -> None:
        self.lasts = True

    def __exit__(self, *_: object) -> None:
        self.lasts = False


class Client:
    """A POP3 client with its hands on every octet. Raises TimeoutError rather than wait for ever."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, receive_octets: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_octets:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", port))
        if tls:
            self.start_tls(tls)
        self._received = bytearray()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def hear(self) -> bytes:
        """The next line, without its end. Raises ConnectionError where the server has closed."""
        return self._until(b"\r\n")

    def hear_all(self) -> bytes:
        """Everything until the server closes, however it does."""
        with contextlib.suppress(ConnectionError):
            while octets := self.socket.recv(65_536):
                self._received += octets
        return self._take(len(self._received))

    def say(self, command: str | bytes) -> bytes:
        """Send a command line; the status line of the answer."""
        self.send((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return self.hear()

    def ask(self, command: str | bytes) -> bytes:
        """Send a command line; the lines of its multi-line answer, as they came, without status and terminator."""
        status = self.say(command)
        assert status.startswith(b"+OK"), status
        return self.hear_lines()

    def hear_lines(self) -> bytes:
        """The rest of a multi-line answer, without the terminator."""
        while not (self._received.startswith(b".\r\n") or b"\r\n.\r\n" in self._received[-70_000:]):
            self._receive()
        if self._received.startswith(b".\r\n"):
            self._take(3)
            return b""
        return self._until(b"\r\n.\r\n") + b"\r\n"

    def capabilities(self) -> set[bytes]:
        return set(self.ask("CAPA").split(b"\r\n"))

    def reset(self) -> None:
        """End the connection as a failing network does, but that the server is told."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def greet(self) -> "Client":
        assert self.hear().startswith(b"+OK")
        return self

    def log_in(self, name: str = LOGIN, password: str = PASSWORD) -> "Client":
        """From the greeting to the maildrop."""
        self.greet()
        for command in (f"USER {name}", f"PASS {password}"):
            status = self.say(command)
            assert status.startswith(b"+OK"), status
        return self

    def closed(self) -> bool:
        """Wait for the end of the connection; whether nothing came before it."""
        return self.hear_all() == b""

    def _until(self, end: bytes) -> bytes:
        while (at := self._received.find(end)) < 0:
            self._receive()
        found = self._take(at + len(end))
        return found[:at]

    def _receive(self) -> None:
        octets = self.socket.recv(65_536)
        if not octets:
            raise ConnectionError(f"closed after {bytes(self._received[-100:])!r}")
        self._received += octets

    def _take(self, octets: int) -> bytes:
        taken = bytes(self._received[:octets])
        del self._received[:octets]
        return taken


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again every few milliseconds until it holds."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("not within the time")


@contextlib.contextmanager
def started_tls(served: MemoryServed, tls: Tls) -> Iterator[Client]:
    """A client that has begun in the clear and has TLS now."""
    with served.connect() as client:
        client.greet()
        assert client.say("STLS") == b"+OK begin TLS negotiation"
        client.start_tls(tls.client)
        yield client
