"""What the sessions of one worker process share: the bridge, the door, listings read before, and locks taken and freed.

A lock is freed however its session ends: by QUIT, by a drop, by a drop while the login is still under way, with the
database away (it is tried until it is back).

Errors: a Refusal is for the client; anything else is ours.
"""

import asyncio
import functools
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from accounts.door import Admission, Door
from mailplatform.bridge import Bridge
from mailstore.locks import Lock, find_holders
from mailstore.maildrop import (
    Closed,
    CloseRequest,
    LockLostError,
    MaildropInUseError,
    Opened,
    OpenedLatelyError,
    close_maildrops,
)
from mailstore.rows import MailboxGoneError
from mailstore.together import Order
from pop3service.ending import Named
from pop3service.listings import ORDERED_MESSAGES, Listings, Remembered
from pop3service.reading import ReadAhead
from pop3service.sessions import Sessions
from pop3service.states import Code, Refusal
from pop3service.words import _
from pop3service.workers import Pulse, are_dead, are_gone

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Seconds between tries to open a maildrop that is in use: a client that lost its connection is back at once, and one
#: that said QUIT to another worker may be before its lock is free.
IN_USE_WAITS = (0.02, 0.05, 0.2, 0.5)
#: Seconds within which a lock is freed that nobody waits for: with the logins that come until then.
FREED_SECONDS = 0.01
#: Seconds between tries to free a lock while the database is away.
RELEASE_WAIT = 1.0

WRONG_LOGIN = _("wrong name or password: check both, the name is the full mail address")
GONE = _("the connection has gone")

#: Opens maildrops, if need be from dead holders of their locks, which are given by mailbox.
Attempt = Callable[[Mapping[int, Lock]], Awaitable[Result]]
#: How each session that is logged in was let in, and all its names, by the first of them.
Admitted = dict[Named, tuple[Admission, tuple[Named, ...]]]


class Keeper:
    """What all sessions of one worker process share."""

    def __init__(self, *, bridge: Bridge, door: Door, worker: UUID) -> None:
        self.bridge = bridge
        self.door = door
        self.worker = worker
        self.listings = Listings(settings.POP3_LISTINGS_OCTETS)
        self.orders: Remembered[Order] = Remembered(ORDERED_MESSAGES)
        self.ahead = ReadAhead(bridge, self.start)
        self.sessions = Sessions()
        self.pulse = Pulse()
        #: Logins under way per mailbox, and the locks that are held by sessions or being freed. Those that were taken
        #: at the same moment have one serial, so the mailbox belongs to the name.
        self.opening: Counter[int] = Counter()
        self.held: set[Named] = set()
        self.admitted: Admitted = {}
        #: Logins that may have a lock already of which no session knows yet (pop3service.entering), and its mailbox.
        self.entering: dict[object, int] = {}
        self.loop = asyncio.get_running_loop()
        #: What `close` waits for.
        self._tasks: set[asyncio.Future[Any]] = set()
        self._closing = False
        self._cannot_free = False

    def start(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Run one request's work, which goes on to its end even where its session is left."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def then(
        self, asked: "asyncio.Future[Result]", make: "Callable[[asyncio.Future[Result]], Any]"
    ) -> "asyncio.Future[Any]":
        """A future of what `make` makes of an answer, which may be a future again: `start` without a task."""
        answer: asyncio.Future[Any] = self.loop.create_future()
        self._tasks.add(asked)

        def done(asked: "asyncio.Future[Any]") -> None:
            self._tasks.discard(asked)
            try:
                made = make(asked)
            except Exception as error:
                answer.set_exception(error)
            else:
                if isinstance(made, asyncio.Future):
                    made.add_done_callback(hand_on)
                else:
                    answer.set_result(made)

        def hand_on(made: "asyncio.Future[Any]") -> None:
            if made.cancelled():
                answer.cancel()
            elif (error := made.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(made.result())

        asked.add_done_callback(done)
        return answer

    async def close(self) -> None:
        """Free what is held still. Every session has been left before."""
        self._closing = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    # --- Taking locks -----------------------------------------------------------------------------------------

    async def open(
        self,
        mailbox_ids: Collection[int],
        attempt: Attempt[Result],
        gone: Callable[[], bool],
        addresses: Mapping[int, str] | None = None,
    ) -> Result:
        """What `attempt` opens; its locks are then `held`, which the caller sees to. `gone`: the client has left.

        `addresses`, of several mailboxes, are for saying which of them is in use.
        """
        self._count(mailbox_ids, 1)
        try:
            return await self._insist(attempt, gone, addresses or {})
        except MailboxGoneError:
            raise Refusal(WRONG_LOGIN, Code.AUTH) from None
        except OpenedLatelyError as error:
            text = _("this mailbox was opened a moment ago, log in again in %(lasts)s")
            raise Refusal(text, Code.LOGIN_DELAY, lasts=math.ceil(error.seconds)) from None
        except (DatabaseError, InterfaceError):
            # Locks may have been taken whose answer was lost with a database connection.
            for mailbox_id in mailbox_ids:
                self.release_unknown(mailbox_id)
            raise
        finally:
            self._count(mailbox_ids, -1)

    async def _insist(self, attempt: Attempt[Result], gone: Callable[[], bool], addresses: Mapping[int, str]) -> Result:
        """Try to open; waits a moment for who holds a lock, and takes it from the dead."""
        waits = iter(IN_USE_WAITS)
        dead: dict[int, Lock] = {}
        while not gone():
            try:
                return await attempt(dead)
            except MaildropInUseError as error:
                mailbox_id, holder, since = error.mailbox_id, error.holder, error.since
            if await self._is_void(mailbox_id, holder) and dead.get(mailbox_id) != holder:
                logger.info("maildrop %d: its lock is taken from the dead session %s", mailbox_id, holder)
                dead[mailbox_id] = holder
            elif (wait := next(waits, None)) is not None:
                await asyncio.sleep(wait)
            else:
                raise _in_use(addresses.get(mailbox_id), (timezone.now() - since).total_seconds())
        raise Refusal(GONE)

    async def _is_void(self, mailbox_id: int, holder: Lock) -> bool:
        """Whether nobody is behind a lock any more."""
        if holder.worker != self.worker:
            dead = await self.bridge.gather(are_dead, holder.worker)
            # Looked at behind the answer, which may have been long in coming.
            return dead and (self.pulse.is_steady() or await self.bridge.gather(are_gone, holder.worker))
        return self.opening[mailbox_id] == 1 and self._is_unknown(mailbox_id, holder)

    def _is_unknown(self, mailbox_id: int, holder: Lock) -> bool:
        """Whether a lock is ours and no session knows of it: the answer to its opening was lost."""
        if holder.worker != self.worker or mailbox_id in list(self.entering.values()):
            return False
        return (mailbox_id, holder.serial) not in self.held

    def _count(self, mailbox_ids: Collection[int], step: int) -> None:
        for mailbox_id in mailbox_ids:
            self.opening[mailbox_id] += step
            if not self.opening[mailbox_id]:
                del self.opening[mailbox_id]

    # --- Freeing locks ----------------------------------------------------------------------------------------

    def release(self, opened: Opened) -> None:
        """Free a lock with nothing deleted, as soon as the database lets us."""
        self.start(self._release(CloseRequest(opened.mailbox_id, opened.lock)))

    def released(self, request: CloseRequest, asked: "asyncio.Future[Closed]") -> None:
        """The same where that was asked for already."""
        self._tasks.add(asked)
        asked.add_done_callback(functools.partial(self._see_released, request))

    def _see_released(self, request: CloseRequest, asked: "asyncio.Future[Closed]") -> None:
        self._tasks.discard(asked)
        if asked.exception() is None:
            self._note_failure(None)
            self._let_go(request)
        else:
            self.start(self._release(request, asked))

    async def _release(self, request: CloseRequest, asked: "asyncio.Future[Closed] | None" = None) -> None:
        while True:
            try:
                await (asked or self.bridge.gather(close_maildrops, request))
            except LockLostError:
                logger.warning("the lock on maildrop %d had gone before it was freed", request.mailbox_id)
            except Exception as failure:
                self._note_failure(failure)
                if not self._closing:
                    asked = None
                    await asyncio.sleep(RELEASE_WAIT)
                    continue
            else:
                self._note_failure(None)
            self._let_go(request)
            return

    def _note_failure(self, failure: Exception | None) -> None:
        """All of them are tried again each second: it is logged when that begins, and when it is over."""
        if failure is not None and not self._cannot_free:
            logger.error("locks of maildrops cannot be freed, which is tried until they can be", exc_info=failure)
        elif failure is None and self._cannot_free:
            logger.warning("locks of maildrops can be freed again")
        self._cannot_free = failure is not None

    def _let_go(self, request: CloseRequest) -> None:
        self.held.discard((request.mailbox_id, request.lock.serial))

    def release_unknown(self, mailbox_id: int) -> None:
        """Free the lock that an opening may have taken whose answer was lost with a database connection."""
        self.start(self._release_unknown(mailbox_id))

    async def _release_unknown(self, mailbox_id: int) -> None:
        while not self._closing:
            await asyncio.sleep(RELEASE_WAIT)
            try:
                holder = await self.bridge.gather(find_holders, mailbox_id)
            except Exception as failure:
                self._note_failure(failure)
                continue
            self._note_failure(None)
            # While somebody opens this maildrop it is not known whose the lock is; and they take one that is void.
            if holder is not None and not self.opening[mailbox_id] and self._is_unknown(mailbox_id, holder):
                await self._release(CloseRequest(mailbox_id, holder))
            return


def _in_use(address: str | None, seconds: float) -> Refusal:
    """Another session has had a mailbox open for so long: the one of the login, or of several that of this address."""
    if address is None:
        text = _("another session has had this mailbox open for %(lasts)s, try again when it has ended")
        return Refusal(text, Code.IN_USE, lasts=seconds)
    text = _("another session has had %(mailbox)s open for %(lasts)s, try again when it has ended")
    return Refusal(text, Code.IN_USE, mailbox=address, lasts=seconds)
