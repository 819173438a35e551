"""Putting messages into the outbound queue, and reading their octets back.

`enqueue` is a part of the caller's transaction where there is one: called in the same `transaction.atomic()` as
`mailstore.delivery.deliver`, a message is taken for its recipients here and elsewhere together, or for none of them.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.addresses import normal_domain
from mailstore.delivery import Body
from mailstore.inserts import insert_rows
from smtpservice.models import QueuedContent, QueuedMessage, QueuedRecipient
from smtpservice.signing import sign

#: Rows written with one statement: a statement stays under the parameter limits of both databases.
_BATCH_ROWS = 100
_CONTENT_COLUMNS = ("message_id", "piece", "octets")


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a message has to reach elsewhere.

    `notify` is NOTIFY (RFC 3461, 4.1) in capitals, "" where the client said none; `original` is ORCPT (4.2) as the
    client wrote it, `addr-type;xtext`, or "".
    """

    address: str
    notify: str = ""
    original: str = ""


def new_identity() -> str:
    """A name for a message that no other has."""
    return secrets.token_hex(8)


def enqueue(
    *,
    sender: str,
    recipients: Sequence[Recipient],
    body: Body,
    top: bytes = b"",
    identity: str = "",
    envelope_id: str = "",
    returned: str = "",
    smtputf8: bool = False,
    signed: bool = False,
    now: datetime | None = None,
) -> QueuedMessage:
    """Queue a finished message for `recipients`, one at least; workers send it as soon as it is committed.

    `sender` is the reverse-path, "" for the null path. `top` are header lines that go before it, with CRLF and dots
    stuffed. `envelope_id` and `returned` are ENVID and RET (RFC 3461, 4.4 and 4.3) or "". `smtputf8` says that the
    client asked for it (RFC 6531); an address that is not ASCII does too. `signed`: it is ours, and is signed where its
    domain has keys (smtpservice.signing). Raises ValueError where an address is none; django.db.DatabaseError, and then
    nothing is queued.
    """
    if not recipients or not sender.isprintable():
        raise ValueError("somebody has to get it, and a reverse-path has no line ends and no control characters")
    now = now or timezone.now()
    top = (sign(sender=sender, body=body, top=top) if signed else b"") + top
    addresses = [sender, *(recipient.address for recipient in recipients)]
    message = QueuedMessage(
        identity=identity or new_identity(),
        sender=sender,
        envelope_id=envelope_id,
        returned=returned,
        smtputf8=smtputf8 or not all(address.isascii() for address in addresses),
        message_id=body.envelope_fields().message_id,
        octets=len(top) + body.octets,
        wire_octets=len(top) + body.wire_octets,
        header_octets=len(top) + body.header_octets,
        queued_at=now,
        expires_at=now + timedelta(days=settings.RELAY_GIVE_UP_DAYS),
    )
    _store(message, recipients, body.pieces(top))
    return message


@transaction.atomic
def _store(message: QueuedMessage, recipients: Sequence[Recipient], pieces: Iterator[bytes]) -> None:
    message.save(force_insert=True)
    message.eight_bit = _write_pieces(message.pk, pieces)
    if message.eight_bit:
        message.save(update_fields=["eight_bit"])
    rows = [_row(message, recipient) for recipient in recipients]
    QueuedRecipient.objects.bulk_create(rows, batch_size=_BATCH_ROWS)


def _row(message: QueuedMessage, recipient: Recipient) -> QueuedRecipient:
    return QueuedRecipient(
        message=message,
        address=recipient.address,
        domain=domain_of(recipient.address),
        notify=recipient.notify,
        original=recipient.original,
        next_attempt_at=message.queued_at,
    )


def domain_of(address: str) -> str:
    """The domain of an address as the DNS knows it: lower case, A-labels. Raises ValueError where there is none.

    An address literal (RFC 5321, 4.1.3) stays as it is.
    """
    if not address.isprintable():
        raise ValueError("an address has no line ends and no control characters")
    local_part, _, domain = address.rpartition("@")
    if not local_part or not domain:
        raise ValueError(f"{address!r} has no domain")
    name = normal_domain(domain)
    if not name.isascii():
        raise ValueError(f"{domain!r} is not a domain name")
    return name


def read_piece(message_id: int, piece: int) -> bytes | None:
    """A piece of a message's wire form; None where there is no such piece."""
    found = QueuedContent.objects.filter(message_id=message_id, piece=piece).values_list("octets", flat=True).first()
    return None if found is None else bytes(found)


def read_pieces(message_id: int) -> Iterator[bytes]:
    """The wire form of a message, one piece in memory at a time."""
    number = 0
    while (piece := read_piece(message_id, number)) is not None:
        yield piece
        number += 1


def _write_pieces(message_id: int, pieces: Iterator[bytes]) -> bool:
    """Store each piece as it comes; answers whether there are octets above 127."""
    eight_bit = False
    for number, piece in enumerate(pieces):
        insert_rows(QueuedContent, _CONTENT_COLUMNS, [(message_id, number, piece)])
        eight_bit = eight_bit or not piece.isascii()
    return eight_bit
