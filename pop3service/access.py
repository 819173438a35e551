"""From a session's requests to the database: logins, locks, listings, pieces, deletions.

One Keeper per worker process owns what sessions share: the bridge, the door, the listings that were read before. One
Visit per connection carries out its session's requests, and frees the lock however the connection ends: by QUIT, by a
drop, by a drop while the login is still under way, with the database away (it tries until it is back).

Errors: a Refusal is for the client; anything else is ours, and the caller says [SYS/TEMP] and logs it.
"""

import asyncio
import functools
import logging
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar, get_args
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from accounts.activity import count
from accounts.asking import ask
from accounts.callers import Caller, Protocol
from accounts.door import Admission, Door, NotAdmittedError, ThrottledError
from accounts.models import LoginResult
from accounts.sasl import Proof, Question
from mailplatform.bridge import Bridge
from mailstore.locks import Lock, find_holders
from mailstore.maildrop import (
    CloseRequest,
    Listing,
    LockLostError,
    MaildropInconsistentError,
    MaildropInUseError,
    Opened,
    OpenedLatelyError,
    OpenRequest,
    close_maildrops,
    open_maildrops,
    read_listing,
)
from mailstore.rows import MailboxGoneError
from mailstore.surrogates import correct_surrogate, read_surrogates
from pop3service.listings import Listings
from pop3service.reading import ReadAhead, Reader, SessionListing, sound
from pop3service.sessions import Entry, Sessions
from pop3service.states import (
    Code,
    Ending,
    Finish,
    LoggedIn,
    ReadListing,
    ReadPiece,
    Refusal,
    Request,
    ShowAsStored,
    Tally,
)
from pop3service.surrogates import SurrogateReader, shown, shown_listing
from pop3service.words import _
from pop3service.workers import are_dead

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Deletions above this number are a batch of their own, so that other sessions do not wait for them.
MANY_DELETIONS = 1000
#: Seconds between tries to open a maildrop that is in use: a client that lost its connection is back at once.
IN_USE_WAITS = (0.05, 0.2, 0.5)
#: Seconds for which the refusal of a login that comes too soon is held back: who asks again at once waits for it.
REFUSAL_SECONDS = 1.0
#: Seconds between tries to free a lock while the database is away.
RELEASE_WAIT = 1.0

WRONG_LOGIN = _("wrong name or password: check both, the name is the full mail address")
_GONE = _("the connection has gone")
_COME_BACK = {
    LoginResult.THROTTLED: _("too many failed logins, try again in %(seconds)d seconds"),
    LoginResult.BUSY: _("too many logins at this moment, try again in %(seconds)d seconds"),
}


class Keeper:
    """What all sessions of one worker process share."""

    def __init__(self, *, bridge: Bridge, door: Door, worker: UUID) -> None:
        self.bridge = bridge
        self.door = door
        self.worker = worker
        self.listings = Listings()
        self.ahead = ReadAhead(bridge, self.start)
        self.sessions = Sessions()
        #: Logins under way per mailbox, and the locks that are held by visits or being freed.
        self.opening: Counter[int] = Counter()
        self.held: set[Lock] = set()
        self.loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def visit(self, address: str, tls: str) -> "Visit":
        """The visit of a connection from this address, under this version of TLS, which may be none."""
        return Visit(self, Caller(Protocol.POP3, address, tls))

    def release(self, opened: Opened) -> None:
        """Free a lock with nothing deleted, as soon as the database lets us."""
        self.start(self._release(opened.mailbox_id, opened.lock))

    def release_unknown(self, mailbox_id: int) -> None:
        """Free the lock that an opening may have taken whose answer was lost with a database connection."""
        self.start(self._release_unknown(mailbox_id))

    def start(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Run one request's work, which goes on to its end even where its visit is left."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Free what is held still. Every visit has been left before."""
        self._closing = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _release(self, mailbox_id: int, lock: Lock) -> None:
        request = CloseRequest(mailbox_id, lock)
        while True:
            try:
                await self.bridge.gather(close_maildrops, request)
            except LockLostError:
                logger.warning("the lock on maildrop %d had gone before it was freed", mailbox_id)
            except Exception:
                logger.exception("freeing the lock on maildrop %d failed", mailbox_id)
                if not self._closing:
                    await asyncio.sleep(RELEASE_WAIT)
                    continue
            self.held.discard(lock)
            return

    async def _release_unknown(self, mailbox_id: int) -> None:
        while not self._closing:
            await asyncio.sleep(RELEASE_WAIT)
            try:
                holder = await self.bridge.gather(find_holders, mailbox_id)
            except Exception:
                logger.exception("looking for a lock on maildrop %d failed", mailbox_id)
                continue
            # While somebody opens this maildrop it is not known whose the lock is; and they take one that is void.
            if holder is not None and not self.opening[mailbox_id] and self.is_void(holder):
                await self._release(mailbox_id, holder)
            return

    def is_void(self, holder: Lock) -> bool:
        """Whether a lock is ours and no visit knows of it: the answer to its opening was lost."""
        return holder.worker == self.worker and holder not in self.held


class Visit:
    """One connection's requests, and the lock it holds from the login to the end."""

    __slots__ = (
        "_added", "_asking", "_caller", "_entry", "_gone", "_keeper", "_listing", "_opened", "_reader", "_utf8",
    )  # fmt: skip

    _entry: Entry  # the session's record, from the login on

    def __init__(self, keeper: Keeper, caller: Caller) -> None:
        self._keeper = keeper
        self._caller = caller
        self._asking: asyncio.Task[Any] | None = None  # while a login is at the door
        self._opened: Opened | None = None
        self._listing: Listing | None = None  # as it is stored
        self._reader: Reader | SurrogateReader | None = None  # from the listing on
        self._added: dict[int, int] = {}  # by uid, octets that surrogates have more than their messages
        self._utf8 = False
        self._gone = False

    def carry_out(self, request: Request) -> Any:
        """The request's result where it is at hand, otherwise a future of it."""
        return _CARRIERS[type(request)](self, request)

    def encrypted(self, tls: str) -> None:
        """TLS has begun, of this version."""
        self._caller = Caller(self._caller.protocol, self._caller.address, tls)

    @property
    def name(self) -> tuple[int, int] | None:
        """The mailbox that is open, and the serial of its lock; None before the login and from QUIT on."""
        return (self._opened.mailbox_id, self._opened.lock.serial) if self._opened is not None else None

    def leave(self, ending: Ending, tally: Tally | None) -> None:
        """The connection has ended, at whatever moment. Frees the lock with nothing deleted unless QUIT has begun."""
        self._gone = True
        if self._asking is not None:
            self._asking.cancel()
        if self._reader is not None:
            self._reader.close()
        if (opened := self._take_opened()) is not None:
            self._keeper.sessions.end(self._entry, ending, tally)
            self._keeper.release(opened)

    def _take_opened(self) -> Opened | None:
        """The open maildrop, whose lock is now the caller's to free."""
        opened, self._opened = self._opened, None
        return opened

    # --- Login ---

    def _log_in(self, question: Question) -> "asyncio.Task[LoggedIn | Proof]":
        return self._keeper.start(self._come_in(question))

    async def _come_in(self, question: Question) -> LoggedIn | Proof:
        answer = await self._ask(question)
        if not isinstance(answer, Admission):
            return answer  # AUTH goes on with it
        opened = await self._take_lock(answer.mailbox_id, answer.policy.login_delay_seconds)
        seen = await self._as_seen(opened)
        if self._gone:
            self._keeper.release(opened)
            raise Refusal(_GONE)
        self._opened = opened
        login = question.login or answer.address  # a token may say by itself whose it is
        self._entry = self._keeper.sessions.begin(opened, self._caller, login, answer.app_password)
        count("logins")
        return LoggedIn(seen, answer.policy, answer.read_only)

    async def _ask(self, question: Question) -> Admission | Proof:
        """What the door answers, as long as the client waits for it."""
        if self._gone:
            raise Refusal(_GONE)
        self._asking = asyncio.current_task()
        try:
            return await self._let_in(question)
        except asyncio.CancelledError:
            if not self._gone:
                raise
            raise Refusal(_GONE) from None
        finally:
            self._asking = None

    async def _let_in(self, question: Question) -> Admission | Proof:
        """Whether the door lets in; nobody is told why it does not."""
        try:
            return await ask(self._keeper.door, self._caller, question)
        except NotAdmittedError:
            raise Refusal(WRONG_LOGIN, Code.AUTH) from None
        except ThrottledError as error:
            await asyncio.sleep(REFUSAL_SECONDS)
            # RFC 3206, 4: nothing is wrong with the password, so a client should not ask its user for another one.
            raise Refusal(_COME_BACK[error.reason], Code.SYS_TEMP, seconds=error.seconds) from None

    async def _take_lock(self, mailbox_id: int, login_delay: int) -> Opened:
        keeper = self._keeper
        keeper.opening[mailbox_id] += 1
        try:
            opened = await self._open(OpenRequest(mailbox_id, keeper.worker, login_delay=login_delay))
        except MailboxGoneError:
            raise Refusal(WRONG_LOGIN, Code.AUTH) from None
        except OpenedLatelyError as error:
            text = _("this mailbox was opened a moment ago, log in again in %(lasts)s")
            raise Refusal(text, Code.LOGIN_DELAY, lasts=math.ceil(error.seconds)) from None
        except (DatabaseError, InterfaceError):
            keeper.release_unknown(mailbox_id)
            raise
        finally:
            _count_down(keeper.opening, mailbox_id)
        keeper.held.add(opened.lock)
        return opened

    async def _open(self, request: OpenRequest) -> Opened:
        """Lock the maildrop; waits a moment for its holder, and takes it from a dead one."""
        mailbox_id = request.mailbox_id
        waits = iter(IN_USE_WAITS)
        while not self._gone:
            try:
                return await self._keeper.bridge.gather(open_maildrops, request)
            except MaildropInUseError as error:
                holder, since = error.holder, error.since
            if await self._is_void(mailbox_id, holder) and request.take_from != holder:
                logger.info("maildrop %d: its lock is taken from the dead session %s", mailbox_id, holder)
                request = replace(request, take_from=holder)
            elif (wait := next(waits, None)) is not None:
                await asyncio.sleep(wait)
            else:
                text = _("another session has had this mailbox open for %(lasts)s, try again when it has ended")
                raise Refusal(text, Code.IN_USE, lasts=(timezone.now() - since).total_seconds())
        raise Refusal(_GONE)

    async def _is_void(self, mailbox_id: int, holder: Lock) -> bool:
        """Whether nobody is behind a lock any more."""
        keeper = self._keeper
        if holder.worker != keeper.worker:
            return await keeper.bridge.gather(are_dead, holder.worker)
        return keeper.opening[mailbox_id] == 1 and keeper.is_void(holder)

    async def _as_seen(self, opened: Opened) -> Opened:
        """The maildrop as the session sees it: without UTF8, with surrogates in the place of some messages."""
        if self._utf8 or not opened.has_surrogates:
            return opened
        try:
            self._added = await self._keeper.bridge.run(read_surrogates, opened)
        except Exception:
            self._keeper.release(opened)
            raise
        return shown(opened, self._added)

    def _show_as_stored(self, _: ShowAsStored) -> None:
        self._utf8 = True

    # --- Reading ---

    def _read_listing(self, _: ReadListing) -> "SessionListing | asyncio.Task[SessionListing]":
        opened = self._open_maildrop()
        listing = self._keeper.listings.get(opened)
        if listing is None:
            return self._keeper.start(self._fetch_listing(opened))
        return self._begin_reading(opened.mailbox_id, listing)

    async def _fetch_listing(self, opened: Opened) -> SessionListing:
        known = self._keeper.listings.earlier(opened)
        try:
            listing = await self._keeper.bridge.run(read_listing, opened, known)
        except MaildropInconsistentError:
            raise Refusal(_("this mailbox was repaired just now, log in again"), Code.SYS_TEMP, ends=True) from None
        self._keeper.listings.put(opened, listing)
        return self._begin_reading(opened.mailbox_id, listing)

    def _begin_reading(self, mailbox_id: int, listing: Listing) -> SessionListing:
        """From here on messages can be read; answers the listing as the session sees it."""
        keeper = self._keeper
        self._listing = listing
        reader: Reader | SurrogateReader = Reader(keeper.ahead, mailbox_id, listing)
        if self._added:
            correct = functools.partial(keeper.bridge.run, correct_surrogate, mailbox_id)
            shown = shown_listing(listing, self._added)
            reader = SurrogateReader(shown, reader, self._added, start=keeper.start, correct=correct)
        self._reader = reader
        return reader

    def _read_piece(self, request: ReadPiece) -> "bytes | asyncio.Future[Any]":
        self._open_maildrop()
        if self._reader is None:
            raise RuntimeError("a message is read before the listing that names it")
        return self._reader.read(request)

    # --- The end ---

    def _finish(self, request: Finish) -> "asyncio.Task[None]":
        return self._keeper.start(self._close(request))

    async def _close(self, request: Finish) -> None:
        keeper = self._keeper
        opened = self._open_maildrop()
        self._opened = None  # from here on a dropped connection changes nothing
        retrieved = self._listing.unmarked(request.retrieved) if self._listing else []
        closing = CloseRequest(opened.mailbox_id, opened.lock, retrieved, request.deleted)
        try:
            if len(request.deleted) > MANY_DELETIONS:
                closed = sound((await keeper.bridge.run(close_maildrops, [closing]))[0])
            else:
                closed = await keeper.bridge.gather(close_maildrops, closing)
        except LockLostError:
            keeper.sessions.end(self._entry, Ending.FAILED, request.tally)
            keeper.held.discard(opened.lock)
            text = _("this session had lost its mailbox to another one, nothing was deleted: log in again")
            raise Refusal(text, Code.SYS_TEMP) from None
        except Exception:
            keeper.sessions.end(self._entry, Ending.FAILED, request.tally)
            keeper.release(opened)
            raise
        if self._listing:
            self._listing.mark(retrieved)
        keeper.sessions.end(self._entry, Ending.QUIT, request.tally, closed.messages)
        keeper.held.discard(opened.lock)

    def _open_maildrop(self) -> Opened:
        if self._opened is None:
            raise Refusal(_("this session is over, log in again"), Code.SYS_TEMP, ends=True)
        return self._opened


_CARRIERS: dict[type[Request], Callable[[Visit, Any], Any]] = {
    **dict.fromkeys(get_args(Question), Visit._log_in),
    ShowAsStored: Visit._show_as_stored,
    ReadListing: Visit._read_listing,
    ReadPiece: Visit._read_piece,
    Finish: Visit._finish,
}


def _count_down(counter: Counter[int], key: int) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
