"""From a session's requests to the database: logins, and what is asked of the maildrop that they open.

One Visit per connection carries out its session's requests. What it shares with the others is the Keeper's, what it
has open is a Single, or several as a Combined.

Errors: a Refusal is for the client; anything else is ours, and the caller says [SYS/TEMP] and logs it.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, get_args

from accounts.activity import count
from accounts.asking import ask
from accounts.callers import Caller, Protocol
from accounts.door import Admission, NotAdmittedError, ThrottledError
from accounts.lookup import find_combined
from accounts.models import LoginResult
from accounts.policies import Policy, strictest
from accounts.sasl import Proof, Question
from accounts.tokens import IntrospectionError
from pop3service.combined import Combined, open_combined
from pop3service.ending import Named
from pop3service.entering import Entrance, come_and_go, entrance
from pop3service.keeper import GONE, WRONG_LOGIN, Keeper
from pop3service.reading import SessionListing
from pop3service.single import Single, open_single
from pop3service.states import (
    FAILED,
    Code,
    Ending,
    Finish,
    LoggedIn,
    Opened,
    ReadListing,
    ReadPiece,
    Refusal,
    Request,
    ShowAsStored,
)
from pop3service.words import _

#: Seconds for which the refusal of a login that comes too soon is held back: who asks again at once waits for it.
REFUSAL_SECONDS = 1.0

_COME_BACK = {
    LoginResult.THROTTLED: _("too many failed logins, try again in %(seconds)d seconds"),
    LoginResult.BUSY: _("too many logins at this moment, try again in %(seconds)d seconds"),
}


class Visit:
    """One connection's requests, and the maildrop it has open from the login to the end."""

    __slots__ = ("_asking", "_caller", "_gone", "_keeper", "_maildrop", "_utf8")

    def __init__(self, keeper: Keeper, address: str, tls: str) -> None:
        """Of a connection from this address, under this version of TLS, which may be none."""
        self._keeper = keeper
        self._caller = Caller(Protocol.POP3, address, tls)
        self._asking: asyncio.Task[Any] | None = None  # while a login is at the door
        self._maildrop: Single | Combined | None = None  # between the login and QUIT
        self._utf8 = False
        self._gone = False

    def carry_out(self, request: Request) -> Any:
        """The request's result where it is at hand, otherwise a future of it."""
        return _CARRIERS[type(request)](self, request)

    def encrypted(self, tls: str) -> None:
        """TLS has begun, of this version."""
        self._caller = Caller(self._caller.protocol, self._caller.address, tls)

    @property
    def names(self) -> tuple[Named, ...]:
        """The mailbox that is open, and the serial of its lock; none before the login and from QUIT on."""
        return self._maildrop.names if self._maildrop is not None else ()

    def leave(self, ending: Ending) -> None:
        """The connection has ended, at whatever moment. Frees the lock with nothing deleted unless QUIT has begun."""
        self._gone = True
        if self._asking is not None:
            self._asking.cancel()
        if self._maildrop is not None:
            self._take_maildrop().leave(ending)

    # --- Login ---

    def _log_in(self, question: Question) -> "asyncio.Future[Any]":
        """A future of LoggedIn, or of a Proof. The quick way in needs neither a task nor a second trip."""
        keeper = self._keeper
        way = entrance(keeper, self._caller, question)
        if way is None:
            return keeper.start(self._come_in(question))
        asked = keeper.bridge.gather(come_and_go, way)
        return keeper.then(asked, functools.partial(self._entered, question, way))

    def _entered(self, question: Question, way: Entrance, asked: "asyncio.Future[Any]") -> Any:
        """LoggedIn, or a future of it."""
        came_in = way.end(asked.exception())
        if came_in is None:
            return self._keeper.start(self._come_in(question))
        admission, opened = came_in
        maildrop = Single(self._keeper, opened)
        if opened.has_surrogates and not self._utf8:
            return self._keeper.start(self._show(question, admission, maildrop, admission.policy))
        return self._begin(question, admission, maildrop, admission.policy, opened)

    async def _come_in(self, question: Question) -> LoggedIn | Proof:
        answer = await self._ask(question)
        if not isinstance(answer, Admission):
            return answer  # AUTH goes on with it
        maildrop, policy = await self._open(answer)
        return await self._show(question, answer, maildrop, policy)

    async def _show(
        self, question: Question, answer: Admission, maildrop: Single | Combined, policy: Policy
    ) -> LoggedIn:
        try:
            seen = await maildrop.show(as_stored=self._utf8)
        except Exception:
            maildrop.release()
            raise
        return self._begin(question, answer, maildrop, policy, seen)

    def _begin(
        self, question: Question, answer: Admission, maildrop: Single | Combined, policy: Policy, seen: Opened
    ) -> LoggedIn:
        """The session begins with this maildrop."""
        if self._gone:
            maildrop.release()
            raise Refusal(GONE)
        login = question.login or answer.address  # a token may say by itself whose it is
        maildrop.begin(self._caller, login, answer.app_password)
        self._maildrop = maildrop
        self._keeper.admitted[maildrop.names[0]] = answer, maildrop.names
        count("logins")
        return LoggedIn(seen, policy, answer.read_only, maildrop.tally)

    async def _open(self, answer: Admission) -> tuple[Single | Combined, Policy]:
        """Lock what was asked for; with the policy that holds for it."""
        keeper = self._keeper
        if not answer.combined:
            delay = answer.policy.login_delay_seconds
            return await open_single(keeper, answer.mailbox_id, delay, self._has_gone), answer.policy
        mailboxes = await keeper.bridge.gather(find_combined, answer.user_id)
        if not mailboxes:  # the last one was suspended just now
            raise Refusal(WRONG_LOGIN, Code.AUTH)
        policy = strictest(mailbox.policy for mailbox in mailboxes)
        return await open_combined(keeper, mailboxes, self._has_gone), policy

    def _has_gone(self) -> bool:
        return self._gone

    async def _ask(self, question: Question) -> Admission | Proof:
        """What the door answers, as long as the client waits for it."""
        if self._gone:
            raise Refusal(GONE)
        self._asking = asyncio.current_task()
        try:
            return await self._let_in(question)
        except asyncio.CancelledError:
            if not self._gone:
                raise
            raise Refusal(GONE) from None
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
        except IntrospectionError:  # which is in the log already, once (accounts.tokens)
            raise Refusal(FAILED, Code.SYS_TEMP) from None

    def _show_as_stored(self, _: ShowAsStored) -> None:
        self._utf8 = True

    # --- From the login on ---

    def _read_listing(self, _: ReadListing) -> "SessionListing | asyncio.Future[Any]":
        return self._open_maildrop().read_listing()

    def _read_piece(self, request: ReadPiece) -> "bytes | asyncio.Future[Any]":
        return self._open_maildrop().read_piece(request)

    def _finish(self, request: Finish) -> "asyncio.Future[None] | None":
        # From here on a dropped connection changes nothing, and nobody ends the session.
        return self._take_maildrop().finish(request)

    def _take_maildrop(self) -> Single | Combined:
        """The open maildrop, which is the caller's to end."""
        maildrop, self._maildrop = self._open_maildrop(), None
        del self._keeper.admitted[maildrop.names[0]]
        return maildrop

    def _open_maildrop(self) -> Single | Combined:
        if self._maildrop is None:
            raise Refusal(_("this session is over, log in again"), Code.SYS_TEMP, ends=True)
        return self._maildrop


_CARRIERS: dict[type[Request], Callable[[Visit, Any], Any]] = {
    **dict.fromkeys(get_args(Question), Visit._log_in),
    ShowAsStored: Visit._show_as_stored,
    ReadListing: Visit._read_listing,
    ReadPiece: Visit._read_piece,
    Finish: Visit._finish,
}
