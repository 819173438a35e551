"""mailstore.downgrade: surrogates of messages with UTF-8 in their headers."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.downgrade import FIELD_OCTETS, HEADER_OCTETS, Downgrader, split_last_field, surrogate_octets
from mailstore.envelope import decode_words
from mailstore.wire import encode, unstuff
from tests.messages import all_messages

MESSAGES = {name: message for name, message in all_messages().items() if len(message) < 300_000}


def downgraded(wire: bytes, size: int = 0) -> bytes:
    """The surrogate of a wire form that is fed in pieces of `size` octets."""
    downgrader = Downgrader()
    size = size or max(len(wire), 1)
    pieces = [downgrader.feed(wire[start : start + size]) for start in range(0, len(wire), size)]
    octets = b"".join([*pieces, downgrader.finish()])
    assert downgrader.added == len(octets) - len(wire)
    assert downgrader.changed == (octets != wire)
    return octets


def halves(wire: bytes) -> tuple[bytes, bytes]:
    """The header, with its empty line, and the body."""
    if wire.startswith(b"\r\n"):
        return wire[:2], wire[2:]
    end = wire.index(b"\r\n\r\n") + 4
    return wire[:end], wire[end:]


@pytest.mark.parametrize("name", MESSAGES)
def test_nothing_but_a_header_with_utf_8_is_changed(name: str) -> None:
    wire = encode(MESSAGES[name]).wire
    assert (downgraded(wire) == wire) is (name != "header-utf-8")


ascii_line = st.binary(max_size=20).map(lambda line: bytes(octet & 127 for octet in line))


@settings(max_examples=100, deadline=None)
@given(st.lists(ascii_line), st.binary())
def test_a_message_with_a_header_in_ascii_is_its_own_surrogate(lines: list[bytes], body: bytes) -> None:
    encoded = encode(b"\r\n".join([*lines, b"", body]))
    header, _ = halves(encoded.wire)
    if header.isascii():
        assert downgraded(encoded.wire) == encoded.wire
        assert surrogate_octets([encoded.wire], encoded.octets) is None


field = st.tuples(
    st.sampled_from(["Subject", "From", "Received", "Message-ID", "Content-Type", ".Odd", ".é", "X"]),
    st.text(max_size=60),
).map(": ".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(field, min_size=1, max_size=5), st.binary(max_size=200), st.integers(1, 40))
def test_the_header_becomes_ascii_and_the_body_stays(fields: list[str], body: bytes, size: int) -> None:
    """RFC 6856, 2.1: what LIST says is what RETR sends, whatever the pieces."""
    encoded = encode("\r\n".join(fields).encode() + b"\r\n\r\n" + body)
    octets = downgraded(encoded.wire)
    (header, rest), (_, stored_body) = halves(octets), halves(encoded.wire)
    assert header.isascii()
    assert rest == stored_body
    assert len(header) == encoded.header_octets + len(octets) - len(encoded.wire)
    assert downgraded(encoded.wire, size) == octets
    listed = surrogate_octets([encoded.wire], encoded.octets)
    assert (listed or encoded.octets) == len(b"".join(unstuff([octets])))


@pytest.mark.parametrize("line", [".é", ".é: x", "..é", ". é", ".\r\n é"])
def test_a_dot_that_is_encoded_is_the_lines_own(line: str) -> None:
    """RFC 1939, 3: the one before it is the transmission's, and LIST does not count it."""
    encoded = encode(line.encode() + b"\r\n\r\n")
    sent = b"".join(unstuff([downgraded(encoded.wire)]))
    assert surrogate_octets([encoded.wire], encoded.octets) == len(sent)
    assert decode_words(sent.decode().strip()) == line.replace("\r\n", "")


def test_octets_that_are_no_utf_8_stay_beside_fields_that_are() -> None:
    wire = b"A: \xe9\r\nSubject: \xc3\xa9\r\n\r\n"
    assert downgraded(wire) == b"A: \xe9\r\nSubject: =?utf-8?q?=C3=A9?=\r\n\r\n"


def test_a_message_within_its_header_is_finished() -> None:
    assert downgraded("Subject: é".encode(), 1) == b"Subject: =?utf-8?q?=C3=A9?="
    assert downgraded("Subject: é\r\n".encode(), 1) == b"Subject: =?utf-8?q?=C3=A9?=\r\n"
    assert downgraded(b"") == b""


@pytest.mark.parametrize("octets", range(FIELD_OCTETS - 2, FIELD_OCTETS + 4))
def test_how_long_a_field_may_be_does_not_depend_on_the_pieces(octets: int) -> None:
    wire = b"X: \xc3\xa9" + b"a" * (octets - 5) + b"\r\n\r\n"
    assert len({downgraded(wire, size) for size in (0, 1000, octets - 1, octets, octets + 1, octets + 2)}) == 1


@pytest.mark.parametrize("size", [1000, 65_536, 262_144])
def test_a_field_that_is_too_long_is_masked(size: int) -> None:
    wire = b"A: b\r\nX: " + "é ".encode() * FIELD_OCTETS + b"\r\n \xe9\r\nSubject: \xc3\xa9\r\n\r\n\xe9\r\n"
    expected = b"A: b\r\nX: " + b"?? " * FIELD_OCTETS + b"\r\n ?\r\nSubject: =?utf-8?q?=C3=A9?=\r\n\r\n\xe9\r\n"
    octets = downgraded(wire, size)
    assert octets == expected


@pytest.mark.parametrize("size", [0, 1000])
def test_of_many_fields_the_last_are_masked(size: int) -> None:
    """Whoever stores or sends the message waits for what is said in ASCII."""
    field = b"X: " + "é ".encode() * 300 + b"\r\n"
    said = HEADER_OCTETS // (len(field) - 2)
    octets = downgraded(field * (said + 100) + b"\r\n", size)
    assert octets.count(b"X: =?utf-8?") == said
    assert octets.endswith((b"X: " + b"?? " * 300 + b"\r\n") * 100 + b"\r\n")


@given(st.lists(st.sampled_from([b"A: b\r\n", b"A:\r\n\tb\r\n", b"A: \xc3\xa9\r\n c\r\n"])))
def test_the_last_field_is_that_which_what_follows_may_go_on(fields: list[bytes]) -> None:
    assert split_last_field(b"".join(fields)) == (b"".join(fields[:-1]), b"".join(fields[-1:]))


def test_memory_is_bounded_by_a_field() -> None:
    line = b" " + "é".encode() * 1000 + b"\r\n"
    downgrader, sent = Downgrader(), 0
    tracemalloc.start()
    try:
        sent += len(downgrader.feed(b"X:"))
        for _ in range(5000):
            sent += len(downgrader.feed(line))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent + len(downgrader.finish()) == 2 + 5000 * len(line)
    assert peak < 2_000_000
