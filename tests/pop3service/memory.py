"""A maildrop in memory that answers the requests of a Session at once: the core's tests need no database."""

import itertools
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scramp import ScramMechanism

from accounts.sasl import Admit, AdmitToken, Authenticate, FindVerifier, JudgeProof
from accounts.scram import ScramExchange, ScramVerifier
from mailstore.wire import encode
from pop3service.protocol import Session
from pop3service.states import (
    Channel,
    Code,
    Finish,
    LoggedIn,
    NoPolicy,
    ReadListing,
    ReadPiece,
    Refusal,
    Request,
    StartTls,
    Tally,
)
from pop3service.words import Text

LOGIN, PASSWORD, TOKEN = "mrose", "secret", "a.token"
WRONG = Refusal(Text("wrong name or password"), Code.AUTH)


def scram_exchange(login: str, mechanism: str) -> ScramExchange:
    """That of mrose's password; for anybody else one that no password fits."""
    password = PASSWORD if login == LOGIN else "another"
    salt, stored_key, server_key, iterations = ScramMechanism(mechanism).make_auth_info(password, iteration_count=4096)
    return ScramExchange(ScramVerifier(mechanism, salt, stored_key, server_key, iterations))


@dataclass
class MemoryListing:
    uids: Sequence[int]
    octets: Sequence[int]
    wire_octets: Sequence[int]
    header_octets: Sequence[int]
    unique_ids: dict[int, str]
    ahead: Callable[[int], bytes | None]

    def at_hand(self, index: int) -> bytes | None:
        return self.ahead(index)


@dataclass
class MemoryOpened:
    uidvalidity: int
    message_count: int
    octets: int


@dataclass
class MemoryMaildrop:
    """Messages as they came in; uids are 11, 12, ... so that nobody takes a uid for a message number."""

    messages: Sequence[bytes] = ()
    piece_octets: int = 64
    policy: NoPolicy = field(default_factory=NoPolicy)
    read_only: bool = False
    tally: Tally = field(default_factory=Tally)
    unique_ids: dict[int, str] = field(default_factory=dict)
    #: What happened: requests in order, and what the last Finish asked for.
    requests: list[Request] = field(default_factory=list)
    finished: Finish | None = None
    passwords: list[tuple[str, str]] = field(default_factory=list)
    #: Requests of these types fail as if the database were away.
    broken: tuple[type[Any], ...] = ()
    #: What has been read ahead of the message at an index.
    ahead: Callable[[int], bytes | None] = lambda index: None

    def __post_init__(self) -> None:
        self.encoded = [encode(message) for message in self.messages]

    @property
    def opened(self) -> LoggedIn:
        octets = sum(each.octets for each in self.encoded)
        return LoggedIn(MemoryOpened(7, len(self.encoded), octets), self.policy, self.read_only, self.tally)

    @property
    def listing(self) -> MemoryListing:
        return MemoryListing(
            array("q", range(11, 11 + len(self.encoded))),
            array("q", [each.octets for each in self.encoded]),
            array("q", [len(each.wire) for each in self.encoded]),
            array("q", [each.header_octets for each in self.encoded]),
            self.unique_ids,
            self.ahead,
        )

    def carry_out(self, request: Request) -> Any:
        """The result of a request; a Refusal is given back, not raised."""
        self.requests.append(request)
        if isinstance(request, self.broken):
            raise OSError("the database is away")
        match request:
            case Authenticate(login, password, authzid):
                self.passwords.append((login, password))
                fits = (login, password) == (LOGIN, PASSWORD) and authzid in ("", LOGIN)
                return self.opened if fits else WRONG
            case FindVerifier(login, mechanism):
                return scram_exchange(login, mechanism)
            case Admit(login):
                return self.opened if login == LOGIN else WRONG
            case JudgeProof(proof=proof, fits=fits):
                return proof if fits else WRONG
            case AdmitToken(login, token):
                return self.opened if login in ("", LOGIN) and token == TOKEN else WRONG
            case ReadListing():
                return self.listing
            case ReadPiece(uid, piece):
                start = piece * self.piece_octets
                return self.encoded[uid - 11].wire[start : start + self.piece_octets]
            case Finish():
                self.finished = request
        return None


@dataclass
class Dialogue:
    """A session and its maildrop, with the client's end in the test's hands."""

    maildrop: MemoryMaildrop = field(default_factory=MemoryMaildrop)
    channel: Channel = field(default_factory=lambda: Channel(hostname="dewey"))
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        self.session = Session(self.channel)
        self.greeting = self.say(b"")

    def say(self, octets: bytes) -> bytes:
        """Send octets; everything the server answers, with every request carried out."""
        self.send(octets)
        return self.hear()

    def send(self, octets: bytes) -> None:
        """Send octets, and have the session run what it can without work or more room for output."""
        self.session.receive(octets)
        self.session.advance()

    def carry_out(self) -> None:
        """Carry out the one request that is open."""
        self.session.answer(self.maildrop.carry_out(self.session.request))

    def hear(self) -> bytes:
        answered = b""
        while True:
            more = self.session.advance()
            answered += b"".join(self.session.output())
            request = self.session.request
            if request is not None:
                try:
                    self.session.answer(self.maildrop.carry_out(request))
                except OSError:
                    self.session.fail()
            elif not more:
                return answered

    def line(self, command: str | bytes) -> bytes:
        """Send one command line; its whole answer, without the last line end."""
        octets = command.encode() if isinstance(command, str) else command
        answer = self.say(octets + b"\r\n")
        assert answer.endswith(b"\r\n") or self.session.closed
        return answer.removesuffix(b"\r\n")

    def log_in(self) -> "Dialogue":
        assert self.line(f"USER {LOGIN}").startswith(b"+OK")
        assert self.line(f"PASS {PASSWORD}").startswith(b"+OK")
        return self


def after_login(*messages: bytes, **maildrop: Any) -> Dialogue:
    return Dialogue(MemoryMaildrop(messages, **maildrop)).log_in()


def before_login(*messages: bytes, **channel: Any) -> Dialogue:
    return Dialogue(MemoryMaildrop(messages), Channel(hostname="dewey", **channel))


def chunks(octets: bytes, size: int) -> Iterable[bytes]:
    return (octets[start : start + size] for start in range(0, len(octets), size))


def cut(octets: bytes, sizes: Sequence[int]) -> Iterable[bytes]:
    """Pieces of these sizes, over and over."""
    at, turns = 0, itertools.cycle(sizes)
    while at < len(octets):
        size = next(turns)
        yield octets[at : at + size]
        at += size


def message(octets: int) -> bytes:
    """A message of exactly so many canonical octets."""
    head = b"Subject: a message\r\n\r\n"
    body = b"x" * (octets - len(head) - 2) + b"\r\n"
    return head + body


__all__ = [
    "LOGIN",
    "PASSWORD",
    "Dialogue",
    "MemoryMaildrop",
    "StartTls",
    "after_login",
    "before_login",
    "chunks",
    "cut",
    "message",
]
