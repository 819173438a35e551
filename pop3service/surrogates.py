"""A maildrop as a client sees it that did not say UTF8 (RFC 6856, 2.1): surrogates in the place of some messages.

Their octets were counted when they came in, so that STAT, LIST, RETR and TOP agree without a message being read; the
surrogates themselves are made while they are sent (mailstore.downgrade). The session knows nothing of them, and one
without any comes to none of this.
"""

import logging
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol

from mailstore.downgrade import Downgrader
from mailstore.maildrop import Listing, Opened
from pop3service.reading import SessionListing
from pop3service.states import Code, ReadPiece, Refusal
from pop3service.words import _

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where pieces come from: a pop3service.reading.Reader."""

    def at_hand(self, index: int) -> bytes | None: ...
    def read(self, wanted: ReadPiece) -> Any: ...
    def close(self) -> None: ...


def shown(opened: Opened, added: Mapping[int, int]) -> Opened:
    """The maildrop with the octets of its surrogates; `added` is mailstore.surrogates.read_surrogates's."""
    return opened._replace(octets=opened.octets + sum(added.values()))


def shown_listing(listing: Listing, added: Mapping[int, int]) -> Listing:
    """The listing with the octets of surrogates; body octets are the same, so all three grow alike."""

    def grown(octets: "array[int]") -> "array[int]":
        return array("Q", [size + added.get(uid, 0) for uid, size in zip(listing.uids, octets, strict=True)])

    return replace(
        listing,
        octets=grown(listing.octets),
        wire_octets=grown(listing.wire_octets),
        header_octets=grown(listing.header_octets),
    )


class SurrogateReader(SessionListing):
    """Reads the messages of one session, surrogates in the place of those that have one."""

    __slots__ = ("_added", "_correct", "_downgrader", "_left", "_source", "_start", "_stored_piece")

    def __init__(
        self,
        shown: Listing,
        source: Source,
        added: Mapping[int, int],
        *,
        start: Callable[[Coroutine[Any, Any, bytes]], Any],
        correct: Callable[[int, int], Awaitable[None]],
    ) -> None:
        """`shown` is the listing with the surrogates' octets; `start` makes a future of work; `correct` stores for a
        uid what should have been its `added`."""
        super().__init__(shown)
        self._source = source
        self._added = added
        self._start = start
        self._correct = correct
        self._downgrader = Downgrader()
        self._stored_piece = 0
        self._left = 0  # octets of the stored message that were not read yet

    def at_hand(self, index: int) -> bytes | None:
        """No surrogate is."""
        return None if self.uids[index] in self._added else self._source.at_hand(index)

    def read(self, wanted: ReadPiece) -> Any:
        added = self._added.get(wanted.uid)
        return self._source.read(wanted) if added is None else self._start(self._read(wanted, added))

    def close(self) -> None:
        self._source.close()

    async def _read(self, wanted: ReadPiece, added: int) -> bytes:
        """The next octets of a surrogate; the last call hands out all that is left."""
        stored_octets = wanted.wire_octets - added
        if wanted.piece == 0:
            self._downgrader, self._stored_piece, self._left = Downgrader(), 0, stored_octets
        octets = b""
        while not octets and self._left > 0:
            piece = self._source.read(ReadPiece(wanted.uid, self._stored_piece, stored_octets))
            piece = piece if isinstance(piece, bytes) else await piece
            self._stored_piece += 1
            self._left -= len(piece)
            octets = self._downgrader.feed(piece)
            if self._left <= 0:
                octets += self._downgrader.finish()
        if not self._downgrader.in_header and self._downgrader.added != added:
            logger.error("the surrogate of message %d has other octets than were counted", wanted.uid)
            await self._correct(wanted.uid, self._downgrader.added)
            raise Refusal(_("this mailbox was repaired just now, log in again"), Code.SYS_TEMP, ends=True)
        return octets
