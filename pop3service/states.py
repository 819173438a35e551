"""What a POP3 session is made of: its states with their data, the work it asks for, what it refuses.

No state has fields that are empty in another: a Transaction always has its maildrop, an Authorization never.
Two ways of counting meet here. A message **number** is what goes over the wire, 1 to n. An **index** is the place in
the listing's arrays, 0 to n-1. `Transaction.index` turns one into the other and nothing else does.
"""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from accounts.sasl import Exchange, Question
from pop3service.words import ENGLISH, Text, Words, _


class Code(enum.StrEnum):
    """Extended response codes (RFC 2449, 8; RFC 3206, 4 and 5)."""

    IN_USE = "IN-USE"
    AUTH = "AUTH"
    LOGIN_DELAY = "LOGIN-DELAY"
    SYS_TEMP = "SYS/TEMP"
    SYS_PERM = "SYS/PERM"


#: What a client is told of an error that is ours and passes.
FAILED = _("something failed on our side, try again later")


class Refusal(Exception):
    """A -ERR reply: its text is public and says what the client can do; `ends` closes the session after it.

    The text is marked for translation where it is written: `Refusal(_("no message %(number)d"), number=7)`.
    """

    def __init__(self, text: Text, code: Code | None = None, *, ends: bool = False, **parameters: object) -> None:
        super().__init__(text, parameters)
        self.text = text
        self.parameters = parameters
        self.code = code
        self.ends = ends

    def reply(self, words: Words) -> bytes:
        """The line that is sent, in the language of the session."""
        return words.error(self.text, self.code, **self.parameters)


class Ending(enum.StrEnum):
    """How a session ended that was logged in."""

    QUIT = "quit"
    #: QUIT could not be carried out, so nothing was deleted.
    FAILED = "failed"
    DROPPED = "dropped"
    TIMED_OUT = "timed-out"
    SERVER = "server"
    ADMIN = "admin"
    #: Its password was changed, its app password revoked, its mailbox or user suspended.
    REVOKED = "revoked"
    #: After an error that the session could not go on with, or too many of the client's.
    BROKEN_OFF = "broken-off"

    __hash__ = str.__hash__  # as that of accounts.callers.Protocol


# --- What a login and the maildrop's keeper answer -----------------------------------------------------------


class Opened(Protocol):
    """A maildrop, locked for this session, as it was at that moment. Octets as in Listing."""

    @property
    def uidvalidity(self) -> int: ...
    @property
    def message_count(self) -> int: ...
    @property
    def octets(self) -> int: ...


class Policy(Protocol):
    """Days after which messages expire, and seconds between two logins; 0 is never, and none."""

    @property
    def expire_days(self) -> int: ...
    @property
    def login_delay_seconds(self) -> int: ...
    def __hash__(self) -> int: ...


class Announced(Policy, Protocol):
    """What holds for anyone: the shortest life of messages and the longest delay; whether it is the same for all."""

    @property
    def expire_varies(self) -> bool: ...
    @property
    def login_delay_varies(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class NoPolicy:
    """Nothing expires, and nobody has to wait."""

    expire_days: int = 0
    expire_varies: bool = False
    login_delay_seconds: int = 0
    login_delay_varies: bool = False


class Tally:
    """What a session has sent: whole messages by RETR, with the octets that LIST says, and parts by TOP, as sent."""

    __slots__ = ("retrieved", "retrieved_octets", "topped", "topped_octets")

    def __init__(self) -> None:
        self.retrieved = self.retrieved_octets = self.topped = self.topped_octets = 0

    def sent(self, uid: int, octets: int) -> None:
        """A message, whole."""
        self.retrieved += 1
        self.retrieved_octets += octets

    def sent_part(self, uid: int, octets: int) -> None:
        """A part of one, of so many octets."""
        self.topped += 1
        self.topped_octets += octets


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The answer to a login: the maildrop, what holds for it, and what the login may do with it."""

    maildrop: Opened
    policy: Policy = NoPolicy()
    #: Messages may be fetched and not deleted.
    read_only: bool = False
    #: Counts what the session sends.
    tally: Tally = field(default_factory=Tally, compare=False)


class Listing(Protocol):
    """The messages of a session in order of arrival, one array per property; an index names the same message in all.

    `octets` are those of LIST (RFC 1939, 11); `wire_octets` those of the stored, dot-stuffed form; `header_octets`
    the part of that up to and with the empty line. `unique_ids`, by index, are those brought from elsewhere.
    """

    @property
    def uids(self) -> Sequence[int]: ...
    @property
    def octets(self) -> Sequence[int]: ...
    @property
    def wire_octets(self) -> Sequence[int]: ...
    @property
    def header_octets(self) -> Sequence[int]: ...
    @property
    def unique_ids(self) -> Mapping[int, str]: ...

    def at_hand(self, index: int) -> bytes | None:
        """The whole wire form of a message that has been read ahead, given once; None: it has to be asked for."""


@dataclass(frozen=True, slots=True)
class NoMessages:
    """The listing of an empty maildrop, which nobody needs to be asked for."""

    uids: Sequence[int] = ()
    octets: Sequence[int] = ()
    wire_octets: Sequence[int] = ()
    header_octets: Sequence[int] = ()
    unique_ids: Mapping[int, str] = field(default_factory=dict)

    def at_hand(self, index: int) -> bytes | None:
        """Of no message."""


# --- Work a session asks for, one at a time, besides the questions of a login (accounts.sasl) ------------------


@dataclass(frozen=True, slots=True)
class ReadListing:
    """Answered with a Listing of the opened maildrop."""


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """Answered with the octets of one piece, counted from 0, of a message of `wire_octets` in all."""

    uid: int
    piece: int
    wire_octets: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Enter UPDATE: remove the deleted, note the retrieved, free the lock; answered with None once it is done."""

    deleted: Sequence[int]
    retrieved: Sequence[int]


@dataclass(frozen=True, slots=True)
class ShowAsStored:
    """Give messages with UTF-8 in their headers as they are (RFC 6856, 2.1); answered with None."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """Begin TLS as soon as what was written before has gone; answered with None once it is established."""


#: The questions of a login are answered with LoggedIn, the maildrop being locked; FindVerifier and JudgeProof with a
#: Proof.
Request = Question | ShowAsStored | ReadListing | ReadPiece | Finish | StartTls


# --- States (RFC 1939, 3) ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    """The connection under a session: the server's name, and what may cross it."""

    hostname: str = "localhost"
    #: Whether it is encrypted, and if not whether STLS can make it so.
    encrypted: bool = False
    starttls: bool = False
    #: Whether a password may cross it unencrypted: the client's network is a listed one (promise 6).
    plaintext: bool = True
    #: The mechanisms of AUTH, as CAPA names them.
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    policy: Announced = NoPolicy()
    #: The language that the server speaks: English until LANG (RFC 1939: texts are ASCII); and all it can speak, that
    #: of `LANG *` first.
    words: Words = ENGLISH
    languages: tuple[Words, ...] = (ENGLISH,)

    @property
    def takes_passwords(self) -> bool:
        return self.encrypted or self.plaintext

    @property
    def offers_starttls(self) -> bool:
        return self.starttls and not self.encrypted

    def with_tls(self) -> "Channel":
        """What follows STLS: nothing that was said in the clear counts, the language neither."""
        return replace(self, encrypted=True, words=ENGLISH)


class Authorization:
    """Before the login (RFC 1939, 4)."""

    __slots__ = ("channel", "failures", "login", "utf8")

    def __init__(self, channel: Channel, failures: int = 0) -> None:
        self.channel = channel
        #: The name USER gave, until PASS uses it up.
        self.login = ""
        self.failures = failures
        #: Whether the client said UTF8 (RFC 6856, 2.1).
        self.utf8 = False


class Negotiation:
    """Within AUTH: lines are responses, not commands (RFC 5034, 4). Ends in a Transaction or where it began."""

    __slots__ = ("authorization", "exchange", "welcome")

    def __init__(
        self,
        authorization: Authorization,
        exchange: Exchange,
        welcome: "Callable[[LoggedIn], Step]",
    ) -> None:
        self.authorization = authorization
        self.exchange = exchange
        self.welcome = welcome

    @property
    def channel(self) -> Channel:
        return self.authorization.channel


class Transaction:
    """Logged in, with a maildrop (RFC 1939, 5)."""

    __slots__ = (
        "channel", "count", "deleted", "deleted_octets", "listing", "octets", "policy", "read_only", "retrieved",
        "tally", "uidvalidity",
    )  # fmt: skip

    def __init__(self, channel: Channel, logged_in: LoggedIn) -> None:
        opened = logged_in.maildrop
        self.channel = channel
        self.policy = logged_in.policy
        self.read_only = logged_in.read_only
        self.uidvalidity = opened.uidvalidity
        self.count = opened.message_count
        self.octets = opened.octets
        self.listing: Listing | None = None if self.count else NoMessages()
        #: Indexes of the messages marked as deleted, and the sum of their octets.
        self.deleted: set[int] = set()
        self.deleted_octets = 0
        #: uids of the messages that were sent whole.
        self.retrieved: set[int] = set()
        self.tally = logged_in.tally

    def size(self) -> tuple[int, int]:
        """How many messages are not marked as deleted, and their octets."""
        return self.count - len(self.deleted), self.octets - self.deleted_octets

    def sent(self, uid: int, octets: int) -> None:
        """RETR has handed out the last octet of a message, which has so many by LIST."""
        self.retrieved.add(uid)
        self.tally.sent(uid, octets)


class Update:
    """QUIT was received and is being carried out; the session closes next (RFC 1939, 6)."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel


class Closed:
    """Nothing follows but what is still to be sent."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel


State = Authorization | Negotiation | Transaction | Update | Closed


# --- What a command does ------------------------------------------------------------------------------------


class IfRefused(enum.Enum):
    """What becomes of the session where the work it asked for is refused."""

    GO_ON = enum.auto()
    #: The reply says so, then the session ends.
    END = enum.auto()
    #: The reply has begun and cannot be taken back: the connection ends without another octet.
    ABORT = enum.auto()


@dataclass(slots=True)
class Step:
    """What follows from a command or an answer: octets to send, a state to enter, work to ask for.

    With a `request` comes `then`, which turns its answer into the next step. A long reply goes on with `more`, which
    is made as the client takes it; no request comes with it.
    """

    output: Sequence[bytes] = ()
    more: Iterator[bytes] | None = None
    state: State | None = None
    request: Request | None = None
    then: "Callable[[Any], Reply] | None" = None
    if_refused: IfRefused = IfRefused.GO_ON


#: Octets, whole or in parts that follow each other; or more than octets.
Reply = bytes | tuple[bytes, ...] | Step
