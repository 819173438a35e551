"""A POP3 client with no opinion of its own: commands out, the server's octets in, none changed."""

import socket
import ssl
from types import TracebackType
from typing import Self

from tests.e2e.running import PASSWORD


class Pop3:
    """One connection. Where the server has gone, whatever is asked raises OSError."""

    def __init__(
        self, port: int, *, timeout: float = 30, tls: ssl.SSLContext | None = None, receive_octets: int = 0
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(timeout)
        if receive_octets:  # what the kernel takes in for a client that does not read
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._stream = self.socket.makefile("rb")
        try:
            self.greeting = self.line()
        except OSError:
            self.close()
            raise

    def start_tls(self, tls: ssl.SSLContext) -> None:
        """The handshake that follows +OK to STLS."""
        self._stream.close()
        self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._stream = self.socket.makefile("rb")

    def send(self, command: str) -> None:
        self.socket.sendall(command.encode() + b"\r\n")

    def line(self) -> bytes:
        """The next line, without its end."""
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError(f"the server hung up after {line!r}")
        return line[:-2]

    def rest(self) -> bytes:
        """Everything that comes until the server has gone."""
        octets = b""
        try:
            while part := self._stream.read1(1 << 18):
                octets += part
        except OSError:
            pass
        return octets

    def ask(self, command: str) -> bytes:
        """The one line that the server answers."""
        self.send(command)
        return self.line()

    def do(self, command: str) -> bytes:
        """The same, where it has to be +OK; an AssertionError otherwise."""
        answer = self.ask(command)
        assert answer.startswith(b"+OK"), f"{command}: {answer!r}"
        return answer

    def text(self, command: str) -> bytes:
        """The lines of a multi-line answer, each with its end and with dots still stuffed."""
        self.do(command)
        parts, end = [], b"\r\n"
        while end != b"\r\n.\r\n":
            parts.append(self._stream.read1(1 << 18))
            if not parts[-1]:
                raise ConnectionResetError(f"the server hung up in the middle of {command}")
            end = (end + parts[-1])[-5:]
        return b"".join(parts)[:-3]

    def hears(self, octets: bytes) -> bool:
        """Are these the octets that come next? Compared as they come, never in memory as a whole."""
        at = 0
        while at < len(octets):
            part = self._stream.read1(1 << 18)
            if not part or part != octets[at : at + len(part)]:
                return False
            at += len(part)
        return True

    def rows(self, command: str) -> list[bytes]:
        """The same, line by line."""
        return self.text(command).split(b"\r\n")[:-1]

    def message(self, number: int) -> bytes:
        """RETR: a message as it is, CRLF at the end of each line."""
        stuffed = b"\r\n" + self.text(f"RETR {number}")
        return stuffed.replace(b"\r\n.", b"\r\n")[2:]

    def log_in(self, login: str, password: str = PASSWORD) -> Self:
        self.do(f"USER {login}")
        self.do(f"PASS {password}")
        return self

    def close(self) -> None:
        self._stream.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
