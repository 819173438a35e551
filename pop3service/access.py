"""From a session's requests to the database: logins, locks, listings, pieces, deletions.

One Keeper per worker process owns what sessions share: the bridge, the password threads, the listings that were read
before. One Visit per connection carries out its session's requests, and frees the lock however the connection ends:
by QUIT, by a drop, by a drop while the login is still under way, with the database away (it tries until it is back).

Errors: a Refusal is for the client; anything else is ours, and the caller says [SYS/TEMP] and logs it.
"""

import asyncio
import logging
import os
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

from accounts.activity import count
from accounts.lookup import Credential, find_credentials
from accounts.passwords import PasswordChecker
from mailplatform.bridge import Bridge
from mailstore.locks import Lock
from mailstore.maildrop import (
    CloseRequest,
    Listing,
    LockLostError,
    MaildropInconsistentError,
    MaildropInUseError,
    Opened,
    OpenRequest,
    PieceRequest,
    close_maildrops,
    open_maildrops,
    read_listing,
    read_pieces,
)
from mailstore.rows import MailboxGoneError
from pop3service.states import Authenticate, Code, Finish, ReadListing, ReadPiece, Refusal, Request
from pop3service.workers import are_dead

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Messages up to this many octets are read together with others; larger ones piece by piece, each alone.
SMALL_OCTETS = 64 * 1024
#: Pieces of large messages that are read at the same time in one process.
LARGE_READS = 4
#: What a session that reads one message after the other gets ahead of time: messages, and octets together.
AHEAD_MESSAGES = 16
AHEAD_OCTETS = 64 * 1024
#: Messages in all the listings that are remembered (32 octets each, more with imported unique-ids).
REMEMBERED_MESSAGES = 1_000_000
#: Deletions above this number are a batch of their own, so that other sessions do not wait for them.
MANY_DELETIONS = 1000
#: Seconds between tries to open a maildrop that is in use: a client that lost its connection is back at once.
IN_USE_WAITS = (0.05, 0.2, 0.5)
#: Seconds between tries to free a lock while the database is away.
RELEASE_WAIT = 1.0

WRONG_LOGIN = "wrong name or password: check both, the name is the full mail address"


class Keeper:
    """What all sessions of one worker process share."""

    def __init__(self, *, bridge: Bridge, checker: PasswordChecker, worker: UUID) -> None:
        self.bridge = bridge
        self.checker = checker
        self.worker = worker
        self.listings = Listings(REMEMBERED_MESSAGES)
        self.large_reads = asyncio.Semaphore(LARGE_READS)
        #: Logins under way per mailbox, and the locks that are held by visits or being freed.
        self.opening: Counter[int] = Counter()
        self.held: set[Lock] = set()
        self.loop = asyncio.get_running_loop()
        self._hashing = ThreadPoolExecutor(max_workers=os.cpu_count() or 2, thread_name_prefix="password")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def visit(self) -> "Visit":
        return Visit(self)

    async def fits(self, credential: Credential | None, password: str) -> bool:
        """Whether the password opens the mailbox; for nobody and for a suspended one no, after as long a time."""
        encoded = credential.encoded if credential is not None and credential.is_active else None
        if encoded is not None and self.checker.recall(encoded, password):
            return True
        return await self.loop.run_in_executor(self._hashing, self.checker.verify, encoded, password)

    def release(self, opened: Opened) -> None:
        """Free a lock with nothing deleted, as soon as the database lets us."""
        self.start(self._release(opened))

    def start(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Run one request's work, which goes on to its end even where its visit is left."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Free what is held still. Every visit has been left before."""
        self._closing = True
        self._hashing.shutdown(wait=False, cancel_futures=True)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _release(self, opened: Opened) -> None:
        request = CloseRequest(opened.mailbox_id, opened.lock)
        while True:
            try:
                await self.bridge.gather(close_maildrops, request)
            except LockLostError:
                logger.warning("the lock on maildrop %d had gone before it was freed", opened.mailbox_id)
            except Exception:
                logger.exception("freeing the lock on maildrop %d failed", opened.mailbox_id)
                if not self._closing:
                    await asyncio.sleep(RELEASE_WAIT)
                    continue
            self.held.discard(opened.lock)
            return


class Listings:
    """Listings that were read before, by mailbox: with an equal version they are equal still."""

    def __init__(self, messages: int) -> None:
        self._most = messages
        self._messages = 0
        self._known: OrderedDict[int, tuple[int, Listing]] = OrderedDict()

    def get(self, opened: Opened) -> Listing | None:
        known = self._known.get(opened.mailbox_id)
        if known is None or known[0] != opened.version:
            return None
        self._known.move_to_end(opened.mailbox_id)
        return known[1]

    def put(self, opened: Opened, listing: Listing) -> None:
        self._forget(opened.mailbox_id)
        self._known[opened.mailbox_id] = opened.version, listing
        self._messages += len(listing)
        while self._messages > self._most:
            self._forget(next(iter(self._known)))

    def _forget(self, mailbox_id: int) -> None:
        if (known := self._known.pop(mailbox_id, None)) is not None:
            self._messages -= len(known[1])


class Visit:
    """One connection's requests, and the lock it holds from the login to the end."""

    __slots__ = ("_ahead", "_gone", "_keeper", "_listing", "_next_index", "_opened")

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._opened: Opened | None = None
        self._listing: Listing | None = None
        self._gone = False
        self._ahead: dict[int, bytes] = {}
        self._next_index = 0  # the message that follows the last one read: asking for it starts reading ahead

    def carry_out(self, request: Request) -> Any:
        """The request's result where it is at hand, otherwise a future of it."""
        return _CARRIERS[type(request)](self, request)

    def leave(self) -> None:
        """The connection has ended, at whatever moment. Frees the lock with nothing deleted unless QUIT has begun."""
        self._gone = True
        self._ahead.clear()
        if (opened := self._take_opened()) is not None:
            self._keeper.release(opened)

    def _take_opened(self) -> Opened | None:
        """The open maildrop, whose lock is now the caller's to free."""
        opened, self._opened = self._opened, None
        return opened

    # --- Login ---

    def _authenticate(self, request: Authenticate) -> "asyncio.Task[Opened]":
        return self._keeper.start(self._log_in(request))

    async def _log_in(self, request: Authenticate) -> Opened:
        keeper = self._keeper
        # No mailbox's name holds a NUL, and PostgreSQL takes none in a parameter.
        known = "\0" not in request.login
        credential = await keeper.bridge.gather(find_credentials, request.login) if known else None
        if not await keeper.fits(credential, request.password) or credential is None:
            raise Refusal(WRONG_LOGIN, Code.AUTH)
        keeper.opening[credential.mailbox_id] += 1
        try:
            opened = await self._open(credential.mailbox_id)
        except MailboxGoneError:
            raise Refusal(WRONG_LOGIN, Code.AUTH) from None
        finally:
            _count_down(keeper.opening, credential.mailbox_id)
        keeper.held.add(opened.lock)
        if self._gone:
            keeper.release(opened)
            raise Refusal("the connection has gone")
        self._opened = opened
        count("logins")
        return opened

    async def _open(self, mailbox_id: int) -> Opened:
        """Lock the maildrop; waits a moment for its holder, and takes it from a dead one."""
        gather, worker = self._keeper.bridge.gather, self._keeper.worker
        request = OpenRequest(mailbox_id, worker)
        waits = iter(IN_USE_WAITS)
        while not self._gone:
            try:
                return await gather(open_maildrops, request)
            except MaildropInUseError as error:
                holder = error.holder
            if await self._is_void(mailbox_id, holder) and request.take_from != holder:
                logger.info("maildrop %d: its lock is taken from the dead session %s", mailbox_id, holder)
                request = OpenRequest(mailbox_id, worker, take_from=holder)
            elif (wait := next(waits, None)) is not None:
                await asyncio.sleep(wait)
            else:
                break
        raise Refusal("another session has this mailbox open, try again when it has ended", Code.IN_USE)

    async def _is_void(self, mailbox_id: int, holder: Lock) -> bool:
        """Whether nobody is behind a lock any more."""
        keeper = self._keeper
        if holder.worker != keeper.worker:
            return await keeper.bridge.gather(are_dead, holder.worker)
        # One of ours that no visit knows: the answer to its opening was lost with a database connection.
        return holder not in keeper.held and keeper.opening[mailbox_id] == 1

    # --- Reading ---

    def _read_listing(self, _: ReadListing) -> "Listing | asyncio.Task[Listing]":
        opened = self._open_maildrop()
        listing = self._keeper.listings.get(opened)
        if listing is None:
            return self._keeper.start(self._fetch_listing(opened))
        self._listing = listing
        return listing

    async def _fetch_listing(self, opened: Opened) -> Listing:
        try:
            listing = await self._keeper.bridge.run(read_listing, opened)
        except MaildropInconsistentError:
            raise Refusal("this mailbox was repaired just now, log in again", Code.SYS_TEMP, ends=True) from None
        self._keeper.listings.put(opened, listing)
        self._listing = listing
        return listing

    def _read_piece(self, request: ReadPiece) -> "bytes | asyncio.Future[Any]":
        if (octets := self._ahead.pop(request.uid, None)) is not None:
            return octets
        mailbox_id = self._open_maildrop().mailbox_id
        wanted = PieceRequest(mailbox_id, request.uid, request.piece)
        if request.wire_octets > SMALL_OCTETS:
            return self._keeper.start(self._read_large(wanted))
        ahead = self._uids_ahead(request)
        if ahead:
            wanted_all = [wanted, *(PieceRequest(mailbox_id, uid, 0) for uid in ahead)]
            return self._keeper.start(self._read_with_next(wanted_all))
        return self._keeper.bridge.gather(read_pieces, wanted)

    async def _read_large(self, wanted: PieceRequest) -> bytes:
        async with self._keeper.large_reads:
            return _sound((await self._keeper.bridge.run(read_pieces, [wanted]))[0])

    async def _read_with_next(self, wanted: list[PieceRequest]) -> bytes:
        first, *others = await self._keeper.bridge.run(read_pieces, wanted)
        if not self._gone:
            self._ahead = {
                request.uid: octets
                for request, octets in zip(wanted[1:], others, strict=True)
                if isinstance(octets, bytes)
            }
        return _sound(first)

    def _uids_ahead(self, request: ReadPiece) -> list[int]:
        """The small messages behind this one, where the session reads them in order."""
        listing = self._listing
        if listing is None:
            return []
        index = bisect_left(listing.uids, request.uid)
        in_order, self._next_index = index == self._next_index, index + 1
        uids: list[int] = []
        if in_order:
            left = AHEAD_OCTETS
            for at in range(index + 1, min(index + 1 + AHEAD_MESSAGES, len(listing))):
                left -= listing.wire_octets[at]
                if left < 0:
                    break
                uids.append(listing.uids[at])
                self._next_index = at + 1
        return uids

    # --- The end ---

    def _finish(self, request: Finish) -> "asyncio.Task[None]":
        return self._keeper.start(self._close(request))

    async def _close(self, request: Finish) -> None:
        keeper = self._keeper
        opened = self._open_maildrop()
        self._opened = None  # from here on a dropped connection changes nothing
        closing = CloseRequest(opened.mailbox_id, opened.lock, request.retrieved, request.deleted)
        try:
            if len(request.deleted) > MANY_DELETIONS:
                _sound((await keeper.bridge.run(close_maildrops, [closing]))[0])
            else:
                await keeper.bridge.gather(close_maildrops, closing)
        except LockLostError:
            keeper.held.discard(opened.lock)
            text = "this session had lost its mailbox to another one, nothing was deleted: log in again"
            raise Refusal(text, Code.SYS_TEMP) from None
        except Exception:
            keeper.release(opened)
            raise
        keeper.held.discard(opened.lock)

    def _open_maildrop(self) -> Opened:
        if self._opened is None:
            raise Refusal("this session is over, log in again", Code.SYS_TEMP, ends=True)
        return self._opened


_CARRIERS: dict[type[Request], Callable[[Visit, Any], Any]] = {
    Authenticate: Visit._authenticate,
    ReadListing: Visit._read_listing,
    ReadPiece: Visit._read_piece,
    Finish: Visit._finish,
}


def _sound(answer: Result | Exception) -> Result:
    """One answer of a batch: a result, or the exception that stands for it."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def _count_down(counter: Counter[int], key: int) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
