"""AUTH: the mechanisms of SASL as POP3 carries them (RFC 5034), each a small generator.

A mechanism yields octets, which go to the client as a challenge, and gets the client's response; or it yields a Request
and gets its answer. It returns the maildrop that was opened, or raises Refusal. Base64, cancelling and the states are
the business of `begin` and `respond`, not of a mechanism.
"""

import binascii
import functools
from base64 import b64encode
from collections.abc import Callable, Generator
from typing import Any

from pop3service.states import (
    Admit,
    Authenticate,
    Authorization,
    FindVerifier,
    Negotiation,
    Opened,
    Proof,
    Refusal,
    RejectProof,
    Request,
    Step,
    as_text,
)

Exchange = Generator[bytes | Request, Any, Opened]

_CRLF = b"\r\n"


def begin(state: Authorization, name: bytes, initial: bytes | None, welcome: Callable[[Opened], Step]) -> Step:
    """Begin an exchange, with the client's initial response where it sent one (RFC 5034, 4)."""
    mechanism = MECHANISMS.get(name.upper().decode("ascii", "replace"))
    if mechanism is None or name.upper().decode("ascii") not in state.channel.mechanisms:
        raise Refusal("unknown mechanism: AUTH alone lists those of this server")
    response = None if initial is None else b"" if initial == b"=" else _decoded(initial)
    return _go_on(Negotiation(state, mechanism(response), welcome), None)


def respond(negotiation: Negotiation, line: bytes) -> Step:
    """What follows from a line of the client within an exchange."""
    if line == b"*":
        raise Refusal("authentication cancelled")
    return _go_on(negotiation, _decoded(line))


def _go_on(negotiation: Negotiation, value: Any) -> Step:
    try:
        asked = negotiation.exchange.send(value)
    except StopIteration as ended:
        return negotiation.welcome(ended.value)
    if isinstance(asked, bytes):
        return Step((b"+ ", b64encode(asked), _CRLF), state=negotiation)
    return Step(state=negotiation, request=asked, then=functools.partial(_go_on, negotiation))


def _decoded(line: bytes) -> bytes:
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise Refusal("this is not base64: begin again with AUTH") from None


# --- The mechanisms --------------------------------------------------------------------------------------------


def plain(initial: bytes | None) -> Exchange:
    """RFC 4616: authzid NUL authcid NUL password."""
    message = (yield b"") if initial is None else initial
    parts = message.split(b"\0")
    if len(parts) != 3 or not parts[1]:
        raise Refusal("PLAIN takes [authzid] NUL name NUL password")
    authzid, login, password = map(as_text, parts)
    opened: Opened = yield Authenticate(login, password, authzid=authzid, mechanism="PLAIN")
    return opened


def login(initial: bytes | None) -> Exchange:
    """The mechanism of Outlook and others, which no RFC describes: a name and a password, each asked for."""
    name = (yield b"Username:") if initial is None else initial
    secret = yield b"Password:"
    if not name.strip():
        raise Refusal("LOGIN takes a name and a password")
    opened: Opened = yield Authenticate(as_text(name.strip()), as_text(secret), mechanism="LOGIN")
    return opened


def scram(mechanism: str, initial: bytes | None) -> Exchange:
    """RFC 5802: the client proves that it knows the password, and the server that it knows a verifier of it."""
    first = _utf8((yield b"") if initial is None else initial)
    name = _name(first)
    proof: Proof = yield FindVerifier(name, mechanism)
    try:
        final = yield proof.challenge(first).encode()
        answer = proof.check(_utf8(final))
    except ValueError:
        raise Refusal(f"{mechanism}: this message is not understood") from None
    if answer is None:
        yield RejectProof(name, proof)
        raise RuntimeError("a wrong proof was not refused")
    if (yield answer.encode()):
        raise Refusal(f"{mechanism}: an empty line was expected")
    opened: Opened = yield Admit(name, proof)
    return opened


def _name(first: str) -> str:
    """The name in a client's first message (RFC 5802, 7: client-first-message)."""
    flag, comma, rest = first.partition(",")
    authzid, second, bare = rest.partition(",")
    name, third, _ = bare.partition(",")
    if not (comma and second and third) or flag not in ("n", "y") or not name.startswith("n=") or name == "n=":
        raise Refusal("this is no first message of SCRAM without channel binding")
    if authzid:
        raise Refusal("SCRAM opens one's own mailbox here: for another one use PLAIN")
    return name[2:].replace("=2C", ",").replace("=3D", "=")


def _utf8(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Refusal("this is not UTF-8") from None


MECHANISMS: dict[str, Callable[[bytes | None], Exchange]] = {
    "SCRAM-SHA-256": functools.partial(scram, "SCRAM-SHA-256"),
    "SCRAM-SHA-1": functools.partial(scram, "SCRAM-SHA-1"),
    "PLAIN": plain,
    "LOGIN": login,
}
