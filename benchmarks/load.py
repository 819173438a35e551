"""The load generator: clients that speak POP3 to one port as fast as it answers, on a core of their own.

Every client is a generator that yields where it waits for the server; one epoll loop drives them all. Replies are
checked as they come: STAT for count and octets, RETR for its first line, its length and its end. Before the clock
starts every mailbox has been logged in to once and each client has compared a maildrop byte for byte, so what is
measured is a correct server in its steady state. With TLS every session begins with a full handshake of TLS 1.3: no
ticket is used. The certificate is not looked at, which costs a client time and a server none.

    python -m benchmarks.load --port 1110 --scenario polls --seconds 3

The clients may be shared out to several of these processes, for a server that takes more than one core can ask
(`--part 0/2` and `--part 1/2`); each then says that it is warm, and waits for a line before it starts. The result is
one line of JSON.
"""

import argparse
import json
import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Generator, Iterable

from benchmarks.messages import MAILBOXES, MESSAGES, OCTETS, PASSWORD, login, message, reply_body
from benchmarks.processor import idle_seconds, seconds_used

Steps = Generator[None, None, None]

CLIENTS = 20
#: RETR commands sent at once.
WINDOWS = {"retr": 1, "pipelined": 10}
SCENARIOS = ("polls", *WINDOWS)
#: Seconds without an answer to any client after which the server counts as hung.
PATIENCE = 20
STAT_REPLY = f"+OK {MESSAGES} {MESSAGES * OCTETS}".encode()

#: Replies to RETR are counted, not kept: all clients receive into the same room.
_scratch = bytearray(256 * 1024)
_room = memoryview(_scratch)


_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_tls.check_hostname = False
_tls.verify_mode = ssl.CERT_NONE
_tls.minimum_version = ssl.TLSVersion.TLSv1_3


class ReplyError(Exception):
    """The server answered something else than a correct server would."""


class Client:
    """One session after the other with the same server, from an address of its own.

    Of its own because closed connections linger, and the ports of a single address would run out.
    """

    def __init__(
        self, number: int, port: int, waiting: "Waiting", *, tls: bool = False, clients: int = CLIENTS
    ) -> None:
        self.address = f"127.0.1.{number + 1}"
        self.port = port
        self.tls = tls
        self.waiting = waiting
        self.socket = socket.socket()
        self.mailboxes = range(1 + number, MAILBOXES + 1, clients)
        #: Octets of the whole reply to RETR n, at n - 1; learned by `compare`.
        self.reply_octets: list[int] = []
        self.done = 0

    # --- What a session is made of

    def open(self, mailbox: int) -> Steps:
        """Connect and log in (RFC 1939, 4 and 7)."""
        self.socket = socket.socket()
        self.socket.bind((self.address, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", self.port))
        self.socket.setblocking(False)
        if self.tls:
            yield from self.shake_hands()
        else:
            self.waiting.begin(self.socket)
        yield from self.line()
        yield from self.command(b"USER %s\r\n" % login(mailbox).encode())
        yield from self.command(b"PASS %s\r\n" % PASSWORD.encode())

    def shake_hands(self) -> Steps:
        connection = _tls.wrap_socket(self.socket, do_handshake_on_connect=False)
        self.socket = connection
        self.waiting.begin(connection)
        while True:
            try:
                connection.do_handshake()
                break
            except ssl.SSLWantReadError:
                yield
        if connection.session_reused:
            raise ReplyError("the handshake was not a full one")

    def quit(self) -> Steps:
        """QUIT, and wait until the server has closed: only then has it done all that the session asked for."""
        yield from self.command(b"QUIT\r\n")
        if (yield from self.data(1)):
            raise ReplyError("data after the reply to QUIT")
        self.waiting.end(self.socket)

    def data(self, octets: int) -> Generator[None, None, bytes]:
        """What comes next, at most so many octets; nothing where the server has closed."""
        while True:
            yield
            try:
                return self.socket.recv(octets)
            except ssl.SSLWantReadError:  # a part of a record, or a ticket
                continue

    def command(self, command: bytes) -> Generator[None, None, bytes]:
        self.socket.send(command)
        return (yield from self.line())

    def line(self) -> Generator[None, None, bytes]:
        """A reply of one line, which is all that the server has to say until the next command."""
        received = b""
        while not received.endswith(b"\r\n"):
            data = yield from self.data(4096)
            if not data:
                raise ReplyError(f"the connection was closed after {received!r}")
            received += data
        if not received.startswith(b"+OK"):
            raise ReplyError(received.decode("latin-1").strip())
        return received

    def replies(self, first: int, last: int) -> Steps:
        """RETR first..last in one packet, and all of the replies."""
        self.socket.send(b"".join([b"RETR %d\r\n" % number for number in range(first, last + 1)]))
        missing, tail = sum(self.reply_octets[first - 1 : last]), b"+OK"
        while missing:
            yield
            try:
                count = self.socket.recv_into(_room)
            except ssl.SSLWantReadError:
                continue
            missing -= count
            if not count or missing < 0 or (tail == b"+OK" and not _scratch.startswith(tail)):
                raise ReplyError(f"RETR {first} to {last}: {bytes(_room[:80])!r}, {missing} octets missing")
            tail = (tail + bytes(_room[max(count - 3, 0) : count]))[-3:]
        if tail != b".\r\n":
            raise ReplyError(f"RETR {last} ends with {tail!r}")

    # --- What is done before the clock starts

    def warm_up(self) -> Steps:
        """Poll every mailbox of this client once, and compare the first with what was stored."""
        for mailbox in self.mailboxes:
            yield from self.poll(mailbox)
        yield from self.compare(self.mailboxes[0])

    def compare(self, mailbox: int) -> Steps:
        yield from self.open(mailbox)
        for number in range(1, MESSAGES + 1):
            self.socket.send(b"RETR %d\r\n" % number)
            received = b""
            while not received.endswith(b"\r\n.\r\n") and not received.startswith(b"-ERR"):
                data = yield from self.data(65536)
                if not data:
                    raise ReplyError(f"the connection was closed within the reply to RETR {number}")
                received += data
            first, _, body = received.partition(b"\r\n")
            if not first.startswith(b"+OK") or body != reply_body(message(mailbox, number)):
                raise ReplyError(f"RETR {number} of mailbox {mailbox}: {received[:80]!r}... is not what was stored")
            self.reply_octets.append(len(received))
        yield from self.quit()

    # --- What is measured

    def measure(self, scenario: str, end: float) -> Steps:
        """Whole sessions until `end`; what was completed before it counts."""
        while time.perf_counter() < end:
            for mailbox in self.mailboxes:
                if scenario == "polls":
                    yield from self.poll(mailbox)
                    self.done += time.perf_counter() < end
                else:
                    yield from self.fetch(mailbox, WINDOWS[scenario], end)
                if time.perf_counter() >= end:
                    break

    def poll(self, mailbox: int) -> Steps:
        """A client that looks for new mail."""
        yield from self.open(mailbox)
        reply = yield from self.command(b"STAT\r\n")
        if reply.rstrip() != STAT_REPLY:
            raise ReplyError(f"STAT said {reply!r}, not {STAT_REPLY!r}")
        yield from self.quit()

    def fetch(self, mailbox: int, window: int, end: float) -> Steps:
        """A client that reads everything and leaves it on the server."""
        yield from self.open(mailbox)
        for first in range(1, MESSAGES + 1, window):
            yield from self.replies(first, first + window - 1)
            if time.perf_counter() < end:
                self.done += window
        yield from self.quit()


class Waiting:
    """Which client goes on when which socket has something to read."""

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._steps: dict[int, Steps] = {}
        self._current: Steps

    def begin(self, connection: socket.socket) -> None:
        """The client whose turn it is waits on this connection from now on."""
        self._poller.register(connection, select.EPOLLIN)
        self._steps[connection.fileno()] = self._current

    def end(self, connection: socket.socket) -> None:
        self._poller.unregister(connection)
        del self._steps[connection.fileno()]
        connection.close()

    def drive(self, clients: Iterable[Steps]) -> None:
        """Run all to their ends."""
        for steps in clients:
            self._advance(steps)
        while self._steps:
            ready = self._poller.poll(PATIENCE)
            if not ready:
                raise ReplyError(f"no answer to any of {len(self._steps)} clients for {PATIENCE} seconds")
            for descriptor, _ in ready:
                self._advance(self._steps[descriptor])

    def _advance(self, steps: Steps) -> None:
        self._current = steps
        next(steps, None)


def measure(clients: list[Client], waiting: Waiting, options: argparse.Namespace) -> dict[str, float]:
    """One scenario: how many a second, and the shares of a core that the server and this process used, and nobody."""
    server, core = options.server, min(os.sched_getaffinity(0))
    end = time.perf_counter() + options.seconds
    begun, ours, theirs, idle = time.perf_counter(), time.process_time(), seconds_used(server), idle_seconds(core)
    waiting.drive([client.measure(options.scenario, end) for client in clients])
    passed = time.perf_counter() - begun
    return {
        "rate": sum(client.done for client in clients) / options.seconds,
        "server_busy": (seconds_used(server) - theirs) / passed,
        "client_busy": (time.process_time() - ours) / passed,
        "idle": (idle_seconds(core) - idle) / passed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", action="store_true", help="begin with a handshake")
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="in all parts; no more than there are mailboxes")
    parser.add_argument("--core", type=int, help="the processor to run on")
    parser.add_argument("--part", default="", help="I/N: each Nth client, from I on; waits for a line on its input")
    parser.add_argument("--server", type=int, nargs="*", default=[], help="the server's processes")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    first, _, step = (options.part or "0/1").partition("/")
    waiting = Waiting()
    numbers = range(int(first), options.clients, int(step))
    clients = [Client(number, options.port, waiting, tls=options.tls, clients=options.clients) for number in numbers]
    try:
        waiting.drive([client.warm_up() for client in clients])
        if options.part:
            print("warm", flush=True)
            sys.stdin.readline()
        result = measure(clients, waiting, options)
    except (ReplyError, OSError) as error:
        sys.exit(f"{options.scenario}: {error}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
