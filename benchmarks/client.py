"""A POP3 session, as plain as can be, for what is done one thing after the other."""

import socket
import time
from typing import Self

from benchmarks.messages import DOMAIN, PASSWORD


class Client:
    """Logged in to a mailbox of DOMAIN; QUIT at the end of the block. Raises RuntimeError for any other reply than +OK.

    `buffer` is the octets that it takes at once: few where there are thousands of clients.
    """

    def __init__(self, port: int, name: str, *, address: str = "127.0.0.1", buffer: int = 256 * 1024) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), source_address=(address, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=buffer)
        self._file.readline()
        self.do(f"USER {name}@{DOMAIN}")
        self.do(f"PASS {PASSWORD}")

    def do(self, command: str) -> bytes:
        """The reply of one line to a command."""
        self._socket.sendall(command.encode() + b"\r\n")
        reply = self._file.readline()
        if not reply.startswith(b"+OK"):
            raise RuntimeError(f"{command}: {reply!r}")
        return reply

    def lines(self, command: str) -> int:
        """How many lines follow; read in large parts, so that the client costs little."""
        self._socket.sendall(command.encode() + b"\r\n")
        end, lines = b"", -2  # the status line and the terminator are none
        while not end.endswith(b"\r\n.\r\n"):
            octets = self._socket.recv(1024 * 1024)
            if not octets:
                raise RuntimeError(f"{command}: the server has closed")
            lines += octets.count(b"\n")
            end = (end + octets)[-5:]
        return lines

    def octets(self, command: str) -> int:
        """How many octets the reply has, with its first and its last line; they are counted, and not kept."""
        self._socket.sendall(command.encode() + b"\r\n")
        room = bytearray(1024 * 1024)
        view, octets, end = memoryview(room), 0, b""
        while not end.endswith(b"\r\n.\r\n"):
            count = self._socket.recv_into(view)
            if not count:
                raise RuntimeError(f"{command}: the server has closed")
            octets += count
            end = (end + bytes(view[max(count - 5, 0) : count]))[-5:]
        return octets

    def abandon(self) -> None:
        """Close without a word."""
        self._file.close()
        self._socket.close()

    def close(self) -> None:
        """QUIT, and wait until the server has closed."""
        self.do("QUIT")
        self._file.read()
        self.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def poll(port: int, name: str) -> float:
    """Seconds that it takes to connect, log in, STAT and QUIT."""
    begun = time.perf_counter()
    with Client(port, name) as client:
        client.do("STAT")
    return time.perf_counter() - begun
