"""The surrogate of a message with UTF-8 in its header, for clients that did not say UTF8 (RFC 6856, 2.1; RFC 6857).

Each field of the header that holds UTF-8 is said in ASCII (mailstore.ascii_fields); all other octets, the whole body
among them, stay. Octets above 127 that are no UTF-8 are left alone: nobody said what they mean, and so they were always
sent. Works on the wire form, of which it holds a field at a time; pure functions of its octets.
"""

import re
from collections.abc import Iterable

from mailstore.ascii_fields import ascii_field

#: Octets of a field that are read as one; in longer ones a "?" stands for each octet above 127.
FIELD_OCTETS = 64 * 1024
#: Octets of all fields together that are said in ASCII, which takes a second for some hundred thousand; in those
#: behind, as in longer ones.
HEADER_OCTETS = 2 * FIELD_OCTETS

_FIELD_END = re.compile(rb"\r\n(?=[^ \t])")
_MASK = bytes(octet if octet < 128 else ord("?") for octet in range(256))


class Downgrader:
    """Turns a message's wire form, fed in pieces of any size, into that of its surrogate.

    Once `in_header` is False, `added` says how many octets the surrogate has more, and `changed` whether it is another
    message at all.
    """

    __slots__ = ("_held", "_left", "_overlong", "added", "changed", "in_header")

    def __init__(self) -> None:
        self.in_header = True
        self.changed = False
        self.added = 0
        self._held = b""  # the beginning of a field whose end was not seen yet
        self._overlong = False  # what is held goes on a field that is too long
        self._left = HEADER_OCTETS

    def feed(self, piece: bytes) -> bytes:
        """The surrogate's next octets; may be none while a header goes on."""
        if not self.in_header:
            return piece
        text, self._held = self._held + piece, b""
        out: list[bytes] = []
        at = self._rest_of_overlong(text, out) if self._overlong else 0
        while not self._overlong:
            if text.startswith(b"\r\n", at):
                self.in_header = False
                out.append(text[at:])
                return b"".join(out)
            end = _FIELD_END.search(text, at)
            if end is None:
                self._hold(text[at:], out)
                break
            out.append(self._said(text[at : end.start()]) + b"\r\n")
            at = end.end()
        return b"".join(out)

    def finish(self) -> bytes:
        """What is held of a message that ends within its header."""
        held, self._held, self.in_header = self._held, b"", False
        if self._overlong:
            return self._masked(held)
        end = held[-2:] if held.endswith(b"\r\n") else b""
        return self._said(held.removesuffix(end)) + end

    def _hold(self, text: bytes, out: list[bytes]) -> None:
        if len(text) <= FIELD_OCTETS + 2:  # with a line end that may be its last
            self._held = text
        else:
            self._overlong = True
            self._rest_of_overlong(text, out)

    def _rest_of_overlong(self, text: bytes, out: list[bytes]) -> int:
        """Hand out what belongs to the field that is too long; where the next one begins."""
        end = _FIELD_END.search(text)
        if end is not None:
            self._overlong = False
            out.append(self._masked(text[: end.end()]))
            return end.end()
        self._held = text[-2:]  # a line end, or half of one
        out.append(self._masked(text[:-2]))
        return len(text)

    def _said(self, field: bytes) -> bytes:
        if field.isascii():
            return field
        if len(field) > min(FIELD_OCTETS, self._left):
            return self._masked(field)
        try:
            text = field.decode()
        except UnicodeDecodeError:
            return field
        self._left -= len(field)
        # A stuffed dot stays before whatever the line becomes: a client takes it away, and all octets grow alike.
        dot = "." if text.startswith(".") else ""
        said = (dot + ascii_field(text.removeprefix("."))).encode("ascii")
        self.changed = True
        self.added += len(said) - len(field)
        return said

    def _masked(self, octets: bytes) -> bytes:
        if octets.isascii():
            return octets
        self.changed = True
        return octets.translate(_MASK)


def split_last_field(header: bytes) -> tuple[bytes, bytes]:
    """The last field of header lines without an empty one, and what is before it."""
    start = max((end.end() for end in _FIELD_END.finditer(header)), default=0)
    return header[:start], header[start:]


def surrogate_octets(pieces: Iterable[bytes], octets: int) -> int | None:
    """Octets, as LIST says them, of the surrogate of a message of `octets`, in wire form; None: it needs none.

    No more is read of it than its header.
    """
    downgrader = Downgrader()
    for piece in pieces:
        downgrader.feed(piece)
        if not downgrader.in_header:
            break
    else:
        downgrader.finish()
    return octets + downgrader.added if downgrader.changed else None
