"""The wire form: any octets in, exact octets out, however they are cut (RFC 1939, 3 and 11)."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.wire import WireEncoder, encode, unstuff

#: Octets of which the hard cases are made, and any others.
hard = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a: b", b"\0", b"\xff", b" "]) | st.binary(max_size=5),
    max_size=30,
).map(b"".join)


def canonical(message: bytes) -> bytes:
    """The canonical form, defined apart from the code under test."""
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    if text and not text.endswith(b"\r\n"):
        text += b"\r\n"
    if not text.startswith(b"\r\n") and b"\r\n\r\n" not in text:
        text += b"\r\n"
    return text


def stuffed(text: bytes) -> bytes:
    """Dot-stuffing, line by line."""
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in text.split(b"\r\n"))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(ends)]


@settings(max_examples=300, deadline=None)
@given(hard, st.lists(st.integers(0, 500), max_size=8))
def test_any_octets_in_any_chunks_become_the_one_wire_form(message: bytes, places: list[int]) -> None:
    encoder = WireEncoder()
    wire = b"".join(encoder.feed(chunk) for chunk in cut(message, places)) + encoder.finish()
    expected = canonical(message)
    assert wire == stuffed(expected)
    assert encoder.octets == len(expected)
    assert encoder.wire_octets == len(wire)
    header = wire[: encoder.header_octets]
    assert header == b"\r\n" or header.endswith(b"\r\n\r\n")
    assert header.count(b"\r\n\r\n") == (0 if header == b"\r\n" else 1)


@settings(max_examples=300, deadline=None)
@given(hard, st.lists(st.integers(0, 500), max_size=8))
def test_unstuffing_gives_the_canonical_form_back(message: bytes, places: list[int]) -> None:
    assert b"".join(unstuff(cut(encode(message).wire, places))) == canonical(message)


@pytest.mark.parametrize(
    ("message", "wire", "octets"),
    [
        pytest.param(b"", b"\r\n", 2, id="empty"),
        pytest.param(b".", b"..\r\n\r\n", 5, id="a dot alone"),
        pytest.param(b"a: b", b"a: b\r\n\r\n", 8, id="header only, no line end"),
        pytest.param(b"a: b\r\n", b"a: b\r\n\r\n", 8, id="header only"),
        pytest.param(b"\nx\n.y\n", b"\r\nx\r\n..y\r\n", 9, id="dot after a bare LF"),
        pytest.param(b"\rx\r.y\r", b"\r\nx\r\n..y\r\n", 9, id="dot after a bare CR"),
        pytest.param(b"\r\nx\r\n.\r\n", b"\r\nx\r\n..\r\n", 8, id="what would be the terminator"),
        pytest.param(b"\r\nend\r", b"\r\nend\r\n", 7, id="ends in CR"),
        pytest.param(b"\r\n\0\xff", b"\r\n\0\xff\r\n", 6, id="NUL and 8-bit"),
    ],
)
def test_hard_cases(message: bytes, wire: bytes, octets: int) -> None:
    encoded = encode(message)
    assert (encoded.wire, encoded.octets) == (wire, octets)


def test_a_very_long_line_is_left_whole() -> None:
    line = b"x" * 100_000
    assert encode(b"\n" + line + b"\n").wire == b"\r\n" + line + b"\r\n"
