"""Reading ahead: a session that retrieves one message after the other finds the next ones in memory.

One read of many small messages costs hardly more than a read of one, so a Reader reads a window of messages behind
the one that is asked for: a small window at first, a larger one for each that was used up in order. What lies in
memory is bounded for the whole process; when it is full, the Reader that was used least lately gives its window up.
"""

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from mailplatform.bridge import Bridge
from mailstore.contents import read_first_pieces
from mailstore.maildrop import Listing, MessageGoneError, PieceRequest, read_pieces
from pop3service.states import ReadPiece

Result = TypeVar("Result")

#: Messages up to this many octets are read together with others; larger ones piece by piece, each alone.
SMALL_OCTETS = 64 * 1024
#: Octets of the first window behind a message, and of the largest.
FIRST_WINDOW = 64 * 1024
LAST_WINDOW = 512 * 1024
#: Messages of a window, however small they are.
WINDOW_MESSAGES = 200
#: Octets of all windows of a process.
AHEAD_OCTETS = 64 * 1024 * 1024
#: Pieces of large messages that are read at the same time in one process.
LARGE_READS = 4


class ReadAhead:
    """What the Readers of one process share: the way to the database and the bound on their memory."""

    def __init__(self, bridge: Bridge, start: Callable[[Coroutine[Any, Any, bytes]], "asyncio.Task[bytes]"]) -> None:
        self.bridge = bridge
        self.start = start
        self.large_reads = asyncio.Semaphore(LARGE_READS)
        self._held: OrderedDict[Reader, int] = OrderedDict()
        self._octets = 0

    def note(self, reader: "Reader", octets: int) -> None:
        """The reader was used and holds so many octets now."""
        self._octets += octets - self._held.pop(reader, 0)
        if octets:
            self._held[reader] = octets
        while self._octets > AHEAD_OCTETS:
            next(iter(self._held)).drop()


class Reader:
    """The messages of one session, read in whatever order its client asks for them."""

    __slots__ = ("_ahead", "_closed", "_held", "_listing", "_mailbox_id", "_next_index", "_shared", "_window")

    def __init__(self, shared: ReadAhead, mailbox_id: int, listing: Listing) -> None:
        self._shared = shared
        self._mailbox_id = mailbox_id
        self._listing = listing
        self._ahead: dict[int, bytes] = {}
        self._held = 0
        self._closed = False
        self._window = FIRST_WINDOW
        self._next_index = 0  # the message behind all that were read: asking for it is reading in order

    def read(self, wanted: ReadPiece) -> "bytes | asyncio.Future[Any]":
        """The octets where they are in memory, otherwise a future of them."""
        octets = self._ahead.pop(wanted.uid, None)
        if octets is not None:
            self._held -= len(octets)
            self._shared.note(self, self._held)
            return octets
        request = PieceRequest(self._mailbox_id, wanted.uid, wanted.piece)
        if wanted.wire_octets > SMALL_OCTETS:
            return self._shared.start(self._read_large(request))
        uids = self._window_behind(wanted.uid)
        if len(uids) > 1:
            return self._shared.start(self._read_window(request, uids))
        return self._shared.bridge.gather(read_pieces, request)

    def drop(self) -> None:
        """Give up what was read ahead."""
        self._ahead = {}
        self._held = 0
        self._shared.note(self, 0)

    def close(self) -> None:
        """The session has ended; what is still being read is not kept."""
        self._closed = True
        self.drop()

    async def _read_large(self, request: PieceRequest) -> bytes:
        async with self._shared.large_reads:
            return sound((await self._shared.bridge.run(read_pieces, [request]))[0])

    async def _read_window(self, request: PieceRequest, uids: list[int]) -> bytes:
        found = await self._shared.bridge.run(read_first_pieces, self._mailbox_id, uids)
        octets = found.pop(request.uid, None)
        if not self._closed:
            self._ahead = found
            self._held = sum(map(len, found.values()))
            self._shared.note(self, self._held)
        if octets is None:
            raise MessageGoneError(request)
        return octets

    def _window_behind(self, uid: int) -> list[int]:
        """This message and the small ones behind it, where the session reads in order; otherwise this one alone."""
        listing = self._listing
        index = bisect_left(listing.uids, uid)
        if index != self._next_index:
            self._next_index, self._window = index + 1, FIRST_WINDOW
            return [uid]
        end, left = index + 1, self._window
        while end < min(len(listing), index + WINDOW_MESSAGES) and listing.wire_octets[end] <= SMALL_OCTETS:
            left -= listing.wire_octets[end]
            if left < 0:
                break
            end += 1
        self._next_index, self._window = end, min(self._window * 2, LAST_WINDOW)
        return list(listing.uids[index:end])


def sound(answer: Result | Exception) -> Result:
    """One answer of a batch: a result, or the exception that stands for it."""
    if isinstance(answer, Exception):
        raise answer
    return answer
