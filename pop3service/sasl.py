"""AUTH: the exchanges of SASL as POP3 carries them (RFC 5034). The mechanisms are in accounts.sasl."""

import functools
from collections.abc import Callable

from accounts.sasl import Admitted, Exchange, Move, SaslError
from pop3service.states import Authorization, Code, LoggedIn, Negotiation, Refusal, Step
from pop3service.words import Text

_CRLF = b"\r\n"


def begin(state: Authorization, name: bytes, initial: bytes | None, welcome: Callable[[LoggedIn], Step]) -> Step:
    """Begin an exchange, with the client's initial response where it sent one (RFC 5034, 4)."""
    try:
        exchange = Exchange(name, initial, state.channel.mechanisms)
    except SaslError as error:
        raise _refusal(error) from None
    return _go_on(Negotiation(state, exchange, welcome), exchange.begin)


def respond(negotiation: Negotiation, line: bytes) -> Step:
    """What follows from a line of the client within an exchange."""
    return _go_on(negotiation, lambda: negotiation.exchange.respond(line))


def refused(negotiation: Negotiation, refusal: Refusal) -> Step:
    """What follows where the question of an exchange is refused: most often the refusal, which is raised."""
    if refusal.code is not Code.AUTH:
        raise refusal
    return _go_on(negotiation, lambda: negotiation.exchange.refuse(refusal))


def _go_on(negotiation: Negotiation, make: Callable[[], Move]) -> Step:
    try:
        move = make()
    except SaslError as error:
        raise _refusal(error) from None
    if isinstance(move, Admitted):
        return negotiation.welcome(move.answer)
    if isinstance(move, bytes):
        return Step((b"+ ", move, _CRLF), state=negotiation)
    then = functools.partial(_answered, negotiation)
    return Step(state=negotiation, request=move, then=then)


def _answered(negotiation: Negotiation, answer: object) -> Step:
    return _go_on(negotiation, lambda: negotiation.exchange.answer(answer))


def _refusal(error: SaslError) -> Refusal:
    return Refusal(Text(error.text), **error.parameters)
