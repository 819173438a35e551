"""The mbox format: where messages begin, quoting both ways, streams of any chunks."""

import errno
import io
import itertools
import re
from datetime import UTC, datetime
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore import mbox

FROM_LINE = b"From jules@maison.mrs Thu Apr  3 15:45:22 2014\n"
WHEN = datetime(2014, 4, 3, 15, 45, 22, tzinfo=UTC)

DATE_PARTS = ["Thu", "Apr", "3", "15:45:22", "2014", "+0200", ",", "(", ")", ":", "-", "9" * 11, "\0", "é"]

#: Text in which the things that matter to an mbox are frequent.
tricky = st.lists(
    st.sampled_from([b"From ", b">", b">From ", b"From", b"\n", b"\n\n", b"\r\n", b"x", b"\0\xff", FROM_LINE])
).map(b"".join)


def read(raw: bytes, *, mboxo: bool = False) -> list[bytes]:
    return [b"".join(message.chunks) for message in mbox.read_mbox(io.BytesIO(raw), mboxo=mboxo)]


def feed_in_parts(rewriter: mbox.LineStarts, data: bytes, cuts: list[int]) -> bytes:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in itertools.pairwise(places)]
    return b"".join([rewriter.feed(part) for part in parts] + [rewriter.finish()])


# --- Where messages begin ------------------------------------------------------------------------------------


def test_messages_are_cut_at_from_lines_after_an_empty_line() -> None:
    assert read(FROM_LINE + b"A: 1\n\none\n\n" + FROM_LINE + b"A: 2\n\ntwo\n\n") == [
        b"A: 1\n\none\n",
        b"A: 2\n\ntwo\n",
    ]


def test_crlf_files_are_read_too() -> None:
    line = FROM_LINE.replace(b"\n", b"\r\n")
    assert read(line + b"A: 1\r\n\r\none\r\n\r\n" + line + b"A: 2\r\n\r\n\r\n") == [
        b"A: 1\r\n\r\none\r\n",
        b"A: 2\r\n\r\n",
    ]


def test_from_line_inside_a_paragraph_is_text() -> None:
    assert read(FROM_LINE + b"A: 1\n\nsee\n" + FROM_LINE) == [b"A: 1\n\nsee\n" + FROM_LINE]


def test_only_one_empty_line_is_taken_from_the_end() -> None:
    assert read(FROM_LINE + b"A: 1\n\n\n\n\n") == [b"A: 1\n\n\n\n"]


def test_a_file_that_ends_without_an_empty_line_or_a_line_end_is_whole() -> None:
    assert read(FROM_LINE + b"A: 1\n\none") == [b"A: 1\n\none"]


def test_a_header_alone_and_an_empty_message() -> None:
    assert read(FROM_LINE + b"A: 1\n\n" + FROM_LINE + b"\n" + FROM_LINE) == [b"A: 1\n", b"", b""]


def test_unquoted_text_after_an_empty_line_is_no_separator_where_from_lines_have_dates() -> None:
    body = b"A: 1\n\nparagraph\n\nFrom now on we meet on Mondays.\n"
    assert read(FROM_LINE + body + b"\n") == [body]


@pytest.mark.parametrize(
    "date",
    ["Wed Dec 31 19:00:00 1969", "Fri Jan  1 00:00:00 1904", "Sat Dec 31 23:59:60 2016", "Thu Apr  3 24:00:00 2014"],
)
@pytest.mark.parametrize("first", [0, 1])
def test_a_from_line_of_a_clock_that_was_not_set_is_one(date: str, first: int) -> None:
    """Messages of programs without the time: they are not to become the end of the one before."""
    messages = [b"A: 1\n\none\n\nFrom now on\n", b"A: 2\n\ntwo\n"]
    lines = [b"From jules %s\n" % date.encode(), FROM_LINE]
    raw = b"".join(
        line + message + b"\n" for line, message in zip(lines[first:] + lines[:first], messages, strict=True)
    )
    assert read(raw) == messages


def test_where_the_first_from_line_has_no_date_the_others_need_none() -> None:
    assert read(b"From jules\nA: 1\n\none\n\nFrom charles\nA: 2\n\n") == [b"A: 1\n\none\n", b"A: 2\n"]


def test_an_empty_file_has_no_messages() -> None:
    assert read(b"") == []


def test_another_file_is_refused() -> None:
    with pytest.raises(mbox.NotAnMboxError):
        read(b"Subject: a message\n\nFrom here\n")


def test_what_is_left_unread_of_a_message_is_passed_over() -> None:
    raw = (FROM_LINE + b"A: 1\n\n" + b"one\n" * 50_000 + b"\n") * 2 + FROM_LINE + b"A: 3\n\n"
    messages = mbox.read_mbox(io.BytesIO(raw))
    assert next(next(messages).chunks).startswith(b"A: 1\n")
    next(messages)
    assert b"".join(next(messages).chunks) == b"A: 3\n"
    assert list(messages) == []


class Unending(io.RawIOBase):
    """A file of one message with one line of `octets` octets, which is never made at once."""

    def __init__(self, octets: int) -> None:
        self._left = octets
        self._head = io.BytesIO(FROM_LINE + b"A: 1\n\n")

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 < size <= mbox.READ_OCTETS
        line = self._head.readline()
        if not line:
            line = b">" * min(size, self._left)
            self._left -= len(line)
        return line


def test_a_line_of_any_length_is_read_in_bounded_chunks() -> None:
    file: BinaryIO = Unending(10_000_000)  # type: ignore[assignment]
    (sizes,) = [[len(chunk) for chunk in message.chunks] for message in mbox.read_mbox(file)]
    assert sum(sizes) == 10_000_000 + len(b"A: 1\n\n")
    assert max(sizes) <= 2 * mbox.READ_OCTETS


def test_a_file_that_cannot_be_read_to_its_end_is_an_error_after_what_could() -> None:
    """Both for the message in which it breaks off, and for those behind it, of which nothing is known."""

    class Failing(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            if line == b"three\n":
                raise OSError(errno.EIO, "Input/output error")
            return line

    file = Failing(FROM_LINE + b"A: 1\n\n\n" + FROM_LINE + b"A: 2\n\ntwo\nthree\n\n" + FROM_LINE)
    messages = mbox.read_mbox(file)
    assert b"".join(next(messages).chunks) == b"A: 1\n\n"
    with pytest.raises(OSError, match="Input/output"):
        list(next(messages).chunks)
    with pytest.raises(OSError, match="behind this one"):
        next(messages)


# --- From_ lines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sender", "date"),
    [
        (FROM_LINE, "jules@maison.mrs", WHEN),
        (b"From - Thu Apr  3 15:45:22 2014\r\n", "-", WHEN),
        (b"From 1464@xxx Thu Apr 03 15:45:22 +0000 2014\n", "1464@xxx", WHEN),
        (b"From jules at maison.mrs  Thu Apr  3 17:45:22 2014 +0200\n", "jules at maison.mrs", WHEN),
        (b"From jules@maison.mrs Thu, 3 Apr 2014 17:45:22 +0200\n", "jules@maison.mrs", WHEN),
        (b"From jules@maison.mrs Thu Apr  3 11:45:22 EDT 2014\n", "jules@maison.mrs", WHEN),
        (b"From Wed@maison.mrs Thu Apr  3 15:45:22 2014\n", "Wed@maison.mrs", WHEN),
        (b"From jules\n", "jules", None),
        (b"From jules Thu Apr 33 15:45:22 2014\n", "jules", None),
        (b"From jules Thu Apr  3 15:45:22 2014 +9999\n", "jules", None),
        (b"From \n", "", None),
    ],
)
def test_sender_and_date_of_a_from_line(line: bytes, sender: str, date: datetime | None) -> None:
    assert mbox.read_from_line(line) == (sender, date)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(DATE_PARTS)).map(" ".join))
def test_no_from_line_is_an_error(text: str) -> None:
    sender, date = mbox.read_from_line(b"From " + text.encode("latin-1"))
    assert isinstance(sender, str)
    assert date is None or date.tzinfo is UTC


# --- Quoting -------------------------------------------------------------------------------------------------


def test_mboxrd_takes_one_mark_off_every_quoted_line() -> None:
    assert read(FROM_LINE + b">From a\n>>From b\n>Fromage\n> From\nx >From \n\n") == [
        b"From a\n>From b\n>Fromage\n> From\nx >From \n"
    ]


def test_mboxo_takes_the_mark_off_from_alone() -> None:
    assert read(FROM_LINE + b">From a\n>>From b\n\n", mboxo=True) == [b"From a\n>>From b\n"]


@settings(max_examples=300, deadline=None)
@given(tricky, st.lists(st.integers(min_value=0), max_size=6))
def test_quoting_does_not_depend_on_the_chunks(data: bytes, cuts: list[int]) -> None:
    quoted = re.sub(rb"(?m)^(>*From )", rb">\1", data)
    assert feed_in_parts(mbox.mboxrd_quoter(), data, cuts) == quoted
    assert feed_in_parts(mbox.mboxrd_unquoter(), quoted, cuts) == data
    assert feed_in_parts(mbox.mboxo_unquoter(), data, cuts) == re.sub(rb"(?m)^>From ", b"From ", data)


def test_little_is_held_back() -> None:
    quoter = mbox.mboxrd_quoter()
    assert len(quoter.feed(b">" * 100_000)) >= 99_990
    assert quoter.feed(b"From x") + quoter.finish() == b">" * 6 + b"From x"


# --- Round trip ----------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.lists(tricky.map(lambda text: text + b"\n"), max_size=4))
def test_what_was_written_is_read_back(messages: list[bytes]) -> None:
    file = io.BytesIO()
    for message in messages:
        mbox.write_message(file, sender="jules@maison.mrs", received_at=WHEN, chunks=[message])
    file.seek(0)
    found = [(m.sender, m.received_at, b"".join(m.chunks)) for m in mbox.read_mbox(file)]
    assert found == [("jules@maison.mrs", WHEN, message) for message in messages]


@pytest.mark.parametrize("sender", ["", "two words", "line\nFrom x", "é"])
def test_a_sender_that_fits_no_from_line_is_replaced(sender: str) -> None:
    file = io.BytesIO()
    mbox.write_message(file, sender=sender, received_at=WHEN, chunks=[b"A: 1\n\n"])
    assert file.getvalue() == b"From MAILER-DAEMON Thu Apr  3 15:45:22 2014\nA: 1\n\n\n"
