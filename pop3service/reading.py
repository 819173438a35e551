"""Reading ahead: a session that retrieves one message after the other finds the next ones in memory.

One read of many small messages costs hardly more than a read of one, so a Reader reads a window of messages behind
the one that is asked for: a small window at first, a larger one for each that was used up in order. Of a large message
it reads the next pieces together, where there is room. What lies in memory is bounded for the whole process; when it is
full, the Reader that was used least lately gives its window up.
"""

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from mailplatform.bridge import Bridge
from mailstore.contents import read_first_pieces, read_some_pieces
from mailstore.maildrop import Listing, MessageGoneError, PieceRequest, read_pieces
from pop3service.states import ReadPiece

Result = TypeVar("Result")

#: Messages up to this many octets are read together with others; larger ones alone, some pieces at a time.
SMALL_OCTETS = 64 * 1024
#: Octets of the first window behind a message, and of the largest.
FIRST_WINDOW = 128 * 1024
LAST_WINDOW = 512 * 1024
#: Messages of a window, however small they are.
WINDOW_MESSAGES = 200
#: Octets of all windows of a process.
AHEAD_OCTETS = 64 * 1024 * 1024
#: Reads of large messages at the same time in one process.
LARGE_READS = 4
#: Pieces of a large message, behind its first, that are read with one statement while less than so many octets lie in
#: all windows: one by one, each with a trip to the database's thread, takes a third longer.
LARGE_PIECES = 4
LARGE_AHEAD_OCTETS = AHEAD_OCTETS // 4


class ReadAhead:
    """What the Readers of one process share: the way to the database and the bound on their memory."""

    def __init__(self, bridge: Bridge, start: Callable[[Coroutine[Any, Any, bytes]], "asyncio.Task[bytes]"]) -> None:
        self.bridge = bridge
        self.start = start
        self.large_reads = asyncio.Semaphore(LARGE_READS)
        self._held: OrderedDict[Reader, int] = OrderedDict()
        self._octets = 0

    @property
    def roomy(self) -> bool:
        """Whether pieces of a large message may be read ahead. They never take another session's window away, since
        clients that are slow would then have the same pieces read again and again."""
        return self._octets < LARGE_AHEAD_OCTETS

    def note(self, reader: "Reader", octets: int) -> None:
        """The reader has read so many octets ahead, which count until it has used or dropped them all."""
        self._octets += octets - self._held.pop(reader, 0)
        if octets:
            self._held[reader] = octets
        while self._octets > AHEAD_OCTETS:
            next(iter(self._held)).drop()


class SessionListing:
    """The listing as a session sees it (pop3service.states.Listing), with what is at hand of its messages."""

    __slots__ = ("header_octets", "octets", "uids", "unique_ids", "wire_octets")

    def __init__(self, listing: Listing) -> None:
        self.uids: Sequence[int] = listing.uids
        self.octets: Sequence[int] = listing.octets
        self.wire_octets: Sequence[int] = listing.wire_octets
        self.header_octets: Sequence[int] = listing.header_octets
        self.unique_ids: Mapping[int, str] = listing.unique_ids

    def at_hand(self, index: int) -> bytes | None:
        """The whole wire form of a message that has been read ahead, given once."""
        raise NotImplementedError


class Reader(SessionListing):
    """The messages of one session, read in whatever order its client asks for them."""

    __slots__ = ("_ahead", "_closed", "_mailbox_id", "_next_index", "_shared", "_window")

    def __init__(self, shared: ReadAhead, mailbox_id: int, listing: Listing) -> None:
        super().__init__(listing)
        self._shared = shared
        self._mailbox_id = mailbox_id
        #: A small message by its uid, a piece of a large one by that and its number.
        self._ahead: dict[Any, bytes] = {}
        self._closed = False
        self._window = FIRST_WINDOW
        self._next_index = 0  # the message behind all that were read: asking for it is reading in order

    def at_hand(self, index: int) -> bytes | None:
        """A small message that was read ahead; it is given up here. Every RETR of most comes to this alone."""
        return self._take(self.uids[index])

    def read(self, wanted: ReadPiece) -> "bytes | asyncio.Future[Any]":
        """The octets where they are in memory, otherwise a future of them."""
        large = wanted.wire_octets > SMALL_OCTETS
        octets = self._take((wanted.uid, wanted.piece) if large else wanted.uid)
        if octets is not None:
            return octets
        if large:
            return self._shared.start(self._read_large(wanted.uid, wanted.piece))
        request = PieceRequest(self._mailbox_id, wanted.uid, wanted.piece)
        uids = self._window_behind(wanted.uid)
        if len(uids) > 1:
            return self._shared.start(self._read_window(request, uids))
        return self._shared.bridge.gather(read_pieces, request)

    def drop(self) -> None:
        """Give up what was read ahead."""
        self._ahead = {}
        self._shared.note(self, 0)

    def close(self) -> None:
        """The session has ended; what is still being read is not kept."""
        self._closed = True
        self.drop()

    def _take(self, key: int | tuple[int, int]) -> bytes | None:
        octets = self._ahead.pop(key, None)
        if octets is not None and not self._ahead:
            self._shared.note(self, 0)
        return octets

    async def _read_large(self, uid: int, piece: int) -> bytes:
        async with self._shared.large_reads:
            # The first is all that TOP wants, and that a client takes which does not read.
            count = LARGE_PIECES if piece and self._shared.roomy else 1
            found = await self._shared.bridge.run(read_some_pieces, self._mailbox_id, uid, piece, count)
        octets = found.pop(piece, None)
        if octets is None:
            raise MessageGoneError(uid, piece)
        if found:
            self._keep({(uid, number): each for number, each in found.items()})
        return octets

    async def _read_window(self, request: PieceRequest, uids: list[int]) -> bytes:
        found = await self._shared.bridge.run(read_first_pieces, self._mailbox_id, uids)
        octets = found.pop(request.uid, None)
        self._keep(found)
        if octets is None:
            raise MessageGoneError(request)
        return octets

    def _keep(self, found: dict[Any, bytes]) -> None:
        """Have these at hand, instead of those that were."""
        if not self._closed:
            self._ahead = found
            self._shared.note(self, sum(map(len, found.values())))

    def _window_behind(self, uid: int) -> list[int]:
        """This message and the small ones behind it, where the session reads in order; otherwise this one alone."""
        wire_octets = self.wire_octets
        index = bisect_left(self.uids, uid)
        if index != self._next_index:
            self._next_index, self._window = index + 1, FIRST_WINDOW
            return [uid]
        end, left = index + 1, self._window
        while end < min(len(wire_octets), index + WINDOW_MESSAGES) and wire_octets[end] <= SMALL_OCTETS:
            left -= wire_octets[end]
            if left < 0:
                break
            end += 1
        self._next_index, self._window = end, min(self._window * 4, LAST_WINDOW)
        return list(self.uids[index:end])


def sound(answer: Result | Exception) -> Result:
    """One answer of a batch: a result, or the exception that stands for it."""
    if isinstance(answer, Exception):
        raise answer
    return answer
