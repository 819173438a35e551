"""Which messages a mailbox has already, octet for octet, for imports that are to skip those.

Two messages are the same when their wire forms are. What the mailbox holds is looked up by a short key in memory, some
hundred octets a message; what has the same key as a message to import is read from the database, once, and compared
by digest.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from mailstore.contents import ContentMissingError, read_first_pieces, read_pieces
from mailstore.delivery import Body
from mailstore.models import PIECE_OCTETS, Message

#: Messages and octets read with one query.
_BATCH_MESSAGES = 500
_BATCH_OCTETS = 4 * 1024 * 1024

_DIGEST_OCTETS = 20


class KnownMessages:
    """The messages of one mailbox when this was made, its shelf included, and those that `only_new` has given since.

    The shelf counts because what its owner has fetched and deleted must not come back with the next import.
    """

    def __init__(self, mailbox_id: int) -> None:
        self._mailbox_id = mailbox_id
        self._unread: defaultdict[int, list[int]] = defaultdict(list)  # key -> uids
        self._digests: set[bytes] = set()
        rows = Message.objects.filter(mailbox_id=mailbox_id).values_list(
            "uid", "message_id", "octets", "wire_octets", "header_octets"
        )
        for uid, *identity in rows.iterator(chunk_size=5000):
            self._unread[hash(tuple(identity))].append(uid)

    def only_new(self, bodies: Iterable[Body]) -> list[Body]:
        """Those that are neither in the mailbox nor were here before; the caller stores them."""
        bodies = list(bodies)
        alike = [(uid, body.wire_octets) for body in bodies for uid in self._unread.pop(_key(body), ())]
        for batch in _batches(alike):
            self._read(batch)
        new = []
        for body in bodies:
            digest = _digest(body.pieces())
            if digest not in self._digests:
                self._digests.add(digest)
                new.append(body)
        return new

    def _read(self, batch: Sequence[tuple[int, int]]) -> None:
        """Take the digests of messages, each a uid and the octets of its wire form."""
        first = read_first_pieces(self._mailbox_id, [uid for uid, _ in batch])
        for uid, octets in batch:
            pieces = read_pieces(self._mailbox_id, uid, wire_octets=octets, first=first.pop(uid, None))
            try:
                self._digests.add(_digest(pieces))
            except ContentMissingError:
                continue  # purged, or restored under a new uid, since the uids were read


def _key(body: Body) -> int:
    """A number that equal messages have in common, and others hardly ever; made as that of a row."""
    return hash((body.envelope_fields().message_id, body.octets, body.wire_octets, body.header_octets))


def _digest(pieces: Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_OCTETS)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _batches(messages: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Messages together, as far as their first pieces fit into memory."""
    batch: list[tuple[int, int]] = []
    octets = 0
    for uid, wire_octets in messages:
        size = min(wire_octets, PIECE_OCTETS)
        if batch and (len(batch) >= _BATCH_MESSAGES or octets + size > _BATCH_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append((uid, wire_octets))
        octets += size
    if batch:
        yield batch
