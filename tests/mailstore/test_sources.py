"""What a file to import is: told by its name and its first octets, read forward only."""

import io
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailstore.maildirs import NotAMaildirError
from mailstore.mbox import READ_OCTETS, NotAnMboxError
from mailstore.sources import (
    SOURCE_ERRORS,
    UnknownFormatError,
    count_octets,
    printable,
    read_chunks,
    read_source,
    read_stream,
)

FROM_LINE = b"From jules@maison.mrs Thu Apr  3 15:45:22 2014\n"
MBOX = FROM_LINE + b"A: 1\n\n>From me\n\n" + FROM_LINE + b"A: 2\n\ntwo\n\n"
MESSAGE = b"Subject: one\n\nFrom now on\n"
CHANGED = datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)


def put(path: Path, octets: bytes) -> Path:
    path.write_bytes(octets)
    os.utime(path, (CHANGED.timestamp(), CHANGED.timestamp()))
    return path


def read(path: Path, *, mboxo: bool = False) -> list[bytes]:
    return [b"".join(message.chunks) for message in read_source(path, mboxo=mboxo)]


class TestAFile:
    @pytest.mark.parametrize("name", ["one.eml", "ONE.EML", "1", "one.txt", "one.mail"])
    def test_that_begins_with_a_header_field_is_a_message(self, tmp_path: Path, name: str) -> None:
        path = put(tmp_path / name, MESSAGE)
        found = [(m.name, b"".join(m.chunks), m.received_at, m.changed_at) for m in read_source(path)]
        assert found == [(str(path), MESSAGE, None, CHANGED)]

    @pytest.mark.parametrize("name", ["all.mbox", "all.mbx", "jules", "INBOX"])
    def test_that_begins_with_a_from_line_is_an_mbox(self, tmp_path: Path, name: str) -> None:
        path = put(tmp_path / name, MBOX)
        assert read(path) == [b"A: 1\n\nFrom me\n", b"A: 2\n\ntwo\n"]
        first, second = read_source(path)
        assert (first.name, second.name) == (f"{path}, message 1", f"{path}, message 2")
        assert (first.received_at, first.changed_at) == (datetime(2014, 4, 3, 15, 45, 22, tzinfo=UTC), CHANGED)

    def test_of_mboxo_is_read_as_such(self, tmp_path: Path) -> None:
        path = put(tmp_path / "all", FROM_LINE + b"A: 1\n\n>From a\n>>From b\n\n")
        assert read(path) == [b"A: 1\n\nFrom a\n>From b\n"]
        assert read(path, mboxo=True) == [b"A: 1\n\nFrom a\n>>From b\n"]

    def test_called_eml_is_one_message_whatever_is_in_it(self, tmp_path: Path) -> None:
        assert read(put(tmp_path / "odd.eml", MBOX)) == [MBOX]

    @pytest.mark.parametrize("beginning", [b".Odd: x\n\n", b"X y: no", b"Received :", b"-: x"])
    def test_is_told_by_its_first_line(self, tmp_path: Path, beginning: bytes) -> None:
        path = put(tmp_path / "file", beginning)
        if beginning == b"X y: no":
            with pytest.raises(UnknownFormatError):
                read(path)
        else:
            assert read(path) == [beginning]

    @pytest.mark.parametrize(
        "octets", [b"\x89PNG\r\n\x1a\n", b"\0" * 100, b"PK\x03\x04", b"\x1f\x8b\x08", b"hello\n", b"\n"]
    )
    def test_of_another_kind_is_refused(self, tmp_path: Path, octets: bytes) -> None:
        with pytest.raises(UnknownFormatError, match="neither a message"):
            read(put(tmp_path / "file", octets))

    def test_called_mbox_that_is_none_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(NotAnMboxError):
            read(put(tmp_path / "broken.mbox", b"\0" * 10 + MBOX))

    def test_that_is_empty_is_an_mbox_without_messages(self, tmp_path: Path) -> None:
        assert read(put(tmp_path / "spool", b"")) == []

    def test_that_is_missing_or_closed_is_an_error_of_the_source(self, tmp_path: Path) -> None:
        with pytest.raises(SOURCE_ERRORS, match="No such file"):
            read(tmp_path / "missing")

    def test_may_be_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(pipe := tmp_path / "pipe")
        writer = threading.Thread(target=pipe.write_bytes, args=[MBOX])
        writer.start()
        assert read(pipe) == [b"A: 1\n\nFrom me\n", b"A: 2\n\ntwo\n"]
        writer.join()


class TestAMaildir:
    def test_is_read_in_order_of_arrival(self, tmp_path: Path) -> None:
        for name, octets in {"cur/1700000002.b:2,S": b"two", "new/1700000001.a": b"one"}.items():
            (tmp_path / name).parent.mkdir()
            put(tmp_path / name, octets)
        found = [(message.name, message.received_at, b"".join(message.chunks)) for message in read_source(tmp_path)]
        assert found == [
            (f"{tmp_path}/new/1700000001.a", datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC), b"one"),
            (f"{tmp_path}/cur/1700000002.b:2,S", datetime(2023, 11, 14, 22, 13, 22, tzinfo=UTC), b"two"),
        ]

    def test_one_file_that_cannot_be_read_leaves_the_others(self, tmp_path: Path) -> None:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "1700000001.link").symlink_to("nowhere")
        put(tmp_path / "new" / "1700000002.b", b"two")
        first, second = read_source(tmp_path)
        with pytest.raises(OSError, match="symbolic link"):
            next(first.chunks)
        assert b"".join(second.chunks) == b"two"

    def test_of_another_folder_nothing_is_read(self, tmp_path: Path) -> None:
        with pytest.raises(NotAMaildirError):
            read(tmp_path)


class TestAStream:
    def test_is_one_message_as_it_comes(self) -> None:
        octets = b"A: 1\n\n" + b"x" * READ_OCTETS
        ((name, chunks),) = [(message.name, list(message.chunks)) for message in read_stream(io.BytesIO(octets))]
        assert (name, b"".join(chunks)) == ("standard input", octets)
        assert [b"".join(message.chunks) for message in read_stream(io.BytesIO(b""))] == [b""]

    def test_that_is_an_mbox_is_refused(self) -> None:
        with pytest.raises(UnknownFormatError, match="is an mbox"):
            next(read_stream(io.BytesIO(MBOX)))


def test_chunks_are_of_bounded_size() -> None:
    sizes = [len(chunk) for chunk in read_chunks(io.BytesIO(b"x" * (3 * READ_OCTETS + 1)))]
    assert sizes == [READ_OCTETS] * 3 + [1]


def test_octets_are_counted_where_they_can_be(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "maildir" / "new").mkdir(parents=True)
    for name, octets in {"1700000001.a": b"one", "1700000002.b": b"three"}.items():
        put(tmp_path / "maildir" / "new" / name, octets)
    assert count_octets(put(tmp_path / "file", b"x" * 7)) == 7
    assert count_octets(tmp_path / "maildir") == 8
    assert count_octets(tmp_path / "pipe") is None
    assert count_octets(tmp_path) == 0  # it will be named and skipped
    assert count_octets(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Café/1:2,S", "Café/1:2,S"), ("a\x1b[2Jb", "a�[2Jb"), ("a\nb", "a�b"), ("a\udcffb", "a�b")],
)
def test_names_are_shown_without_what_a_terminal_obeys(name: str, shown: str) -> None:
    assert printable(Path(name)) == shown
