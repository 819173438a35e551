"""One maildrop that a session has open, from the login to the end: its lock, its listing, its messages, its record."""

import asyncio
import functools
from array import array
from collections.abc import Callable
from typing import Any

from accounts.callers import Caller
from mailstore.maildrop import (
    Closed,
    CloseRequest,
    Listing,
    LockLostError,
    MaildropInconsistentError,
    Opened,
    OpenRequest,
    close_maildrops,
    open_maildrops,
    read_listing,
)
from mailstore.surrogates import correct_surrogate, read_surrogates
from pop3service.ending import Named
from pop3service.entering import come_and_go
from pop3service.keeper import FREED_SECONDS, Keeper
from pop3service.reading import Reader, SessionListing, sound
from pop3service.sessions import Entry
from pop3service.states import Code, Ending, Finish, ReadPiece, Refusal, Tally
from pop3service.surrogates import SurrogateReader, shown, shown_listing
from pop3service.words import _

#: Above this number of messages that are deleted or marked, an end is a batch of its own, for which no other waits.
MANY_CHANGES = 1000

LOST = _("this session had lost its mailbox to another one, nothing was deleted: log in again")


async def open_single(keeper: Keeper, mailbox_id: int, login_delay: int, gone: Callable[[], bool]) -> "Single":
    """Lock a maildrop for a session. Raises Refusal."""
    opened = await keeper.open(
        (mailbox_id,),
        lambda dead: keeper.bridge.gather(
            open_maildrops, OpenRequest(mailbox_id, keeper.worker, dead.get(mailbox_id), login_delay)
        ),
        gone,
    )
    return Single(keeper, opened)


class Single:
    """An open maildrop. Ends with `finish`, `leave` or `release`."""

    __slots__ = ("_added", "_entry", "_keeper", "_reader", "names", "opened", "stored", "tally")

    _entry: Entry  # the session's record, from `begin` on

    def __init__(self, keeper: Keeper, opened: Opened) -> None:
        self._keeper = keeper
        self.opened = opened
        #: By which the session is asked to end.
        self.names: tuple[Named, ...] = ((opened.mailbox_id, opened.lock.serial),)
        #: The listing as it is stored, from `read_listing` on.
        self.stored: Listing | None = None
        self._reader: Reader | SurrogateReader | None = None  # from the listing on
        self._added: dict[int, int] = {}  # by uid, octets that surrogates have more than their messages
        #: What the session has sent of it.
        self.tally = Tally()
        keeper.held.update(self.names)

    async def show(self, *, as_stored: bool) -> Opened:
        """The maildrop as the session sees it: without UTF8, with surrogates in the place of some messages."""
        if as_stored or not self.opened.has_surrogates:
            return self.opened
        self._added = await self._keeper.bridge.run(read_surrogates, self.opened)
        return shown(self.opened, self._added)

    def begin(self, caller: Caller, login: str, app_password: str) -> None:
        """The session is logged in."""
        self._entry = self._keeper.sessions.begin(self.opened, caller, login, app_password)

    # --- Reading ---

    def read_listing(self) -> "SessionListing | asyncio.Task[SessionListing]":
        """From here on messages can be read; answers the listing as the session sees it."""
        listing = self._keeper.listings.get(self.opened)
        return self._keeper.start(self._fetch_listing()) if listing is None else self._begin_reading(listing)

    async def _fetch_listing(self) -> SessionListing:
        known = self._keeper.listings.take(self.opened)
        try:
            listing = await self._keeper.bridge.run(read_listing, self.opened, known)
        except MaildropInconsistentError:
            raise Refusal(_("this mailbox was repaired just now, log in again"), Code.SYS_TEMP, ends=True) from None
        self._keeper.listings.put(self.opened, listing)
        return self._begin_reading(listing)

    def _begin_reading(self, listing: Listing) -> SessionListing:
        keeper, mailbox_id = self._keeper, self.opened.mailbox_id
        self.stored = listing
        reader: Reader | SurrogateReader = Reader(keeper.ahead, mailbox_id, listing)
        if self._added:
            correct = functools.partial(keeper.bridge.run, correct_surrogate, mailbox_id)
            shown = shown_listing(listing, self._added)
            reader = SurrogateReader(shown, reader, self._added, start=keeper.start, correct=correct)
        self._reader = reader
        return reader

    def read_piece(self, request: ReadPiece) -> "bytes | asyncio.Future[Any]":
        """The octets where they are at hand, otherwise a future of them."""
        if self._reader is None:
            raise RuntimeError("a message is read before the listing that names it")
        return self._reader.read(request)

    # --- The end ---

    def finish(self, request: Finish) -> "asyncio.Future[None] | None":
        """QUIT: delete, note what was retrieved, free the lock. A Refusal where nothing of that was done.

        Where there is nothing to write the client need not wait until its lock is free, nor hear of it where that had
        gone: it lost nothing. Whoever opens the maildrop before waits for it (pop3service.keeper.IN_USE_WAITS).
        """
        self.stop_reading()
        closing, bridge = self.closing(request), self._keeper.bridge
        if not (closing.deleted or closing.retrieved):
            self._keeper.sessions.end(self._entry, Ending.QUIT, self.tally)
            self._keeper.released(closing, bridge.gather(come_and_go, closing, patience=FREED_SECONDS))
            return None
        if len(closing.deleted) + len(closing.retrieved) > MANY_CHANGES:
            asked = bridge.run(_close_alone, closing)
        else:
            asked = bridge.gather(close_maildrops, closing)
        return self._keeper.then(asked, functools.partial(self._finished, closing))

    def _finished(self, closing: CloseRequest, asked: "asyncio.Future[Closed]") -> None:
        try:
            closed = asked.result()
        except LockLostError:
            self.failed(lost=True)
            raise Refusal(LOST, Code.SYS_TEMP) from None
        except Exception:
            self.failed()
            raise
        self.closed(closing, closed)

    def closing(self, request: Finish) -> CloseRequest:
        """What is to be done at the end; what is known to be marked as retrieved is not marked again."""
        retrieved = self.stored.unmarked(request.retrieved) if self.stored else []
        return CloseRequest(self.opened.mailbox_id, self.opened.lock, retrieved, request.deleted)

    def closed(self, closing: CloseRequest, closed: Closed) -> None:
        """It was done."""
        if self.stored:
            self.stored.mark(closing.retrieved)
            self.stored.gone = array("Q", closing.deleted)
        self._keeper.sessions.end(self._entry, Ending.QUIT, self.tally, closed.messages)
        self._keeper.held.difference_update(self.names)

    def failed(self, *, lost: bool = False) -> None:
        """It was not; the lock is to be freed still, unless it is `lost`."""
        self._keeper.sessions.end(self._entry, Ending.FAILED, self.tally)
        if lost:
            self._keeper.held.difference_update(self.names)
        else:
            self.release()

    def leave(self, ending: Ending) -> None:
        """The connection has ended without QUIT: nothing is deleted."""
        self.stop_reading()
        self._keeper.sessions.end(self._entry, ending, self.tally)
        self.release()

    def release(self) -> None:
        """Free the lock with nothing deleted, as soon as the database lets us."""
        self._keeper.release(self.opened)

    def stop_reading(self) -> None:
        """Give up what was read ahead, and what is being read."""
        if self._reader is not None:
            self._reader.close()


def _close_alone(closing: CloseRequest) -> Closed:
    return sound(close_maildrops([closing])[0])
