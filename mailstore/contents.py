"""Reading the stored octets of many messages in turn: the first pieces of a batch with one query, the rest as needed.

Nearly every message is one piece (mailstore.models.PIECE_OCTETS). The caller bounds the memory by the batch it asks
for.
"""

from collections.abc import Iterator, Sequence

from mailstore.models import PIECE_OCTETS, Content


class ContentMissingError(Exception):
    """The octets of a message, or a piece of them, are not in the database."""


def read_first_pieces(mailbox_id: int, uids: Sequence[int]) -> dict[int, bytes]:
    """uid -> first piece of the wire form; without those that are not there."""
    rows = Content.objects.filter(mailbox_id=mailbox_id, uid__in=uids, piece=0).values_list("uid", "octets")
    return {uid: bytes(octets) for uid, octets in rows}


def read_pieces(mailbox_id: int, uid: int, *, wire_octets: int, first: bytes | None) -> Iterator[bytes]:
    """The wire form of a message of `wire_octets`, whose first piece is at hand. Raises ContentMissingError."""
    if first is None:
        raise ContentMissingError(f"the content of message {uid} is missing")
    yield first
    pieces = Content.objects.filter(mailbox_id=mailbox_id, uid=uid).values_list("octets", flat=True)
    for number in range(1, -(-wire_octets // PIECE_OCTETS)):
        piece = pieces.filter(piece=number).first()
        if piece is None:
            raise ContentMissingError(f"piece {number} of message {uid} is missing")
        yield bytes(piece)
