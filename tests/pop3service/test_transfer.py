"""A message on its way, piece by piece (RFC 1939, 5: RETR; 7: TOP)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.wire import encode
from pop3service.states import Code, IfRefused, ReadPiece, Refusal, Step
from pop3service.transfer import TERMINATOR, Top, Transfer
from tests.pop3service.memory import chunks

#: Messages with many line ends, dots and empty lines.
RAW = st.lists(st.sampled_from([b"a", b".", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b": "]), max_size=40).map(b"".join)


def send(raw: bytes, *, size: int, lines: int | None = None) -> tuple[list[bytes], list[ReadPiece]]:
    """What goes out, one element for each step, and what was asked for."""
    encoded = encode(raw)
    cut = None if lines is None else Top(header_octets=encoded.header_octets, lines=lines)
    pieces, sent = list(chunks(encoded.wire, size)), []
    step: Step = Transfer(uid=7, wire_octets=len(encoded.wire), reply=b"+OK\r\n", cut=cut, finished=sent.append).begin()
    output, requests = [b"".join(step.output)], []
    while step.request is not None:
        assert isinstance(step.request, ReadPiece)
        requests.append(step.request)
        step = step.then(pieces[step.request.piece])
        output.append(b"".join(step.output))
    assert sent == [len(b"".join(output)) - len(b"+OK\r\n" + TERMINATOR)]
    return output, requests


def ignore(octets: int) -> None:
    """What is finished is not looked at."""


def top(wire: bytes, lines: int) -> bytes:
    """The header, the empty line and so many lines of the body; defined apart from the code under test."""
    kept, left, in_body = [], lines, False
    for line in wire.split(b"\r\n")[:-1]:
        if in_body:
            left -= 1
            if left < 0:
                break
        kept.append(line + b"\r\n")
        in_body = in_body or line == b""
    return b"".join(kept)


class TestTransfer:
    @settings(max_examples=150, deadline=None)
    @given(RAW, st.integers(1, 30))
    def test_all_of_it_goes_and_each_piece_is_asked_for_once(self, raw: bytes, size: int) -> None:
        wire = encode(raw).wire
        output, requests = send(raw, size=size)
        assert b"".join(output) == b"+OK\r\n" + wire + TERMINATOR
        assert requests == [ReadPiece(7, piece, len(wire)) for piece in range(-(-len(wire) // size))]

    @settings(max_examples=150, deadline=None)
    @given(RAW, st.integers(1, 30))
    def test_the_terminator_goes_with_the_octets_before_it(self, raw: bytes, size: int) -> None:
        """Edge 23."""
        output, _ = send(raw, size=size)
        assert output[-1].endswith(TERMINATOR)
        assert len(output[-1]) > len(TERMINATOR)

    def test_nothing_is_said_before_the_first_piece_is_there(self) -> None:
        step = Transfer(uid=7, wire_octets=10, reply=b"+OK\r\n", finished=ignore).begin()
        assert (list(step.output), step.if_refused) == ([], IfRefused.GO_ON)
        after = step.then(b"12345")
        assert (b"".join(after.output), after.if_refused) == (b"+OK\r\n12345", IfRefused.ABORT)

    @pytest.mark.parametrize("piece", [b"", b"12345678901"])
    def test_a_piece_that_cannot_be_right_is_our_error(self, piece: bytes) -> None:
        step = Transfer(uid=7, wire_octets=10, reply=b"+OK\r\n", finished=ignore).begin()
        with pytest.raises(Refusal) as refused:
            step.then(piece)
        assert refused.value.code is Code.SYS_TEMP

    def test_what_is_finished_is_called_once_and_only_at_the_end(self) -> None:
        finished: list[int] = []
        step = Transfer(uid=7, wire_octets=4, reply=b"", finished=finished.append).begin()
        step = step.then(b"12")
        assert finished == []
        step.then(b"\r\n")
        assert finished == [4]


class TestTop:
    @settings(max_examples=300, deadline=None)
    @given(RAW, st.integers(0, 6), st.integers(1, 30))
    def test_lines_of_the_body_alone_are_counted(self, raw: bytes, lines: int, size: int) -> None:
        """Edges 6 and 7."""
        wire = encode(raw).wire
        output, requests = send(raw, size=size, lines=lines)
        wanted = top(wire, lines)
        assert b"".join(output) == b"+OK\r\n" + wanted + TERMINATOR
        assert len(requests) == -(-len(wanted) // size)  # no more than it needs

    def test_the_end_of_the_header_may_be_anywhere_in_the_pieces(self) -> None:
        raw = b"a: b\n\n1\n2\n"
        for size in range(1, 20):
            assert b"".join(send(raw, size=size, lines=1)[0]) == b"+OK\r\na: b\r\n\r\n1\r\n.\r\n"
