"""Where messages to import come from: a message file, an mbox, a Maildir, or an open stream.

What a file is, its name and first octets tell: `.eml` is one message whatever is in it; `.mbox`, and what begins with
"From ", is an mbox; what begins with a header field is one message. Anything else is refused, so that a wrong file
name does not fill a mailbox with rubbish. Files are read in chunks, forward only: a pipe will do.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from mailstore import maildirs, mbox
from mailstore.dates import read_timestamp

_MESSAGE_SUFFIXES = {".eml"}
_MBOX_SUFFIXES = {".mbox", ".mbx"}
#: RFC 5322, 2.2: a field name is of printable characters but ":"; obsolete syntax allows blanks after it.
_HEADER_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


class UnknownFormatError(ValueError):
    """The file is neither a message nor an mbox."""


#: What `read_source` raises where a whole source cannot be read.
SOURCE_ERRORS = (OSError, UnknownFormatError, mbox.NotAnMboxError, maildirs.NotAMaildirError)


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message to import. `name` is for people; `chunks` can be read once, before the next message is asked for.

    `received_at` is what its place says; `changed_at`, the file's own time, is the last resort. `unique_id` is one that
    it keeps ("": it gets a new one). Reading `chunks` may raise OSError: then this
    message is lost, and the next one may be good.
    """

    name: str
    chunks: Iterator[bytes]
    received_at: datetime | None = None
    changed_at: datetime | None = None
    unique_id: str = ""


def read_source(path: Path, *, mboxo: bool = False) -> Iterator[FoundMessage]:
    """The messages of a message file, an mbox or a Maildir. Raises SOURCE_ERRORS."""
    if path.is_dir():
        yield from _read_maildir(path)
        return
    with path.open("rb") as file:
        changed_at = read_timestamp(os.fstat(file.fileno()).st_mtime)
        if _is_mbox(path, file):
            for number, message in enumerate(mbox.read_mbox(file, mboxo=mboxo), start=1):
                yield FoundMessage(
                    f"{printable(path)}, message {number}", message.chunks, message.received_at, changed_at
                )
        else:
            yield FoundMessage(printable(path), read_chunks(file), changed_at=changed_at)


def read_stream(file: BinaryIO) -> Iterator[FoundMessage]:
    """The one message of standard input. Raises OSError; UnknownFormatError where it is an mbox."""
    chunks = read_chunks(file)
    first = next(chunks, b"")
    if first.startswith(mbox.FROM):
        raise UnknownFormatError("is an mbox, and not one message: name its file")
    yield FoundMessage("standard input", chain([first], chunks))


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, in parts of bounded size."""
    while chunk := file.read(mbox.READ_OCTETS):
        yield chunk


def count_octets(path: Path) -> int | None:
    """About how many octets `read_source` will read; None where that cannot be known. Raises nothing of its own."""
    try:
        if path.is_dir():
            return sum(message.octets for message in maildirs.list_maildir(path))
        return path.stat().st_size if path.is_file() else None
    except SOURCE_ERRORS:
        return 0


def printable(path: Path | str) -> str:
    """A file's name as it can be shown: names in a Maildir are anybody's, terminals obey control characters."""
    name = str(path)
    if name.isprintable():
        return name
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)


def _read_maildir(path: Path) -> Iterator[FoundMessage]:
    for message in maildirs.list_maildir(path):
        yield FoundMessage(printable(message.path), _read_maildir_message(message), message.received_at)


def _read_maildir_message(message: maildirs.MaildirMessage) -> Iterator[bytes]:
    with message.open() as file:
        yield from read_chunks(file)


def _is_mbox(path: Path, file: BufferedReader) -> bool:
    """Whether it is an mbox or a message, without taking anything from the stream. Raises UnknownFormatError."""
    suffix = path.suffix.lower()
    if suffix in _MESSAGE_SUFFIXES or suffix in _MBOX_SUFFIXES:
        return suffix in _MBOX_SUFFIXES
    beginning = file.peek(mbox.READ_OCTETS)
    if not beginning or beginning.startswith(mbox.FROM):
        return True  # an empty file is an mbox without messages
    if _HEADER_FIELD.match(beginning):
        return False
    raise UnknownFormatError("neither a message, nor an mbox, nor a Maildir")
