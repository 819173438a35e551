"""An export is whole or is not there, is its owner's alone, and gives the same octets when it is imported again."""

import os
import stat
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailstore import exporting
from mailstore.contents import ContentMissingError
from mailstore.delivery import Envelope, append, deliver
from mailstore.exporting import count_octets, export_maildir, export_mbox
from mailstore.importing import Importer
from mailstore.models import PIECE_OCTETS, Content, Message
from mailstore.rows import live_messages
from mailstore.sources import read_source
from tests.mailstore.mailboxes import body_of, fill, make_mailbox, stored
from tests.messages import all_messages

pytestmark = pytest.mark.django_db

WHEN = datetime(2014, 4, 3, 15, 45, 22, 500_000, tzinfo=UTC)
EXPORTS: dict[str, Callable[..., int]] = {"mbox": export_mbox, "maildir": export_maildir}

#: Octets in which what matters to an mbox, to line ends and to dots is frequent.
HARD = [b"From ", b">From ", b">>From x", b"\n", b"\r\n", b"\r", b"\n\n", b".", b"\0", b"\xff", b"A: b\n\n"]
FROM_LINE = b"From jules@maison.mrs Thu Apr  3 15:45:22 2014\n"
hostile = st.lists(st.sampled_from([*HARD, FROM_LINE]) | st.binary(max_size=4), max_size=20).map(b"".join)


@pytest.fixture(params=EXPORTS)
def export(request: pytest.FixtureRequest) -> Callable[..., int]:
    return EXPORTS[request.param]


def wires(mailbox: FoundMailbox) -> list[bytes]:
    return [stored(mailbox.id, row.uid) for row in live_messages(mailbox.id).order_by("uid")]


def take_in(mailbox: FoundMailbox, path: Path) -> None:
    with Importer(mailbox_id=mailbox.id) as importer:
        for message in read_source(path):
            importer.add(message)


class TestRoundTrip:
    def test_of_all_hard_messages(self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]) -> None:
        again = make_mailbox("alfred")
        messages = list(all_messages().values())
        fill(mailbox.id, *messages)
        assert export(mailbox_id=mailbox.id, out=tmp_path / "out") == len(messages)
        take_in(again, tmp_path / "out")
        assert wires(again) == wires(mailbox)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(messages=st.lists(hostile, min_size=1, max_size=4))
    def test_of_any_octets(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int], messages: list[bytes]
    ) -> None:
        """A mailbox is exported, emptied, and filled with what was exported: nothing has changed."""
        Message.objects.filter(mailbox_id=mailbox.id).delete()
        for number, message in enumerate(messages):
            with body_of(message) as body:
                append(mailbox_id=mailbox.id, body=body, received_at=WHEN + timedelta(seconds=number))
        before = wires(mailbox)
        out = Path(tempfile.mkdtemp(dir=tmp_path)) / "out"
        export(mailbox_id=mailbox.id, out=out)
        Message.objects.filter(mailbox_id=mailbox.id).delete()
        take_in(mailbox, out)
        assert wires(mailbox) == before

    def test_keeps_the_order_and_the_moments(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]
    ) -> None:
        """Also of messages that came at the very same moment, and of more of them than nine."""
        for number in range(12):
            with body_of(b"Subject: %d\n\n" % number) as body:
                append(mailbox_id=mailbox.id, body=body, received_at=WHEN.replace(microsecond=0))
        export(mailbox_id=mailbox.id, out=tmp_path / "out")
        take_in(again := make_mailbox("alfred"), tmp_path / "out")
        rows = live_messages(again.id).order_by("uid").values_list("subject", "received_at")
        assert list(rows) == [(str(number), WHEN.replace(microsecond=0)) for number in range(12)]

    def test_of_an_empty_mailbox(self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]) -> None:
        assert export(mailbox_id=mailbox.id, out=tmp_path / "out") == 0
        assert list(read_source(tmp_path / "out")) == []


class TestWhatIsWritten:
    def test_an_mbox(self, mailbox: FoundMailbox, tmp_path: Path) -> None:
        out = tmp_path / "out.mbox"
        with body_of(b"Subject: x\r\n\r\nFrom me\r\n>From you\r\n.") as body:
            append(mailbox_id=mailbox.id, body=body, received_at=WHEN)
            deliver(body=body, envelope=Envelope("a@b", b"x"), recipients=[mailbox], all_or_none=True)
        Message.objects.update(received_at=WHEN)
        fill(mailbox.id, b"From: Jules <jules@maison.mrs>\n\n")
        Message.objects.update(received_at=WHEN)
        export_mbox(mailbox_id=mailbox.id, out=out)
        date = b" Thu Apr  3 15:45:22 2014\n"
        body_in_mbox = b"Subject: x\n\n>From me\n>>From you\n.\n\n"
        trace = b"Return-Path: <a@b>\nDelivered-To: jules@maison.mrs\nReceived: x\n"
        assert out.read_bytes() == (
            b"From MAILER-DAEMON" + date + body_in_mbox
            + b"From a@b" + date + trace + body_in_mbox
            + b"From jules@maison.mrs" + date + b"From: Jules <jules@maison.mrs>\n\n\n"
        )  # fmt: skip

    def test_a_maildir(self, mailbox: FoundMailbox, tmp_path: Path) -> None:
        fill(mailbox.id, b"Subject: seen\r\n\r\n", b"Subject: not seen\r\n\r\n..\r\n")
        Message.objects.update(received_at=WHEN)
        Message.objects.filter(mailbox_id=mailbox.id, uid=1).update(retrieved_at=timezone.now())
        export_maildir(mailbox_id=mailbox.id, out=tmp_path / "out")
        files = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").glob("*/*")}
        unique = f"1396539922.M500000V{mailbox.id}Q00000000000"
        assert {name: path.read_bytes() for name, path in files.items()} == {
            f"cur/{unique}1.mailplatform,S=15,W=17:2,S": b"Subject: seen\n\n",
            f"new/{unique}2.mailplatform,S=22,W=25": b"Subject: not seen\n\n..\n",
        }
        assert {path.stat().st_mtime for path in files.values()} == {WHEN.timestamp()}

    def test_is_its_owners_alone(self, mailbox: FoundMailbox, tmp_path: Path) -> None:
        fill(mailbox.id, b"secret")
        (tmp_path / "there").touch(mode=0o644)
        (tmp_path / "folder").mkdir(mode=0o755)
        mask = os.umask(0)
        try:
            export_mbox(mailbox_id=mailbox.id, out=tmp_path / "there")
            export_maildir(mailbox_id=mailbox.id, out=tmp_path / "folder")
        finally:
            os.umask(mask)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
        assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
        assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}

    def test_live_messages_of_this_mailbox_and_no_others(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]
    ) -> None:
        fill(make_mailbox("alfred").id, b"secret")
        fill(mailbox.id, b"one", b"two")
        Message.objects.filter(mailbox_id=mailbox.id, uid=1).update(deleted_at=timezone.now())
        assert export(mailbox_id=mailbox.id, out=tmp_path / "out") == 1

    def test_long_messages_and_many(
        self,
        mailbox: FoundMailbox,
        tmp_path: Path,
        export: Callable[..., int],
        monkeypatch: pytest.MonkeyPatch,
        django_assert_max_num_queries: DjangoAssertNumQueries,
    ) -> None:
        monkeypatch.setattr(exporting, "_BATCH_MESSAGES", 3)
        fill(mailbox.id, *[b"A: %d\n\n" % number for number in range(7)], b"\n" + b"x.\n" * PIECE_OCTETS)
        progress: list[int] = []
        with django_assert_max_num_queries(14):
            export(mailbox_id=mailbox.id, out=tmp_path / "out", progress=progress.append)
        take_in(again := make_mailbox("alfred"), tmp_path / "out")
        assert sorted(wires(again)) == sorted(wires(mailbox))
        assert sum(progress) == count_octets(mailbox.id)
        assert len(progress) == 8


class TestPlaces:
    def test_nothing_that_is_there_is_overwritten(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]
    ) -> None:
        fill(mailbox.id, b"x")
        (tmp_path / "file").write_bytes(b"precious")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_bytes(b"precious")
        for name in ("file", "folder"):
            with pytest.raises(OSError, match=r"exists already|is a folder"):
                export(mailbox_id=mailbox.id, out=tmp_path / name)
        assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"precious"] * 2
        assert len(list(tmp_path.iterdir())) == 2

    def test_the_wrong_kind_of_empty_place_is_refused_before_anything_is_read(
        self, mailbox: FoundMailbox, tmp_path: Path, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
        with django_assert_num_queries(0), pytest.raises(IsADirectoryError):
            export_mbox(mailbox_id=mailbox.id, out=tmp_path / "folder")
        with django_assert_num_queries(0), pytest.raises(FileExistsError):
            export_maildir(mailbox_id=mailbox.id, out=tmp_path / "file")

    def test_a_file_that_appears_meanwhile_is_kept(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]
    ) -> None:
        fill(mailbox.id, b"x")
        out = tmp_path / "out"

        def somebody_else(octets: int) -> None:
            if export is export_maildir:
                out.mkdir()
                (out / "file").write_bytes(b"precious")
            else:
                out.write_bytes(b"precious")

        with pytest.raises(OSError, match=r"exists already|not empty"):
            export(mailbox_id=mailbox.id, out=out, progress=somebody_else)
        assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"precious"]

    def test_a_folder_that_is_missing_is_an_error(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]
    ) -> None:
        with pytest.raises(FileNotFoundError):
            export(mailbox_id=mailbox.id, out=tmp_path / "missing" / "out")


class TestFailure:
    @pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
    def test_leaves_nothing(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int], error: BaseException
    ) -> None:
        fill(mailbox.id, b"one", b"two")

        def fail(octets: int) -> None:
            raise error

        with pytest.raises(type(error)):
            export(mailbox_id=mailbox.id, out=tmp_path / "out", progress=fail)
        assert list(tmp_path.iterdir()) == []

    def test_of_the_store_is_said_and_leaves_nothing(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]
    ) -> None:
        fill(mailbox.id, b"one", b"two")
        Content.objects.filter(mailbox_id=mailbox.id, uid=2).delete()
        with pytest.raises(ContentMissingError, match="message 2"):
            export(mailbox_id=mailbox.id, out=tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_an_unfinished_export_does_not_look_like_one(
        self, mailbox: FoundMailbox, tmp_path: Path, export: Callable[..., int]
    ) -> None:
        """As a process that is killed leaves it: hidden, under another name."""
        fill(mailbox.id, b"one", b"two")
        seen: list[list[str]] = []
        export(mailbox_id=mailbox.id, out=tmp_path / "out", progress=lambda _: seen.append(os.listdir(tmp_path)))
        assert all(name.startswith(".out.") for names in seen for name in names)
        assert len(seen) == 2
        assert os.listdir(tmp_path) == ["out"]
