"""What a session asks of whoever runs it. Each request says by which method of the session it is answered."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from accounts.sasl import Question
from smtpservice.commands import Address, Mail

R = TypeVar("R")


class Service(enum.Enum):
    """What is spoken on an address."""

    SMTP = "smtp"
    LMTP = "lmtp"
    SUBMISSION = "submission"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question of a login's exchange; `answered` takes what the door says, or the reply that refuses it."""

    question: Question


@dataclass(frozen=True, slots=True)
class CheckSender:
    """May mail be sent under this reverse-path? `sender_checked` takes None, or the reply that refuses it."""

    submitter: Any
    mail: Mail


@dataclass(frozen=True, slots=True)
class FindRecipients:
    """Who are these? `recipients_found` takes an R or a refusal for each. `size` is the declared one, or 0.

    `submitter` is who may have mail sent elsewhere; None may not.
    """

    addresses: Sequence[Address]
    size: int
    submitter: Any = None


@dataclass(frozen=True, slots=True)
class Write:
    """Keep these octets of the message, in any line ends; `written` tells how it went."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget what was written of the message; `written` then."""


@dataclass(frozen=True, slots=True)
class Deliver(Generic[R]):
    """Store what was written. `delivered` takes one reply in SMTP and one for each recipient in LMTP."""

    client: str
    protocol: str  # of the Received header's "with" (RFC 3848)
    mail: Mail
    recipients: Sequence[R]
    submitter: Any = None


@dataclass(frozen=True, slots=True)
class StartTls:
    """Send the output in the clear, then shake hands; `tls_started` when that is done."""


@dataclass(frozen=True, slots=True)
class Close:
    """Send the output and close. Nothing follows."""


Request = Ask | CheckSender | FindRecipients | Write | Discard | Deliver[R] | StartTls | Close
