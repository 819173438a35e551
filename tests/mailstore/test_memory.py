"""A large message is never whole in memory, on no way in and on no way out."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accounts.lookup import FoundMailbox
from mailstore.browse import read_message
from mailstore.delivery import Body, Envelope, Outcome, deliver
from mailstore.exporting import export_maildir, export_mbox
from mailstore.importing import Importer
from mailstore.models import PIECE_OCTETS, Content, Message
from mailstore.sources import read_source

pytestmark = pytest.mark.django_db

#: A message of 16 MiB, and what it may take to handle it: some pieces, as octets and as a statement.
LINE = b"." * 1023 + b"\n"
LINES = 16 * 1024
BOUND = 10 * PIECE_OCTETS


@contextmanager
def bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BOUND, f"{peak / PIECE_OCTETS:.1f} MiB"


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    path = tmp_path / "large.mbox"
    with path.open("wb") as file:
        file.write(b"From jules@maison.mrs Thu Apr  3 15:45:22 2014\nSubject: large\n\n")
        for _ in range(LINES // 128):
            file.write(LINE * 128)
    return path


def put(mailbox: FoundMailbox, path: Path, *, skip_duplicates: bool = False) -> Importer:
    with Importer(mailbox_id=mailbox.id, skip_duplicates=skip_duplicates) as importer:
        for message in read_source(path):
            importer.add(message)
    return importer


def test_imported_compared_read_and_exported(mailbox: FoundMailbox, mbox: Path, tmp_path: Path) -> None:
    with bounded():
        assert put(mailbox, mbox).imported == 1
        assert put(mailbox, mbox, skip_duplicates=True).duplicates == 1
        octets = sum(len(chunk) for chunk in read_message(mailbox.id, 1))
        export_mbox(mailbox_id=mailbox.id, out=tmp_path / "out.mbox")
        export_maildir(mailbox_id=mailbox.id, out=tmp_path / "out")
        assert put(mailbox, tmp_path / "out", skip_duplicates=True).duplicates == 1
    assert octets == Message.objects.get(mailbox_id=mailbox.id).octets == LINES * 1025 + len("Subject: large\r\n\r\n")
    assert mbox.read_bytes().partition(b"\n")[2] == (tmp_path / "out.mbox").read_bytes().partition(b"\n")[2][:-1]


def test_delivered(mailbox: FoundMailbox) -> None:
    with bounded(), Body() as body:
        for _ in range(LINES // 128):
            body.write(LINE * 128)
        body.finish()
        envelope = Envelope("a@b", b"x")
        assert deliver(body=body, envelope=envelope, recipients=[mailbox], all_or_none=True) == [Outcome.STORED]
    assert Content.objects.filter(mailbox_id=mailbox.id).count() == -(-(LINES * 1026) // PIECE_OCTETS)
