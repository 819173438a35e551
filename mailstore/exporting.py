"""Giving a mailbox's live messages away, as an mbox (mboxrd) or a Maildir.

Line ends are LF, as both formats are used; nothing else changes, and importing what was exported gives the same octets
again. What is written appears at its place whole, and only when it is on the disk; a failed export leaves nothing.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parseaddr
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from mailstore import maildirs, mbox
from mailstore.contents import read_first_pieces, read_pieces
from mailstore.models import PIECE_OCTETS, Maildrop
from mailstore.rows import live_messages
from mailstore.wire import unstuff

#: Messages and octets read with one query; a longer message is read piece by piece.
_BATCH_MESSAGES = 500
_BATCH_OCTETS = 4 * 1024 * 1024
_TAKEN = "exists already: name another"
#: Where final delivery has put the reverse-path (RFC 5321, 4.4).
_RETURN_PATH = re.compile(rb"Return-Path:[ \t]*<([^>\r\n]*)>", re.IGNORECASE)

#: Called with the octets of each message that has been written.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Row:
    """What an export needs of mailstore.models.Message."""

    uid: int
    octets: int
    wire_octets: int
    received_at: datetime
    retrieved_at: datetime | None
    sender: str


def count_octets(mailbox_id: int) -> int:
    """Octets of all live messages, with CRLF line ends."""
    return Maildrop.objects.filter(mailbox_id=mailbox_id).values_list("octets", flat=True).first() or 0


def export_mbox(*, mailbox_id: int, out: Path, progress: Progress = lambda octets: None) -> int:
    """Write an mbox file; answers how many messages it has.

    Raises OSError (FileExistsError where `out` exists and is not empty), mailstore.contents.ContentMissingError.
    """
    _check_file(out)
    out = out.resolve()
    handle, unfinished = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            written = _write_mbox(file, mailbox_id, progress)
            file.flush()
            os.fsync(file.fileno())
        _check_file(out)
        Path(unfinished).replace(out)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    _sync_folder(out.parent)
    return written


def export_maildir(*, mailbox_id: int, out: Path, progress: Progress = lambda octets: None) -> int:
    """Write a Maildir; what has been retrieved is flagged as seen. Answers how many messages it has.

    Raises OSError (FileExistsError where `out` exists and is not empty), mailstore.contents.ContentMissingError.
    """
    _check_folder(out)
    out = out.resolve()
    unfinished = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        maildirs.create_maildir(unfinished)
        written = _write_maildir(unfinished, mailbox_id, progress)
        os.sync()  # once for all files
        unfinished.rename(out)  # replaces an empty folder, and no other
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    _sync_folder(out.parent)
    return written


def _check_file(out: Path) -> None:
    """Raise OSError where no file can be put in the end, or one that has something in it is there."""
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder: name a new file in it", str(out))
    if out.exists() and (not out.is_file() or out.stat().st_size > 0):
        raise FileExistsError(errno.EEXIST, _TAKEN, str(out))


def _check_folder(out: Path) -> None:
    """Raise OSError where no folder can be put in the end, or one that has something in it is there."""
    if not out.exists():
        return
    if not out.is_dir() or any(out.iterdir()):
        raise FileExistsError(errno.EEXIST, _TAKEN, str(out))
    if out.is_mount():
        raise OSError(errno.EBUSY, "is a mount point: name a new folder in it", str(out))


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_mbox(file: BinaryIO, mailbox_id: int, progress: Progress) -> int:
    written = 0
    for row, chunks in _messages(mailbox_id):
        first = next(chunks, b"")
        mbox.write_message(file, sender=_sender(row, first), received_at=row.received_at, chunks=chain([first], chunks))
        written += 1
        progress(row.octets)
    return written


def _sender(row: _Row, beginning: bytes) -> str:
    """The reverse-path where the message tells it, else the author's address."""
    return_path = _RETURN_PATH.match(beginning)
    return return_path[1].decode("latin-1") if return_path else parseaddr(row.sender)[1]


def _write_maildir(folder: Path, mailbox_id: int, progress: Progress) -> int:
    written = 0
    for row, chunks in _messages(mailbox_id):
        maildirs.write_message(
            folder,
            unique=f"V{mailbox_id}Q{row.uid:012}",  # names sort like uids, where moments are the same
            received_at=row.received_at,
            seen=row.retrieved_at is not None,
            octets=row.octets,
            chunks=chunks,
        )
        written += 1
        progress(row.octets)
    return written


def _messages(mailbox_id: int) -> Iterator[tuple[_Row, Iterator[bytes]]]:
    """The live messages in order of arrival, each with its octets, LF line ends, to be read before the next."""
    for batch in _batches(_rows(mailbox_id)):
        first = read_first_pieces(mailbox_id, [row.uid for row in batch])
        for row in batch:
            pieces = read_pieces(mailbox_id, row.uid, wire_octets=row.wire_octets, first=first.pop(row.uid, None))
            yield row, (chunk.replace(b"\r\n", b"\n") for chunk in unstuff(pieces))


def _rows(mailbox_id: int) -> Iterator[_Row]:
    """Found by key, a page at a time, up to the last message there is now."""
    maildrop = Maildrop.objects.filter(mailbox_id=mailbox_id).first()
    end = maildrop.next_uid if maildrop else 0
    after = 0
    while True:
        page = live_messages(mailbox_id).filter(uid__gt=after, uid__lt=end).order_by("uid")
        rows = [_Row(*row) for row in page.values_list(*_Row.__slots__)[:_BATCH_MESSAGES]]
        if not rows:
            return
        yield from rows
        after = rows[-1].uid


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Rows together, as far as their octets fit into memory."""
    batch: list[_Row] = []
    octets = 0
    for row in rows:
        size = min(row.wire_octets, PIECE_OCTETS)
        if batch and (len(batch) >= _BATCH_MESSAGES or octets + size > _BATCH_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(row)
        octets += size
    if batch:
        yield batch
