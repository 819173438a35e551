"""Stored octets are read a batch of messages at a time, and a piece that is missing is said, never passed over."""

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailstore.contents import ContentMissingError, read_first_pieces, read_pieces, read_some_pieces
from mailstore.models import PIECE_OCTETS, Content
from tests.mailstore.mailboxes import fill, make_mailbox, stored

pytestmark = pytest.mark.django_db


def test_the_first_pieces_of_many_messages_are_one_query(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other = make_mailbox("alfred")
    fill(mailbox.id, b"A: 1\n\n", b"A: 2\n\n", b"A: 3\n\n")
    fill(other.id, b"secret")
    with django_assert_num_queries(1):
        found = read_first_pieces(mailbox.id, [1, 3, 99])
    assert found == {1: b"A: 1\r\n\r\n", 3: b"A: 3\r\n\r\n"}
    assert read_first_pieces(mailbox.id, []) == {}


def test_some_pieces_of_a_message_are_one_query(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other = make_mailbox("alfred")
    for each in (mailbox, other):
        fill(each.id, b"\r\n" + b"%d" % each.id * 3 * PIECE_OCTETS, b"A: 2\n\n")
    wire = stored(mailbox.id, 1)
    with django_assert_num_queries(1):
        found = read_some_pieces(mailbox.id, 1, 1, 2)
    assert found == {number: wire[number * PIECE_OCTETS : (number + 1) * PIECE_OCTETS] for number in (1, 2)}
    assert read_some_pieces(mailbox.id, 1, 3, 100)[3] == wire[3 * PIECE_OCTETS : 4 * PIECE_OCTETS]
    assert read_some_pieces(mailbox.id, 2, 0, 4) == {0: b"A: 2\r\n\r\n"}
    assert read_some_pieces(mailbox.id, 9, 0, 4) == {}


@pytest.mark.parametrize("more", [0, 1, PIECE_OCTETS])
def test_a_message_is_read_piece_by_piece(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries, more: int
) -> None:
    fill(mailbox.id, b"\r\n" + b"x" * (PIECE_OCTETS + more - 4) + b"\r\n")
    wire = stored(mailbox.id, 1)
    first = read_first_pieces(mailbox.id, [1])[1]
    with django_assert_num_queries(1 if more else 0):
        pieces = list(read_pieces(mailbox.id, 1, wire_octets=len(wire), first=first))
    assert b"".join(pieces) == wire
    assert [len(piece) for piece in pieces] == ([PIECE_OCTETS, more] if more else [PIECE_OCTETS])


def test_a_piece_that_is_missing_is_an_error(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"\r\n" + b"x" * 2 * PIECE_OCTETS)
    octets = len(stored(mailbox.id, 1))
    Content.objects.filter(mailbox_id=mailbox.id, piece=1).delete()
    pieces = read_pieces(mailbox.id, 1, wire_octets=octets, first=read_first_pieces(mailbox.id, [1])[1])
    assert len(next(pieces)) == PIECE_OCTETS
    with pytest.raises(ContentMissingError, match="piece 1 of message 1"):
        next(pieces)
    with pytest.raises(ContentMissingError, match="content of message 2"):
        next(read_pieces(mailbox.id, 2, wire_octets=10, first=None))


def test_a_message_is_read_however_it_was_cut(mailbox: FoundMailbox) -> None:
    """As by a version whose pieces were of another size."""
    fill(mailbox.id, b"A: 1\n\n")
    Content.objects.filter(mailbox_id=mailbox.id, uid=1).update(octets=b"A")
    for piece, octets in enumerate([b": 1\r\n", b"\r", b"\n"], start=1):
        Content.objects.create(mailbox_id=mailbox.id, uid=1, piece=piece, octets=octets)
    pieces = read_pieces(mailbox.id, 1, wire_octets=8, first=b"A")
    assert list(pieces) == [b"A", b": 1\r\n", b"\r", b"\n"]


def test_a_piece_that_is_empty_is_missing(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"A: 1\n\n")
    Content.objects.create(mailbox_id=mailbox.id, uid=1, piece=1, octets=b"")
    with pytest.raises(ContentMissingError, match="piece 1 of message 1"):
        list(read_pieces(mailbox.id, 1, wire_octets=9, first=b"A: 1\r\n\r\n"))
