"""The mbox format, read and written as a stream: no message, and no line, is ever whole in memory.

Bytes in and bytes out; line ends are the file's own. The standard library's `mailbox` reads a whole message
at once and does not know mboxrd, hence this module. The rules (RFC 4155 describes the default format):

- A message begins with a From_ line, `From sender date`, which stands at the start of the file or after an
  empty line. Where the first one of a file carries a date, the others have to, so that a text line
  "From now on" after an empty line, which some programs leave unquoted, does not cut a message in two.
- The empty line before a From_ line, and one at the end of the file, belong to the format.
- mboxrd writes a line that matches `>*From ` with one ">" more, so that it can be undone exactly. mboxo writes
  "From " as ">From " and leaves all others alone: ">From " is read back as "From ", nearly always rightly.
"""

import errno
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from mailstore.dates import names_date, read_date

#: Octets read at once, and about as many are handed out at once. A longer line is taken in parts.
READ_OCTETS = 64 * 1024
FROM = b"From "

_EMPTY_LINES = (b"\n", b"\r\n")
_WEEKDAY = re.compile(r"(?<!\S)(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\s")
_SENDER = re.compile(r"[!-~]+")
#: Who a message without a return path is from, by custom.
_NOBODY = "MAILER-DAEMON"


class NotAnMboxError(ValueError):
    """The file does not begin with a From_ line."""


@dataclass(frozen=True, slots=True)
class MboxMessage:
    """A message in an mbox file. `chunks` can be read once, and only until the next message is asked for."""

    sender: str
    received_at: datetime | None
    chunks: Iterator[bytes]


class LineStarts:
    """Rewrites the beginnings of lines in a stream of any chunks.

    `pattern` is what is replaced, and `undecided` fits every beginning of a line that may yet become a match.
    At most five octets are held back: `>From` is the longest that says nothing yet, and of a longer run of ">"
    the last is enough where the pattern takes any number of them.
    """

    _HELD_OCTETS = len(b">From")

    def __init__(self, pattern: bytes, replacement: bytes, undecided: bytes) -> None:
        self._pattern = re.compile(rb"(?m)^" + pattern)
        self._replacement = replacement
        self._undecided = re.compile(undecided)
        self._held = b""
        self._at_start = True  # _held and what follows it stand at the beginning of a line

    def feed(self, chunk: bytes) -> bytes:
        """The stream rewritten, as far as it is decided."""
        head, data = b"", self._held + chunk
        if not self._at_start:
            lines = data.find(b"\n") + 1
            if not lines:
                return data
            head, data = data[:lines], data[lines:]
        tail = data[data.rfind(b"\n") + 1 :]
        self._at_start = bool(self._undecided.fullmatch(tail))
        self._held = tail[-self._HELD_OCTETS :] if self._at_start else b""
        data = data[: len(data) - len(self._held)]
        if FROM in data:
            data = self._pattern.sub(self._replacement, data)
        return head + data

    def finish(self) -> bytes:
        """What was held back: the end of the stream decides it."""
        held, self._held = self._held, b""
        return held


def mboxrd_quoter() -> LineStarts:
    return LineStarts(rb">*From ", rb">\g<0>", rb">*(F(r(om?)?)?)?")


def mboxrd_unquoter() -> LineStarts:
    return LineStarts(rb">(>*From )", rb"\1", rb">*(F(r(om?)?)?)?")


def mboxo_unquoter() -> LineStarts:
    return LineStarts(rb">(From )", rb"\1", rb"(>(F(r(om?)?)?)?)?")


def read_from_line(line: bytes) -> tuple[str, datetime | None]:
    """The sender and date of a From_ line, as far as they can be made out; a date without a zone is in UTC."""
    sender, date = _split(line)
    return sender, read_date(date)


def _split(line: bytes) -> tuple[str, str]:
    """The sender of a From_ line, and what follows it."""
    rest = line[len(FROM) :].decode("latin-1").strip()
    weekday = _WEEKDAY.search(rest)
    if weekday:
        return rest[: weekday.start()].strip(), rest[weekday.start() :]
    sender, _, date = rest.partition(" ")
    return sender, date


def _is_dated(line: bytes) -> bool:
    """Whether a line has a date where a From_ line has it. Where a clock was not set, that is in 1969 or in 1904."""
    return names_date(_split(line)[1])


def read_mbox(file: BinaryIO, *, mboxo: bool = False) -> Iterator[MboxMessage]:
    """The messages of `file` one after the other, unquoted. Raises NotAnMboxError, OSError.

    An empty file is an mbox without messages.
    """
    return _Reader(file, mboxo).messages()


class _Reader:
    """Where we are in an mbox file that is being read."""

    def __init__(self, file: BinaryIO, mboxo: bool) -> None:
        self._file = file
        self._unquoter = mboxo_unquoter if mboxo else mboxrd_unquoter
        self._next: tuple[str, datetime | None] | None = None  # the From_ line of the message that comes next
        self._dated = False
        self._broken_off = False  # reading failed in the middle of a message

    def messages(self) -> Iterator[MboxMessage]:
        line = self._file.readline(READ_OCTETS)
        if not line:
            return
        self._next = self._read_from_line(line)
        if self._next is None:
            raise NotAnMboxError("does not begin with a From_ line")
        self._dated = _is_dated(line)
        while self._next:
            sender, received_at = self._next
            self._next = None
            chunks = self._unquoted()
            yield MboxMessage(sender, received_at, chunks)
            for _ in chunks:
                pass  # what the caller has left of it
            if self._broken_off:
                raise OSError(errno.EIO, "the messages behind this one could not be read")

    def _unquoted(self) -> Iterator[bytes]:
        unquoter = self._unquoter()
        self._broken_off = True
        for block in self._blocks():
            yield unquoter.feed(block)
        self._broken_off = False
        yield unquoter.finish()

    def _blocks(self) -> Iterator[bytes]:
        """The message as it stands in the file; leaves the next From_ line in `_next`."""
        gathered: list[bytes] = []
        octets = 0
        held = b""  # an empty line, which is the message's only if something else than a From_ line follows
        at_start = True
        while line := self._file.readline(READ_OCTETS):
            if held:
                self._next = self._read_from_line(line)
                if self._next:
                    break
                gathered.append(held)
                held = b""
            if at_start and line in _EMPTY_LINES:
                held = line
            else:
                gathered.append(line)
                at_start = line.endswith(b"\n")
            octets += len(line)
            if octets >= READ_OCTETS:
                yield b"".join(gathered)
                gathered, octets = [], 0
        yield b"".join(gathered)

    def _read_from_line(self, line: bytes) -> tuple[str, datetime | None] | None:
        """The sender and date of a From_ line; None where the line is none, or text for want of a date."""
        if not line.startswith(FROM):
            return None
        return None if self._dated and not _is_dated(line) else read_from_line(line)


def write_message(file: BinaryIO, *, sender: str, received_at: datetime, chunks: Iterable[bytes]) -> None:
    """Append one message to an mboxrd file. `chunks` have the file's line ends; the last one ends a line."""
    if not _SENDER.fullmatch(sender):
        sender = _NOBODY
    # asctime is the same in every locale; RFC 4155 has the date in UTC.
    date = time.asctime(received_at.astimezone(UTC).timetuple())
    file.write(f"From {sender} {date}\n".encode("ascii"))
    quoter = mboxrd_quoter()
    for chunk in chunks:
        file.write(quoter.feed(chunk))
    file.write(quoter.finish() + b"\n")
