"""The states of a session, each with what is known in it and nowhere else."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from accounts.sasl import Exchange
from smtpservice.commands import Mail
from smtpservice.data import DataReader
from smtpservice.replies import Reply

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Start:
    """The client has not said its name."""


@dataclass(frozen=True, slots=True)
class Ready:
    """No transaction is under way."""

    client: str
    extended: bool


@dataclass(frozen=True, slots=True)
class Negotiating:
    """Within AUTH: lines are responses, not commands (RFC 4954, 4). It ends where it began."""

    ready: Ready
    exchange: Exchange


@dataclass(slots=True)
class Open(Generic[R]):
    """A transaction: from MAIL to the end of its data."""

    ready: Ready
    mail: Mail
    recipients: list[R] = field(default_factory=list)
    asked: int = 0
    pending: int = 0  # recipients that are being looked up


@dataclass(slots=True)
class Receiving(Generic[R]):
    """Between 354 and the end of data. After a failure the rest is read and thrown away."""

    transaction: Open[R]
    reader: DataReader = field(default_factory=DataReader)
    octets: int = 0
    failure: Reply | None = None


@dataclass(slots=True)
class Chunks(Generic[R]):
    """From the first BDAT to the last (RFC 3030, 2); `left` octets of the last one that was announced are to come."""

    transaction: Open[R]
    left: int = 0
    last: bool = False
    octets: int = 0
    failure: Reply | None = None


@dataclass(slots=True)
class Skipping(Generic[R]):
    """The octets of a BDAT that is refused are read and thrown away, then it is answered."""

    back: "State[R]"
    left: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class Closed:
    """The last reply is on its way."""


State = Start | Ready | Negotiating | Open[R] | Receiving[R] | Chunks[R] | Skipping[R] | Closed
