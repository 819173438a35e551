"""A POP3 client for conformance tests: a raw socket, each octet as it came, no library between the test and the server.

What a server owes by the RFC, a line that ends in CRLF, +OK or -ERR, a terminator, is asserted here for every answer.
"""

import socket
from types import TracebackType
from typing import Self

from tests.conformance.target import Target

#: Seconds a server may take for an answer.
PATIENCE = 30.0


class Client:
    """One connection, its greeting read. An AssertionError where the server breaks the form, OSError where it is gone."""

    def __init__(self, target: Target, *, tls: bool = False, alpn: tuple[str, ...] = ()) -> None:
        self.target = target
        self._received = bytearray()
        host, port = target.tls if tls else target.plain
        self.socket = socket.create_connection((host, port), timeout=PATIENCE)
        try:
            if tls:
                self.handshake(alpn)
            self.greeting = self.line()
        except BaseException:
            self.close()
            raise

    def handshake(self, alpn: tuple[str, ...] = ()) -> None:
        """Begin TLS, trusting what the target says."""
        context = self.target.trust()
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self.socket = context.wrap_socket(self.socket, server_hostname=self.target.name)

    # --- Octets -------------------------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def line(self) -> bytes:
        """The next line, without its CRLF."""
        end = self._wait_for(b"\r\n")
        line = self._take(end)[:-2]
        assert b"\n" not in line, f"a line ends in LF alone: {line!r}"
        return line

    def lines(self) -> bytes:
        """The rest of a multi-line answer as it came, dots stuffed, without the terminator."""
        if not self._received.startswith(b"."):
            self._fill(3)
        if self._received.startswith(b".\r\n"):
            self._take(3)
            return b""
        octets = self._take(self._wait_for(b"\r\n.\r\n"))
        return octets[:-3]

    def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            while octets := self.socket.recv(1 << 16):
                self._received += octets
        except ConnectionError:
            pass
        return self._take(len(self._received))

    def _wait_for(self, end: bytes) -> int:
        """Read until `end` has come; how many octets there are up to and with it."""
        searched = 0
        while (at := self._received.find(end, searched)) < 0:
            searched = max(len(self._received) - len(end) + 1, 0)
            self._receive()
        return at + len(end)

    def _fill(self, octets: int) -> None:
        while len(self._received) < octets:
            self._receive()

    def _receive(self) -> None:
        octets = self.socket.recv(1 << 18)
        if not octets:
            raise ConnectionResetError(f"the server hung up after {bytes(self._received[-200:])!r}")
        self._received += octets

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    # --- Commands -----------------------------------------------------------------------------------------------

    def status(self) -> bytes:
        """The status line that comes next."""
        line = self.line()
        assert line.startswith((b"+OK", b"-ERR")), f"neither +OK nor -ERR: {line!r}"
        assert line[3:4] in (b"", b" ") or line[4:5] in (b"", b" "), f"no blank behind the status: {line!r}"
        return line

    def say(self, command: str | bytes) -> bytes:
        """Send a command; its status line."""
        self.send((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return self.status()

    def ok(self, command: str | bytes) -> bytes:
        """The same where it has to succeed; what stands behind +OK."""
        status = self.say(command)
        assert status.startswith(b"+OK"), f"{command!r} is refused: {status!r}"
        return status[4:]

    def refused(self, command: str | bytes) -> bytes:
        """The same where it has to fail; what stands behind -ERR."""
        status = self.say(command)
        assert status.startswith(b"-ERR"), f"{command!r} is accepted: {status!r}"
        return status[5:]

    def ask(self, command: str | bytes) -> bytes:
        """A multi-line answer as it came, dots stuffed, without status and terminator."""
        self.ok(command)
        return self.lines()

    def rows(self, command: str | bytes) -> list[bytes]:
        """A multi-line answer, line by line, dots unstuffed (RFC 1939, 3)."""
        lines = self.ask(command).split(b"\r\n")[:-1]
        return [line.removeprefix(b".") for line in lines]

    def message(self, number: int) -> bytes:
        """RETR: a message as it is."""
        return b"".join(line + b"\r\n" for line in self.rows(f"RETR {number}"))

    def capabilities(self) -> dict[str, list[str]]:
        """Tag -> arguments (RFC 2449, 3 and 5)."""
        return {words[0].upper(): words[1:] for words in map(str.split, self.tags())}

    def tags(self) -> list[str]:
        return [row.decode("ascii") for row in self.rows("CAPA")]

    def challenge(self, command: str | bytes) -> bytes:
        """Send a line of an AUTH exchange; what stands behind "+ "."""
        self.send((command.encode() if isinstance(command, str) else command) + b"\r\n")
        line = self.line()
        assert line.startswith(b"+ "), f"{command!r}: not '+', a blank and a challenge: {line!r}"
        return line[2:]

    def start_tls(self) -> Self:
        """STLS and the handshake."""
        self.ok("STLS")
        assert not self._received, f"octets in the clear behind +OK to STLS: {bytes(self._received)!r}"
        self.handshake()
        return self

    def log_in(self) -> Self:
        self.ok(b"USER " + self.target.user.encode())
        self.ok(b"PASS " + self.target.password.encode())
        return self

    def quit(self) -> None:
        self.ok("QUIT")
        self.close()

    # --- The end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self.socket.close()

    def closed(self) -> bool:
        """Wait for the server to hang up; whether it said nothing before."""
        return self.rest() == b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
