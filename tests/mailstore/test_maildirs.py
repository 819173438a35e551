"""The Maildir format: what is a message, when it arrived, and files that appear whole."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from mailstore.maildirs import (
    MaildirMessage,
    NotAMaildirError,
    create_maildir,
    list_folders_beside,
    list_maildir,
    write_message,
)

WHEN = datetime(2026, 11, 23, 9, 0, 5, 250_000, tzinfo=UTC)


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    create_maildir(tmp_path)
    return tmp_path


def put(folder: Path, name: str, octets: bytes = b"x\n") -> Path:
    path = folder / name
    path.write_bytes(octets)
    return path


def names(folder: Path) -> list[str]:
    return [f"{message.folder.name}/{message.name}" for message in list_maildir(folder)]


def read(message: MaildirMessage) -> bytes:
    with message.open() as file:
        return file.read()


class TestWhatIsAMessage:
    def test_new_and_cur_in_order_of_arrival_whatever_their_flags(self, maildir: Path) -> None:
        put(maildir, "cur/1700000003.a.host:2,ST")
        put(maildir, "new/1700000002.b.host")
        put(maildir, "cur/1700000001.c.host:2,")
        assert names(maildir) == ["cur/1700000001.c.host:2,", "new/1700000002.b.host", "cur/1700000003.a.host:2,ST"]
        assert [message.flags for message in list_maildir(maildir)] == ["", "", "ST"]

    def test_nothing_that_is_being_written_is_hidden_or_is_no_file(self, maildir: Path) -> None:
        put(maildir, "tmp/1700000001.a.host")
        put(maildir, "cur/.nfs0001")
        put(maildir, "dovecot-uidlist")
        (maildir / "cur" / "1700000002.folder").mkdir()
        os.mkfifo(maildir / "new" / "1700000003.fifo")
        (maildir / ".Sent").mkdir()
        create_maildir(maildir / ".Sent")
        put(maildir, ".Sent/cur/1700000004.sent:2,S")
        assert names(maildir) == []

    def test_a_folder_with_cur_alone_is_one(self, tmp_path: Path) -> None:
        (tmp_path / "cur").mkdir()
        put(tmp_path, "cur/1700000001.a:2,S")
        assert names(tmp_path) == ["cur/1700000001.a:2,S"]

    def test_another_folder_is_not(self, tmp_path: Path) -> None:
        put(tmp_path, "1.eml")
        with pytest.raises(NotAMaildirError, match="name the files"):
            list_maildir(tmp_path)

    def test_two_files_of_one_name_are_two_messages(self, maildir: Path) -> None:
        """As where the Maildirs of two hosts were copied into one: neither is left out."""
        put(maildir, "new/1700000001.a", b"one")
        put(maildir, "cur/1700000001.a:2,S", b"two")
        put(maildir, "cur/1700000001.a:2,", b"three")
        assert sorted(read(message) for message in list_maildir(maildir)) == [b"one", b"three", b"two"]

    @pytest.mark.parametrize("looked_at", [True, False])
    def test_what_moves_while_it_is_listed_is_seen_once(
        self, maildir: Path, monkeypatch: pytest.MonkeyPatch, looked_at: bool
    ) -> None:
        moving = put(maildir, "new/1700000001.a")
        scan = os.scandir

        @contextmanager
        def scan_then_move(folder: Path) -> Iterator[list["os.DirEntry[str]"]]:
            """Another program moves the message when `new` has been read and `cur` has not."""
            with scan(folder) as entries:
                found = list(entries)
            if looked_at:
                [entry.stat(follow_symlinks=False) for entry in found]  # a DirEntry keeps it
            if folder.name == "new":
                moving.rename(maildir / "cur/1700000001.a:2,S")
            yield found

        monkeypatch.setattr(os, "scandir", scan_then_move)
        assert names(maildir) == ["cur/1700000001.a:2,S"]


class TestFoldersBeside:
    def test_are_named_however_they_are_laid_out(self, maildir: Path) -> None:
        for name in (".Sent", "Archive", "tmp/odd"):
            (maildir / name).mkdir()
            create_maildir(maildir / name)
        (maildir / "notes").mkdir()
        put(maildir, "subscriptions")
        (maildir / ".Link").symlink_to(maildir / ".Sent")
        assert list_folders_beside(maildir) == [".Sent", "Archive"]

    def test_of_what_is_no_folder_or_is_closed_are_none(self, tmp_path: Path) -> None:
        assert list_folders_beside(put(tmp_path, "file")) == []
        assert list_folders_beside(tmp_path / "missing") == []


class TestWhenItArrived:
    @pytest.mark.parametrize(
        ("name", "moment"),
        [
            ("1795424405.M250000P1V2.host,S=1,W=2:2,S", WHEN),
            ("1795424405.1234_5.host", WHEN.replace(microsecond=0)),
            ("1795424405.P1M25.host", WHEN.replace(microsecond=25)),
            ("1795424405_7.host", WHEN.replace(microsecond=0)),
        ],
    )
    def test_the_name_tells(self, maildir: Path, name: str, moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mailstore.maildirs.time.time", lambda: 1_800_000_000.0)
        put(maildir, f"cur/{name}")
        (message,) = list_maildir(maildir)
        assert message.received_at == moment

    @pytest.mark.parametrize("name", ["letter.eml", "99999999999.a.host", "12.a.host", "1700000001234567.x"])
    def test_else_the_files_own_time(self, maildir: Path, name: str) -> None:
        os.utime(put(maildir, f"new/{name}"), (1_600_000_000, 1_600_000_000.5))
        (message,) = list_maildir(maildir)
        assert message.received_at == datetime(2020, 9, 13, 12, 26, 40, 500_000, tzinfo=UTC)

    def test_a_clock_that_is_a_little_ahead_is_believed(self, maildir: Path) -> None:
        soon = timezone.now().replace(microsecond=0) + timedelta(hours=1)
        put(maildir, f"new/{int(soon.timestamp())}.a.host")
        assert list_maildir(maildir)[0].received_at == soon

    def test_of_one_second_the_microseconds_and_then_the_name_decide(self, maildir: Path) -> None:
        ordered = ["1700000001.M000002P1.a", "1700000001.M000002P1.b", "1700000001.M000010P1.a"]
        for name in reversed(ordered):
            put(maildir, f"new/{name}")
        assert [message.name for message in list_maildir(maildir)] == ordered


class TestReading:
    def test_octets_are_those_of_the_file(self, maildir: Path) -> None:
        put(maildir, "new/1700000001.a", b"a\r\n\0\xff")
        (message,) = list_maildir(maildir)
        assert (message.octets, read(message)) == (5, b"a\r\n\0\xff")

    def test_a_message_that_was_moved_or_flagged_meanwhile_is_found(self, maildir: Path) -> None:
        put(maildir, "new/1700000001.a", b"one")
        put(maildir, "cur/1700000002.b:2,", b"two")
        listed = list_maildir(maildir)
        (maildir / "new/1700000001.a").rename(maildir / "cur/1700000001.a:2,S")
        (maildir / "cur/1700000002.b:2,").rename(maildir / "cur/1700000002.b:2,RS")
        assert [read(message) for message in listed] == [b"one", b"two"]

    def test_one_that_was_removed_is_missing(self, maildir: Path) -> None:
        path = put(maildir, "new/1700000001.a")
        (message,) = list_maildir(maildir)
        path.unlink()
        with pytest.raises(FileNotFoundError):
            message.open()

    def test_a_link_is_not_followed_and_not_passed_over_in_silence(self, maildir: Path, tmp_path: Path) -> None:
        secret = put(tmp_path, "secret")
        (maildir / "new" / "1700000001.link").symlink_to(secret)
        (message,) = list_maildir(maildir)
        with pytest.raises(OSError, match="symbolic link"):
            message.open()

    @pytest.mark.parametrize("name", ["new", "cur"])
    def test_a_folder_that_is_a_link_is_not_followed(self, maildir: Path, tmp_path: Path, name: str) -> None:
        """Else the owner of a Maildir has somebody else's mail imported with the rights of root."""
        (tmp_path / "other").mkdir()
        put(tmp_path, "other/1700000001.a")
        (maildir / name).rmdir()
        (maildir / name).symlink_to(tmp_path / "other")
        with pytest.raises(OSError, match="symbolic link"):
            list_maildir(maildir)

    def test_a_folder_that_becomes_a_link_is_not_followed(self, maildir: Path, tmp_path: Path) -> None:
        path = put(maildir, "new/1700000001.a")
        (message,) = list_maildir(maildir)
        (maildir / "new").rename(tmp_path / "other")
        (maildir / "new").symlink_to(tmp_path / "other")
        assert path.read_bytes() == b"x\n"
        with pytest.raises(OSError, match="Not a directory"):
            message.open()

    def test_a_message_that_becomes_a_pipe_keeps_nobody_waiting(self, maildir: Path) -> None:
        path = put(maildir, "new/1700000001.a")
        (message,) = list_maildir(maildir)
        path.unlink()
        os.mkfifo(path)
        assert read(message) == b""


class TestWriting:
    @pytest.mark.parametrize(("seen", "place"), [(True, "cur/{}:2,S"), (False, "new/{}")])
    def test_a_message_appears_whole_at_its_place(self, maildir: Path, seen: bool, place: str) -> None:
        path = write_message(maildir, unique="V1Q2", received_at=WHEN, seen=seen, octets=7, chunks=[b"one", b"\n\n"])
        assert path == maildir / place.format("1795424405.M250000V1Q2.mailplatform,S=5,W=7")
        assert path.read_bytes() == b"one\n\n"
        assert path.stat().st_mtime == WHEN.timestamp()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list((maildir / "tmp").iterdir()) == []

    def test_folders_are_their_owners_alone(self, maildir: Path) -> None:
        assert {stat.S_IMODE((maildir / name).stat().st_mode) for name in ("tmp", "new", "cur")} == {0o700}

    def test_what_broke_off_is_not_seen(self, maildir: Path) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise OSError("the disk is full")

        with pytest.raises(OSError, match="full"):
            write_message(maildir, unique="V1Q2", received_at=WHEN, seen=False, octets=7, chunks=chunks())
        assert names(maildir) == []

    def test_what_was_written_is_listed(self, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mailstore.maildirs.time.time", lambda: WHEN.timestamp())
        path = write_message(maildir, unique="V1Q2", received_at=WHEN, seen=True, octets=4, chunks=[b"one\n"])
        assert list_maildir(maildir) == [MaildirMessage(path.parent, path.name, WHEN, 4)]
