"""The wire form: any octets in, exact octets out, however they are cut (RFC 1939, 3 and 11)."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.wire import WireEncoder, encode, unstuff
from tests.messages import canonical, hard_messages

#: Octets of which the hard cases are made, and any others.
hard = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a: b", b"\0", b"\xff", b" "]) | st.binary(max_size=5),
    max_size=30,
).map(b"".join)


def stuffed(text: bytes) -> bytes:
    """Dot-stuffing, line by line."""
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in text.split(b"\r\n"))


def header_octets(wire: bytes) -> int:
    """Up to and with the first empty line."""
    return 2 if wire.startswith(b"\r\n") else wire.index(b"\r\n\r\n") + 4


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
    assert encoder.header_octets == header_octets(wire)


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


@pytest.mark.parametrize("name", [name for name, message in hard_messages().items() if len(message) < 700])
def test_a_hard_message_may_be_cut_anywhere(name: str) -> None:
    message = hard_messages()[name]
    expected = encode(message)
    assert expected.wire == stuffed(canonical(message))
    for place in range(len(message) + 1):
        encoder = WireEncoder()
        wire = encoder.feed(message[:place]) + encoder.feed(b"") + encoder.feed(message[place:]) + encoder.finish()
        assert (wire, encoder.octets, encoder.header_octets) == (
            expected.wire,
            expected.octets,
            expected.header_octets,
        ), place
    for place in range(len(expected.wire) + 1):
        pieces = [expected.wire[:place], b"", expected.wire[place:]]
        assert b"".join(unstuff(pieces)) == canonical(message), place


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_a_long_message_may_come_in_chunks_of_any_size(size: int) -> None:
    message = b"".join(hard_messages()[name] for name in ("dot-every-line", "end-mixed", "octets-noise", "dot-lines"))
    encoder = WireEncoder()
    chunks = [message[start : start + size] for start in range(0, len(message), size)]
    wire = b"".join([encoder.feed(chunk) for chunk in chunks] + [encoder.finish()])
    assert wire == stuffed(canonical(message))
    assert encoder.header_octets == header_octets(wire)
    pieces = [wire[start : start + size] for start in range(0, len(wire), size)]
    assert b"".join(unstuff(pieces)) == canonical(message)


@pytest.mark.parametrize("line", [b"x", b".", b"\0", b"\xff", b"\t"])
def test_a_line_of_100_kb_is_left_whole(line: bytes) -> None:
    message = b"A: b\n\n" + line * 100_000 + b"\n" + line * 100_000
    encoder = WireEncoder()
    wire = b"".join(encoder.feed(message[start : start + 8192]) for start in range(0, len(message), 8192))
    wire += encoder.finish()
    stuffing = b"." if line == b"." else b""
    assert wire == b"A: b\r\n\r\n" + (stuffing + line * 100_000 + b"\r\n") * 2
    assert encoder.octets == len(wire) - 2 * len(stuffing)


@settings(max_examples=100, deadline=None)
@given(hard)
def test_the_canonical_form_stays_as_it_is(message: bytes) -> None:
    """So that what was exported, or fetched by a client, and comes in again is the same message."""
    assert encode(canonical(message)) == encode(message)


@settings(max_examples=100, deadline=None)
@given(hard)
def test_nothing_in_a_wire_form_ends_it_early(message: bytes) -> None:
    """RFC 1939, 3: a client that reads up to a line of one dot has the whole message, and only that."""
    wire = encode(message).wire
    assert (b"\r\n" + wire).find(b"\r\n.\r\n") == -1
    assert (wire + b".\r\n").endswith(b"\r\n.\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", wire)
