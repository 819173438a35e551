"""Which messages a mailbox has already, octet for octet, for imports that are to skip those.

Two messages are the same when their wire forms are. What the mailbox holds is looked up by a short key in memory, some
hundred octets a message; only what has the same key is read from the database and compared.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from mailstore.contents import ContentMissingError, read_first_pieces, read_pieces
from mailstore.delivery import Body
from mailstore.models import Message


class KnownMessages:
    """The messages of one mailbox when this was made, its shelf included, and those stored by the caller since.

    The shelf counts because what its owner has fetched and deleted must not come back with the next import.
    """

    def __init__(self, mailbox_id: int) -> None:
        self._mailbox_id = mailbox_id
        self._uids: dict[int, list[int]] = {}
        self._unstored: dict[Body, int] = {}  # with their keys, in order
        self._unstored_by_key: defaultdict[int, list[Body]] = defaultdict(list)
        rows = Message.objects.filter(mailbox_id=mailbox_id).values_list(
            "uid", "message_id", "octets", "wire_octets", "header_octets"
        )
        for uid, *identity in rows.iterator(chunk_size=5000):
            self._add(hash(tuple(identity)), uid)

    def only_new(self, bodies: Iterable[Body]) -> list[Body]:
        """Those that are neither in the mailbox nor here before; the caller stores them and calls `stored`."""
        self._forget_unstored()
        keyed = [(_key(body), body) for body in bodies]
        first_pieces = read_first_pieces(
            self._mailbox_id, [self._uids[key][0] for key, _ in keyed if key in self._uids]
        )
        for key, body in keyed:
            if not self._has(key, body, first_pieces):
                self._unstored[body] = key
                self._unstored_by_key[key].append(body)
        return list(self._unstored)

    def stored(self, uids: Sequence[int]) -> None:
        """What `only_new` gave has these uids now."""
        for key, uid in zip(self._unstored.values(), uids, strict=True):
            self._add(key, uid)
        self._forget_unstored()

    def _forget_unstored(self) -> None:
        self._unstored.clear()
        self._unstored_by_key.clear()

    def _add(self, key: int, uid: int) -> None:
        self._uids.setdefault(key, []).append(uid)

    def _has(self, key: int, body: Body, first_pieces: dict[int, bytes]) -> bool:
        if any(_same(body.pieces(), other.pieces()) for other in self._unstored_by_key.get(key, ())):
            return True
        return any(self._is_stored_as(uid, body, first_pieces) for uid in self._uids.get(key, ()))

    def _is_stored_as(self, uid: int, body: Body, first_pieces: dict[int, bytes]) -> bool:
        first = first_pieces.get(uid) or read_first_pieces(self._mailbox_id, [uid]).get(uid)
        stored = read_pieces(self._mailbox_id, uid, wire_octets=body.wire_octets, first=first)
        try:
            return _same(body.pieces(), stored)
        except ContentMissingError:  # purged, or restored under a new uid, since the uids were read
            return False


def _key(body: Body) -> int:
    """A number that equal messages have in common, and others hardly ever; made as that of a row."""
    return hash((body.envelope_fields().message_id, body.octets, body.wire_octets, body.header_octets))


def _same(first: Iterator[bytes], second: Iterator[bytes]) -> bool:
    """Whether two wire forms are equal; both are cut in the same places (mailstore.models.PIECE_OCTETS)."""
    return all(one == other for one, other in zip_longest(first, second))
