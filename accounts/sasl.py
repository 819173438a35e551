"""The mechanisms of SASL (RFC 4422), the same for every mail protocol, without a socket and without a database.

An Exchange is one authentication. A protocol gives it what the client sends, as it crosses the wire, and gets a Move:

- octets: a challenge in base64, to be sent behind the protocol's own mark (`+ ` in RFC 5034, `334 ` in RFC 4954);
  the client's next line is for `respond`;
- a Question to the door (accounts.asking carries it out): its answer is for `answer`, its refusal for `refuse`;
- Admitted: the exchange has succeeded.

It raises SaslError for what is the client's fault, with a text that is public and says what to do, and nothing else but
what was given to `refuse`. After an error the exchange is over and the client's next line is a command again.
"""

import binascii
import functools
import re
from base64 import b64encode
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

# --- What a mechanism asks the door ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Let in by this password. `authzid` names another mailbox than the login's own (RFC 4422, 3.4.1)."""

    login: str
    password: str = field(repr=False)
    authzid: str = ""
    mechanism: str = "USER"


class Proof(Protocol):
    """The server's side of SCRAM (RFC 5802, 3). ValueError: a message that is not understood."""

    def challenge(self, first: str) -> str:
        """What follows from the client's first message."""

    def check(self, final: str) -> str | None:
        """The server's own proof, in answer to the client's; None where that is wrong."""


@dataclass(frozen=True, slots=True)
class FindVerifier:
    """Answered with the Proof of a login; where there is none, with one that nothing fits."""

    login: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class JudgeProof:
    """The client has given its proof, and whether it `fits` is for the door to tell, which may make it wait.

    Answered with the Proof where it does, with the refusal of a wrong password where not.
    """

    login: str
    proof: Proof
    fits: bool


@dataclass(frozen=True, slots=True)
class Admit:
    """Let in who has proved to know the password. `authzid` as in Authenticate."""

    login: str
    proof: Proof
    authzid: str = ""


@dataclass(frozen=True, slots=True)
class AdmitToken:
    """Let in by this bearer token; `login` is the mailbox to open, empty for the token's own."""

    login: str
    token: str = field(repr=False)
    mechanism: str


Question = Authenticate | FindVerifier | JudgeProof | Admit | AdmitToken


# --- What an exchange says ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admitted:
    """The exchange has succeeded; `answer` is that of its last question."""

    answer: Any


Move = bytes | Question | Admitted


class SaslError(Exception):
    """An exchange that ends by the client's doing. The text is public, in English; protocols may translate it."""

    def __init__(self, text: str, **parameters: str) -> None:
        super().__init__(text % parameters)
        self.text = text
        self.parameters: dict[str, Any] = dict(parameters)


class UnknownMechanismError(SaslError):
    """No such mechanism, or it is not offered here."""


class MalformedError(SaslError):
    """A response that is not base64, or not what the mechanism takes."""


class ExchangeCancelledError(SaslError):
    """The client sent `*`."""


def _(english: str) -> str:
    """Mark a text that is to be translated; `make messages` collects them."""
    return english


_Mechanism = Generator[bytes | Question, Any, Any]


class Exchange:
    """One authentication, from the command that begins it to its end."""

    __slots__ = ("_mechanism",)

    def __init__(self, name: bytes, initial: bytes | None, offered: tuple[str, ...]) -> None:
        """`initial`: the client's initial response, `=` for an empty one (RFC 5034, 4; RFC 4954, 4), None for none."""
        known = name.upper().decode("ascii", "replace")
        if known not in MECHANISMS or known not in offered:
            raise UnknownMechanismError(_("unknown mechanism: AUTH alone lists those of this server"))
        response = None if initial is None else b"" if initial == b"=" else _decoded(initial)
        self._mechanism = MECHANISMS[known](response)

    def begin(self) -> Move:
        return self._go_on(None)

    def respond(self, line: bytes) -> Move:
        """A line of the client, without its end, in answer to a challenge."""
        if line == b"*":
            raise ExchangeCancelledError(_("authentication cancelled"))
        return self._go_on(_decoded(line))

    def answer(self, answer: Any) -> Move:
        """The door's answer to a question."""
        return self._go_on(answer)

    def refuse(self, error: Exception) -> Move:
        """The door did not let in. Raises `error`, or gives what the mechanism tells the client before that."""
        return self._moved(lambda: self._mechanism.throw(error))

    def _go_on(self, value: Any) -> Move:
        return self._moved(lambda: self._mechanism.send(value))

    def _moved(self, move: Callable[[], bytes | Question]) -> Move:
        try:
            asked = move()
        except StopIteration as ended:
            return Admitted(ended.value)
        return b64encode(asked) if isinstance(asked, bytes) else asked


def _decoded(line: bytes) -> bytes:
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise MalformedError(_("this is not base64: begin again with AUTH")) from None


def as_text(octets: bytes) -> str:
    """A name or a password as text: UTF-8, or what old clients send, Latin-1, which any octets are."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


# --- The mechanisms ----------------------------------------------------------------------------------------------
# Each yields a challenge and gets the client's response, or yields a Question and gets the answer; it returns the last.


def plain(initial: bytes | None) -> _Mechanism:
    """RFC 4616: authzid NUL authcid NUL password."""
    message = (yield b"") if initial is None else initial
    parts = message.split(b"\0")
    if len(parts) != 3 or not parts[1]:
        raise MalformedError(_("PLAIN takes [authzid] NUL name NUL password"))
    authzid, login, password = map(as_text, parts)
    return (yield Authenticate(login, password, authzid=authzid, mechanism="PLAIN"))


def login(initial: bytes | None) -> _Mechanism:
    """The mechanism of Outlook and others, which no RFC describes: a name and a password, each asked for."""
    name = (yield b"Username:") if initial is None else initial
    secret = yield b"Password:"
    if not name.strip():
        raise MalformedError(_("LOGIN takes a name and a password"))
    return (yield Authenticate(as_text(name.strip()), as_text(secret), mechanism="LOGIN"))


def scram(mechanism: str, initial: bytes | None) -> _Mechanism:
    """RFC 5802: the client proves that it knows the password, and the server that it knows a verifier of it."""
    first = _utf8((yield b"") if initial is None else initial)
    authzid, name = _names(first)
    proof: Proof = yield FindVerifier(name, mechanism)
    try:
        final = yield proof.challenge(first).encode()
        answer = proof.check(_utf8(final))
    except ValueError:
        raise MalformedError(_("%(mechanism)s: this message is not understood"), mechanism=mechanism) from None
    yield JudgeProof(name, proof, answer is not None)
    if answer is None:
        raise RuntimeError("a wrong proof was not refused")
    if (yield answer.encode()):
        raise MalformedError(_("%(mechanism)s: an empty line was expected"), mechanism=mechanism)
    return (yield Admit(name, proof, authzid))


def _names(first: str) -> tuple[str, str]:
    """The authzid, which may be none, and the name in a client's first message (RFC 5802, 7)."""
    matched = _CLIENT_FIRST.match(first)
    if matched is None:
        raise MalformedError(_("this is no first message of SCRAM without channel binding"))
    return _unescaped(matched.group("authzid") or ""), _unescaped(matched.group("name"))


def oauthbearer(initial: bytes | None) -> _Mechanism:
    """RFC 7628, 3: a bearer token (RFC 6750), and the mailbox to open where it is not the token's own."""
    message = _utf8((yield b"") if initial is None else initial)
    matched = _OAUTHBEARER.fullmatch(message)
    if matched is None:
        raise MalformedError(_("OAUTHBEARER takes n,a=name,^Aauth=Bearer token^A^A"))
    login, pairs = matched.group("authzid") or "", matched.group("pairs").split("\1")
    return (yield from _by_token("OAUTHBEARER", _unescaped(login), pairs, b'{"status":"invalid_token"}'))


def xoauth2(initial: bytes | None) -> _Mechanism:
    """The mechanism of before RFC 7628, which Google and Microsoft describe: user=name^Aauth=Bearer token^A^A."""
    message = _utf8((yield b"") if initial is None else initial)
    user, *pairs = message.removesuffix("\1\1").split("\1")
    if not message.endswith("\1\1") or not user.startswith("user="):
        raise MalformedError(_("XOAUTH2 takes user=name^Aauth=Bearer token^A^A"))
    return (yield from _by_token("XOAUTH2", user[5:], pairs, b'{"status":"401","schemes":"bearer"}'))


def _by_token(mechanism: str, login: str, pairs: list[str], error: bytes) -> _Mechanism:
    """`error` is what a client is told that is to get a new token (RFC 7628, 3.2.2)."""
    found = [matched for pair in pairs if (matched := _BEARER.fullmatch(pair))]
    try:
        if len(found) != 1:  # RFC 7628, 4.3: a client without a token asks what it would need
            raise MalformedError(_("%(mechanism)s takes a bearer token"), mechanism=mechanism)
        return (yield AdmitToken(login, found[0].group(1), mechanism))
    except Exception:
        # RFC 7628, 3.2.3: the client answers with an octet that says nothing, and only then has it failed.
        yield error
        raise


#: RFC 5802, 7: gs2-header without channel binding, and the user name that follows.
_SASLNAME = r"(?:[^=,\x00]|=2C|=3D)+"
_CLIENT_FIRST = re.compile(rf"[ny],(?:a=(?P<authzid>{_SASLNAME}))?,n=(?P<name>{_SASLNAME}),")
_OAUTHBEARER = re.compile(r"[ny],(?:a=(?P<authzid>[^,\x01]*))?,\x01(?P<pairs>(?:[^\x01]+\x01)*)\x01", re.DOTALL)
_BEARER = re.compile(r"auth=bearer +(\S+)", re.IGNORECASE)


def _unescaped(saslname: str) -> str:
    """RFC 5801, 4 and RFC 5802, 5.1."""
    return saslname.replace("=2C", ",").replace("=3D", "=")


def _utf8(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise MalformedError(_("this is not UTF-8")) from None


#: By name, those that a client should prefer first.
MECHANISMS: dict[str, Callable[[bytes | None], _Mechanism]] = {
    "SCRAM-SHA-256": functools.partial(scram, "SCRAM-SHA-256"),
    "SCRAM-SHA-1": functools.partial(scram, "SCRAM-SHA-1"),
    "OAUTHBEARER": oauthbearer,
    "XOAUTH2": xoauth2,
    "PLAIN": plain,
    "LOGIN": login,
}
#: Those that take no password.
TOKEN_MECHANISMS = frozenset({"OAUTHBEARER", "XOAUTH2"})
