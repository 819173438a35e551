"""The states of a session, each with what is known in it and nowhere else."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

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


@dataclass(frozen=True, slots=True)
class Closed:
    """The last reply is on its way."""


State = Start | Ready | Open[R] | Receiving[R] | Closed
