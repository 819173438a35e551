"""The end of data: CRLF.CRLF alone, wherever the packets were cut."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpservice.data import DataReader

#: Octets of which line ends and dots are made, often enough to meet every combination.
HARD = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\r\n.", b"\0"]), max_size=30).map(b"".join)


def read(*chunks: bytes) -> tuple[bytes, bool, bytes]:
    """What was read, whether the data has ended, and what came after it."""
    reader = DataReader()
    content = b""
    for chunk in chunks:
        if reader.ended:
            reader.rest += chunk
        else:
            content += reader.feed(chunk)
    return content, reader.ended, reader.rest


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def plainly(data: bytes) -> tuple[bytes, bool, bytes]:
    """RFC 5321, 4.5.2, line by line, for whole data."""
    content, rest = b"", data
    while b"\r\n" in rest:
        line, rest = rest.split(b"\r\n", 1)
        if line == b".":
            return content, True, rest
        content += line.removeprefix(b".") + b"\r\n"
    return content, False, rest


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"hello\r\n.\r\n", b"hello\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".hello\r\n..\r\n...\r\n.\r\n", b"hello\r\n.\r\n..\r\n"),
        (b"\r\r\n.\r\n", b"\r\r\n"),
        (b"\0\xff\r\n.\r\n", b"\0\xff\r\n"),
    ],
)
def test_rfc_5321_4_5_2_transparency(data: bytes, content: bytes) -> None:
    assert read(data) == (content, True, b"")


@pytest.mark.parametrize(
    "false_end",
    [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n.\r\r\n", b"\n\n.\r\n", b"\r\n\0.\r\n"],
)
def test_smuggling_no_other_sequence_ends_the_data(false_end: bytes) -> None:
    """CVE-2023-51764, -51765, -51766: what follows stays content."""
    smuggled = b"MAIL FROM:<forged@example.org>\r\n"
    content, ended, rest = read(b"one" + false_end + smuggled + b"\r\n.\r\nQUIT\r\n")
    assert smuggled in content
    assert ended
    assert rest == b"QUIT\r\n"


def test_what_follows_the_end_is_the_next_command() -> None:
    assert read(b"a\r\n.\r\nMAIL", b" FROM") == (b"a\r\n", True, b"MAIL FROM")


@settings(max_examples=300, deadline=None)
@given(HARD, st.lists(st.integers(0, 200), max_size=8))
@example(b"a\r\n.\r\nb", [1, 2, 3, 4, 5])
def test_packets_do_not_matter(data: bytes, places: list[int]) -> None:
    assert read(*cut(data, places)) == read(data)


@settings(max_examples=300, deadline=None)
@given(HARD)
def test_it_reads_what_the_plain_rule_reads(data: bytes) -> None:
    content, ended, rest = read(data)
    plain, plain_ended, plain_rest = plainly(data)
    assert ended is plain_ended
    if ended:
        assert (content, rest) == (plain, plain_rest)
    else:
        assert content.startswith(plain[:-2])


@settings(max_examples=200, deadline=None)
@given(HARD, st.lists(st.integers(0, 200), max_size=4))
def test_what_a_client_stuffs_comes_back(message: bytes, places: list[int]) -> None:
    lines = (message + b"\r\n").split(b"\r\n")
    sent = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + b".\r\n"
    assert read(*cut(sent, places)) == (message + b"\r\n", True, b"")
