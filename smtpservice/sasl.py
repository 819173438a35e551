"""AUTH: the exchanges of SASL as SMTP carries them (RFC 4954). The mechanisms are in accounts.sasl."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from accounts.sasl import Admitted, Exchange, Move, SaslError, UnknownMechanismError
from smtpservice import replies
from smtpservice.commands import RefusedError
from smtpservice.replies import Reply
from smtpservice.requests import Ask
from smtpservice.states import Negotiating, Ready

if TYPE_CHECKING:
    from smtpservice.protocol import Session

#: Wrong passwords of one connection.
MAX_WRONG_LOGINS = 5


def begin(session: "Session[Any]", ready: Ready, argument: str) -> None:
    """AUTH mechanism [initial-response]. Raises RefusedError."""
    mechanism, _, initial = argument.encode("utf-8", "surrogateescape").partition(b" ")
    try:
        exchange = Exchange(mechanism, initial or None, session.mechanisms)
    except SaslError as error:
        raise RefusedError(_refusal(error)) from None
    session.state = Negotiating(ready, exchange)
    _go_on(session, session.state, exchange.begin)


def respond(session: "Session[Any]", state: Negotiating, line: bytes) -> None:
    """A line of the client within an exchange."""
    _go_on(session, state, lambda: state.exchange.respond(line.removesuffix(b"\n").removesuffix(b"\r")))


def answered(session: "Session[Any]", state: Negotiating, answer: Any) -> None:
    """What the door says: an answer, or the reply that refuses it."""
    if not isinstance(answer, Reply):
        _go_on(session, state, lambda: state.exchange.answer(answer))
    elif answer.code != replies.WRONG_LOGIN.code:
        _end(session, state, answer)
    else:
        _go_on(session, state, lambda: state.exchange.refuse(RefusedError(answer)))


def _go_on(session: "Session[Any]", state: Negotiating, make: Callable[[], Move]) -> None:
    try:
        move = make()
    except SaslError as error:
        return _end(session, state, _refusal(error))
    except RefusedError as error:
        return _end(session, state, error.reply)
    if isinstance(move, Admitted):
        session.submitter = move.answer
        return _end(session, state, replies.LOGGED_IN)
    if isinstance(move, bytes):
        return session.reply(replies.challenge(move.decode("ascii")))
    return session.ask(Ask(move))


def _end(session: "Session[Any]", state: Negotiating, reply: Reply) -> None:
    session.state = state.ready
    session.wrong_logins += reply.code == replies.WRONG_LOGIN.code
    session.reply(reply)
    if session.wrong_logins >= MAX_WRONG_LOGINS:
        session.end(replies.TOO_MANY_LOGINS)


def _refusal(error: SaslError) -> Reply:
    unknown = isinstance(error, UnknownMechanismError)
    return replies.unknown_mechanism(str(error)) if unknown else replies.login_refused(str(error))
