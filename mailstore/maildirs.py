"""The Maildir format: read in order of arrival, written so that no reader ever sees half a message.

A message is a file in `new` (nobody has seen it) or in `cur`, where its name ends in `:2,` and letters, one for each
flag (S: seen). `tmp` holds what is still being written and is never read; so are files whose names begin with a dot.
A link is a message that cannot be read, and no `new` or `cur`: it may lead out of the Maildir.
A name begins with the seconds since 1970 at which the message was received. The rules: https://cr.yp.to/proto/maildir.html,
and for the time's microseconds (`M`) and the sizes (`,S=` octets of the file, `,W=` octets with CRLF) Dovecot's and
Courier's custom.
"""

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from mailstore.dates import read_timestamp

_SUBFOLDERS = ("tmp", "new", "cur")
_TIME = re.compile(r"(\d{8,11})[._](?:[^.]*?M(\d{1,6})(?!\d))?")
_FLAGS = ":2,"
#: A time this many seconds ahead of the clock is no time of receipt.
_CLOCK_SKEW = 24 * 60 * 60


class NotAMaildirError(ValueError):
    """The folder has neither `new` nor `cur`."""


@dataclass(frozen=True, slots=True)
class MaildirMessage:
    """A file of a Maildir: `folder` is its `new` or `cur`. Octets are those of the file."""

    folder: Path
    name: str
    received_at: datetime | None
    octets: int

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def flags(self) -> str:
        """The letters after `:2,`, in any order."""
        return self.name.partition(_FLAGS)[2]

    @property
    def unique(self) -> str:
        """What stays of the name when flags change and when the message moves from `new` to `cur`."""
        return self.name.partition(":")[0]

    def open(self) -> BinaryIO:
        """The file, also where a mail program has moved or flagged it since it was listed. Raises OSError."""
        try:
            return _open(self.path)
        except FileNotFoundError:
            for entry in _files(self.folder.with_name("cur")):
                if entry.name.partition(":")[0] == self.unique:
                    return _open(Path(entry.path))
            raise


def _open(path: Path) -> BinaryIO:
    # A Maildir is its owner's, and the reader is often root: no link leads out of it, and no pipe makes it wait.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.fdopen(os.open(path.name, flags, dir_fd=folder), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _a_link(path) from error
        raise
    finally:
        os.close(folder)


def _a_link(path: Path) -> OSError:
    return OSError(errno.ELOOP, "is a symbolic link, which is not followed", str(path))


def list_maildir(folder: Path) -> list[MaildirMessage]:
    """The messages of a Maildir in order of arrival. Raises NotAMaildirError, OSError.

    Subfolders are Maildirs of their own and not looked into. No flag is a reason to leave a message out: POP3 has none.
    """
    found: dict[tuple[str, int], MaildirMessage] = {}
    subfolders = [folder / name for name in ("new", "cur") if (folder / name).is_dir()]
    if not subfolders:
        raise NotAMaildirError("a folder without new and cur is no Maildir: name the files in it")
    if links := [subfolder for subfolder in subfolders if subfolder.is_symlink()]:
        raise _a_link(links[0])
    # `new` first: what moves to `cur` in between is then seen twice, not missed, and kept once. It is the same file:
    # two files of one name are two messages, as where Maildirs were copied together.
    for subfolder in subfolders:
        for entry in _files(subfolder):
            message = _message(subfolder, entry)
            if message:
                found[message.unique, entry.inode()] = message
    earliest = read_timestamp(0)
    return sorted(found.values(), key=lambda message: (message.received_at or earliest, message.name))


def list_folders_beside(folder: Path) -> list[str]:
    """The names of Maildirs in `folder`, such as `.Sent`, in order; none where they cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name not in _SUBFOLDERS]
        return sorted(name for name in names if any((folder / name / part).is_dir() for part in ("new", "cur")))
    except OSError:
        return []


def _files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                yield entry


def _message(folder: Path, entry: "os.DirEntry[str]") -> MaildirMessage | None:
    try:
        stat = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # removed or moved by a mail program
        return None
    return MaildirMessage(folder, entry.name, _received_at(entry.name) or read_timestamp(stat.st_mtime), stat.st_size)


def _received_at(name: str) -> datetime | None:
    match = _TIME.match(name)
    if match is None or int(match[1]) > time.time() + _CLOCK_SKEW:
        return None
    received_at = read_timestamp(int(match[1]))
    return received_at and received_at.replace(microsecond=int(match[2] or 0))


def create_maildir(folder: Path) -> None:
    """Make an empty Maildir in a folder that is there, readable by its owner alone."""
    for name in _SUBFOLDERS:
        (folder / name).mkdir(mode=0o700)


def write_message(
    folder: Path, *, unique: str, received_at: datetime, seen: bool, octets: int, chunks: Iterable[bytes]
) -> Path:
    """Put a message into the Maildir `folder`, where it appears whole, readable by its owner alone.

    `unique` (letters, digits, "_", "-") tells it from others received in the same microsecond. `octets` are those
    with CRLF line ends, `chunks` have LF. Answers its path; raises OSError.
    """
    name = f"{int(received_at.timestamp())}.M{received_at.microsecond:06d}{unique}.mailplatform"
    unfinished = folder / "tmp" / name
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        size = file.tell()
    os.utime(unfinished, (received_at.timestamp(), received_at.timestamp()))
    name += f",S={size},W={octets}"
    path = folder / "cur" / f"{name}{_FLAGS}S" if seen else folder / "new" / name
    unfinished.rename(path)
    return path
