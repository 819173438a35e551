"""A POP3 client that trusts no server: to collect from another account, and to move from another server.

Blocking, for a thread or a command. What a server can make us hold is bounded: a line has LINE_OCTETS, a listing
MAX_LISTED messages and LISTING_OCTETS, a message comes in chunks, and every reply has a time by which it has to be
there, however slowly its octets drip. Python's poplib keeps a message whole in memory and breaks off at lines of 2048
octets, which real mail has, so it is not used.

Any error but RefusedError ends the connection: nobody knows then what the next octets belong to.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

#: The longest line of a reply that is looked at. RFC 2449, 4 has 512 octets for status lines; unique-ids have 70.
LINE_OCTETS = 2048
#: Messages of one maildrop that are listed at all.
MAX_LISTED = 200_000
#: Octets of the lines of a listing: so many unique-ids of twice the length that RFC 1939 allows.
LISTING_OCTETS = 32 * 1024 * 1024
#: Octets read from the connection at once.
READ_OCTETS = 64 * 1024
#: What is shown of a server's words.
_SHOWN = 200
_TERMINATOR = b"\r\n.\r\n"


class Pop3Error(Exception):
    """What went wrong with a server, in words for whoever has named it."""


class RefusedError(Pop3Error):
    """The server answered -ERR; `text` is what it said. The connection can go on."""

    def __init__(self, doing: str, text: str) -> None:
        super().__init__(f"{doing}: the server said “{text or '-ERR'}”")
        self.text = text

    @property
    def is_temporary(self) -> bool:
        """It says of itself that it will pass (RFC 2449, 8.1; RFC 3206)."""
        return self.text.upper().startswith(("[IN-USE]", "[LOGIN-DELAY]", "[SYS/TEMP]"))


class BadMessageError(Pop3Error):
    """A message that goes on beyond what it may have, or beyond its own end."""


class Pop3Client:
    """One connection, from the greeting to QUIT. All its methods raise Pop3Error.

    The socket may be connected already. `seconds` is how long a reply may take, and the server may be silent.
    """

    def __init__(self, stream: socket.socket, *, seconds: float = 60.0) -> None:
        self._socket = stream
        self._aborted = False
        self._seconds = seconds
        self._deadline = 0.0
        self._buffer = bytearray()

    # --- Before the login

    def connect(self, address: str, port: int, *, seconds: float) -> None:
        """Connect the socket."""
        if self._aborted:
            raise Pop3Error("it was broken off")
        self._socket.settimeout(seconds)
        try:
            self._socket.connect((address, port))
        except OSError as error:
            raise Pop3Error(_reason(error)) from error

    def begin_tls(self, context: ssl.SSLContext, host: str) -> None:
        """The TLS handshake, in which the server proves to be `host` where the context wants that."""
        self._allow(self._seconds)
        self._socket.settimeout(self._seconds)
        try:
            # Ours before the handshake, so that `abort` breaks that off too.
            wrapped = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
            self._socket = wrapped
            wrapped.do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise Pop3Error(f"the certificate of {host} is not right: {error.verify_message}") from error
        except (OSError, ValueError) as error:
            raise Pop3Error(f"no TLS with {host}: {_reason(error)}") from error

    def greet(self) -> None:
        """Read the greeting (RFC 1939, 3)."""
        self._allow(self._seconds)
        line = self._line()
        if not line.startswith(b"+OK"):
            raise Pop3Error(f"this is no POP3 server, or it takes nobody now: it said “{_shown(line)}”")

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """STLS (RFC 2595, 4)."""
        self.command("STLS", doing="to begin TLS")
        if self._buffer:  # put in by somebody on the way, to be taken for an answer within TLS
            raise Pop3Error("the server said more before TLS had begun than it may")
        self.begin_tls(context, host)

    def login(self, name: str, password: str) -> None:
        """USER and PASS (RFC 1939, 7). Neither may hold a line end. Raises RefusedError."""
        self.command("USER " + name, doing="the login")
        self.command("PASS " + password, doing="the login")

    # --- The maildrop

    def unique_ids(self) -> dict[int, bytes]:
        """Message numbers with their unique-ids (UIDL, RFC 1939, 7), as the server lists them. Raises RefusedError."""
        self.command("UIDL", doing="UIDL")
        found: dict[int, bytes] = {}
        for line in self._lines():
            number, _, unique_id = line.strip().partition(b" ")
            if not number.isdigit() or len(number) > 10 or not unique_id.strip():
                raise Pop3Error(f"the server lists “{_shown(line)}” where a unique-id should be")
            found[int(number)] = unique_id.strip()
        return found

    def sizes(self) -> dict[int, int]:
        """Message numbers with the octets that the server says they have (LIST, RFC 1939, 5)."""
        self.command("LIST", doing="LIST")
        found: dict[int, int] = {}
        for line in self._lines():
            words = line.split()
            if len(words) < 2 or not all(word.isdigit() and len(word) < 19 for word in words[:2]):
                raise Pop3Error(f"the server lists “{_shown(line)}” where octets should be")
            found[int(words[0])] = int(words[1])
        return found

    def retrieve(self, number: int, *, most: int, seconds: float) -> Iterator[bytes]:
        """The octets of a message in chunks, dots unstuffed (RETR, RFC 1939, 5); to be read to their end.

        It may have `most` octets and take `seconds`. Raises RefusedError, BadMessageError.
        """
        self.command(f"RETR {number}", doing=f"message {number}")
        self._allow(seconds)
        octets = 0
        for chunk in self._unstuffed():
            octets += len(chunk)
            if octets > most:
                raise BadMessageError(f"message {number} has more than {most} octets, whatever the server said of it")
            yield chunk

    def delete(self, number: int) -> None:
        """DELE (RFC 1939, 5): it goes with the QUIT. Raises RefusedError."""
        self.command(f"DELE {number}", doing=f"to delete message {number}")

    def quit(self) -> None:
        """QUIT: what was deleted is gone when this returns (RFC 1939, 6). Raises RefusedError."""
        self.command("QUIT", doing="QUIT")

    def command(self, line: str, *, doing: str) -> None:
        """Say a command, whose answer is +OK. `doing` says in an error what it was for. Raises RefusedError."""
        self._allow(self._seconds)
        try:
            self._socket.settimeout(self._seconds)
            self._socket.sendall(line.encode() + b"\r\n")
        except OSError as error:
            raise Pop3Error(f"{doing}: the connection failed: {_reason(error)}") from error
        answer = self._line()
        if answer.startswith(b"-ERR"):
            raise RefusedError(doing, _shown(answer[4:]))
        if not answer.startswith(b"+OK"):
            raise Pop3Error(f"{doing}: the server said “{_shown(answer)}”, which is no answer")

    # --- The end

    def abort(self) -> None:
        """Break off what another thread waits for here, be it the connection."""
        self._aborted = True
        with suppress(OSError):
            # Not SSLSocket's own, which takes away what the other thread reads from.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- Octets

    def _allow(self, seconds: float) -> None:
        """What is read next has to be there within `seconds`."""
        self._deadline = time.monotonic() + seconds

    def _receive(self) -> bytes:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Pop3Error("the server takes too long")
        try:
            self._socket.settimeout(min(left, self._seconds))
            octets = self._socket.recv(READ_OCTETS)
        except TimeoutError as error:
            raise Pop3Error("the server does not answer") from error
        except OSError as error:
            raise Pop3Error(f"the connection failed: {_reason(error)}") from error
        if not octets:
            raise Pop3Error("the server closed the connection")
        return octets

    def _line(self) -> bytes:
        """The next line, without its end."""
        while (end := self._buffer.find(b"\n", 0, LINE_OCTETS)) < 0:
            if len(self._buffer) >= LINE_OCTETS:
                raise Pop3Error("the server sends a line without an end")
            self._buffer += self._receive()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def _lines(self) -> Iterator[bytes]:
        """The lines of a listing."""
        self._allow(5 * self._seconds)
        left = LISTING_OCTETS
        for _ in range(MAX_LISTED + 1):
            line = self._line()
            if line == b".":
                return
            left -= len(line)
            if left < 0:
                raise Pop3Error(f"the server's list has more than {LISTING_OCTETS} octets")
            yield line
        raise Pop3Error(f"there are more than {MAX_LISTED} messages, which is more than is looked at")

    def _unstuffed(self) -> Iterator[bytes]:
        """What follows up to CRLF . CRLF, the last CRLF with it, without the dots that were added (RFC 1939, 3)."""
        held, before = b"\r\n" + bytes(self._buffer), 2  # as behind a line end, which is no part of the message
        self._buffer.clear()
        while (end := held.find(_TERMINATOR)) < 0:
            sure = len(held) - _begun(held)
            if sure:
                yield held[:sure].replace(b"\r\n.", b"\r\n")[before:]
                held, before = held[sure:], 0
            held += self._receive()
        if held[end + len(_TERMINATOR) :]:
            # A dot of its own that was not doubled: what follows is text, and would be taken for replies.
            raise BadMessageError("the server sends more behind the end of a message")
        yield held[: end + 2].replace(b"\r\n.", b"\r\n")[before:]


def _begun(text: bytes) -> int:
    """How many octets at the end of `text` may be the beginning of the terminator."""
    return next((n for n in range(len(_TERMINATOR) - 1, 0, -1) if text.endswith(_TERMINATOR[:n])), 0)


def _shown(octets: bytes) -> str:
    """What a server said, as it can be shown to anybody."""
    text = octets[:_SHOWN].decode("utf-8", "replace").strip()
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
