"""Which messages a mailbox has already, octet for octet, for imports that are to skip those.

Two messages are the same when their wire forms are. What the mailbox holds is looked up by a short key in memory, some
hundred octets a message; only what has the same key is read from the database and compared.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, zip_longest

from mailstore.delivery import Body
from mailstore.models import Content, Message


class KnownMessages:
    """The messages of one mailbox when this was made, its shelf included, and those stored by the caller since.

    The shelf counts because what its owner has fetched and deleted must not come back with the next import.
    """

    def __init__(self, mailbox_id: int) -> None:
        self._mailbox_id = mailbox_id
        self._uids: dict[int, tuple[int, ...]] = {}
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
        for body in bodies:
            key = hash((body.envelope_fields().message_id, body.octets, body.wire_octets, body.header_octets))
            if not self._has(key, body):
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
        self._uids[key] = (*self._uids.get(key, ()), uid)

    def _has(self, key: int, body: Body) -> bool:
        others = chain(
            (other.pieces() for other in self._unstored_by_key.get(key, ())),
            (self._pieces(uid) for uid in self._uids.get(key, ())),
        )
        return any(_same(body.pieces(), pieces) for pieces in others)

    def _pieces(self, uid: int) -> Iterator[bytes]:
        pieces = Content.objects.filter(mailbox_id=self._mailbox_id, uid=uid).values_list("octets", flat=True)
        for number in count():
            piece = pieces.filter(piece=number).first()
            if piece is None:
                return
            yield bytes(piece)


def _same(first: Iterator[bytes], second: Iterator[bytes]) -> bool:
    """Whether two wire forms are equal; both are cut in the same places (mailstore.models.PIECE_OCTETS)."""
    return all(one == other for one, other in zip_longest(first, second))
