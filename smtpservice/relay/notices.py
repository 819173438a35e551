"""Telling a sender what became of a message: delivery status notifications (RFC 3464) as multipart/report (RFC 6522).

A notice goes from the null path, and none is made for a message that came from it (RFC 5321, 4.5.5 and 6.1): so there
is no loop. NOTIFY decides who is told of what (RFC 3461, 4.1); RET how much of the message comes back (4.3).
"""

import enum
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime, make_msgid

from django.conf import settings
from django.utils import timezone

from accounts.routing import DeadEnd, Route
from mailstore.delivery import Body, Envelope
from mailstore.wire import unstuff
from smtpservice.models import QueuedMessage
from smtpservice.queue import Recipient, domain_of, enqueue, new_identity, read_pieces
from smtpservice.storing import Accepted, Parcel, find_route, store

logger = logging.getLogger(__name__)

#: A message up to this size comes back whole where the sender did not say what comes back.
WHOLE_OCTETS = 64 * 1024
_XTEXT = re.compile(r"\+([0-9A-F]{2})")


class Action(enum.Enum):
    """What a notice says of a recipient (RFC 3464, 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one recipient. `original` and `notify` are those of QueuedRecipient, `status` is RFC 3463's."""

    action: Action
    address: str
    original: str
    notify: str
    status: str
    diagnostic: str
    peer: str
    attempted_at: datetime

    @property
    def is_wanted(self) -> bool:
        """Whether the sender asked to be told of this, or said nothing, which is FAILURE, and DELAY if we like."""
        asked = self.notify.split(",") if self.notify else ["FAILURE", "DELAY"]
        return {Action.FAILED: "FAILURE", Action.DELAYED: "DELAY"}.get(self.action, "SUCCESS") in asked


_SUBJECTS = {
    Action.FAILED: "Your message was not delivered",
    Action.DELAYED: "Your message is delayed",
    Action.RELAYED: "Your message was passed on",
    Action.DELIVERED: "Your message was delivered",
}
_EXPLANATIONS = {
    Action.FAILED: "could not be delivered to the recipients below. It will not be tried again.",
    Action.DELAYED: (
        "has not been delivered yet to the recipients below. You need not do anything: it is tried\r\n"
        "again until {until}. If it cannot be delivered by then, you will be told."
    ),
    Action.RELAYED: (
        "was passed on to the mail servers of the recipients below, which do not say\r\nwhen they have delivered it."
    ),
    Action.DELIVERED: "is in the mailboxes of the recipients below.",
}


def tell_sender(message: QueuedMessage, fates: Sequence[Fate]) -> None:
    """Send one notice for each kind of news that the sender wants; a part of the caller's transaction."""
    if not message.sender:
        return
    for action in Action:
        told = [fate for fate in fates if fate.action is action and fate.is_wanted]
        if told:
            with Body() as body:
                for octets in compose(message, told):
                    body.write(octets)
                body.finish()
                _deliver(message, body)


def compose(message: QueuedMessage, fates: Sequence[Fate]) -> Iterator[bytes]:
    """The notice in parts of any size: what happened in words, then for programs, then the message or its header.

    The fates are of one action. A message that needs SMTPUTF8 makes a notice of RFC 6533.
    """
    boundary = f"=_{new_identity()}{new_identity()}"
    whole = _comes_back_whole(message, fates[0].action)
    kind = _kinds(message, whole=whole)
    yield _head(message, fates[0].action, boundary).encode()
    # In ASCII unless the message was not either: what a peer says must not keep a notice from its way.
    charset, encoding = ("utf-8", "8bit") if message.smtputf8 else ("ascii", "7bit")
    words, report = _words(message, fates), _report(message, fates)
    yield _part(boundary, f"text/plain; charset={charset}", encoding) + words.encode(charset, "replace")
    yield _part(boundary, kind.report, encoding) + report.encode(charset, "replace")
    yield _part(boundary, kind.returned, "8bit" if message.eight_bit or message.smtputf8 else "7bit")
    left = message.octets if whole else _header_octets(message)
    for piece in unstuff(read_pieces(message.pk)):
        yield piece[:left]
        left -= len(piece[:left])
        if not left:
            break
    yield f"\r\n--{boundary}--\r\n".encode()


@dataclass(frozen=True, slots=True)
class _Kinds:
    report: str
    returned: str


def _kinds(message: QueuedMessage, *, whole: bool) -> _Kinds:
    """The media types of the second and third part: RFC 6522, or RFC 6533 with addresses or a header in UTF-8."""
    if message.smtputf8:
        return _Kinds("message/global-delivery-status", "message/global" if whole else "message/global-headers")
    return _Kinds("message/delivery-status", "message/rfc822" if whole else "text/rfc822-headers")


def _comes_back_whole(message: QueuedMessage, action: Action) -> bool:
    """RFC 3461, 4.3: RET is about failures; any other notice brings the header."""
    if action is not Action.FAILED or message.returned == QueuedMessage.Returned.HEADERS:
        return False
    return message.returned == QueuedMessage.Returned.FULL or message.octets <= WHOLE_OCTETS


def _header_octets(message: QueuedMessage) -> int:
    """Octets of the header as it is sent back, without stuffed dots; a header has few of them, if any."""
    left, stuffed, at_line_start = message.header_octets, 0, True
    for piece in read_pieces(message.pk):
        header = piece[:left]
        stuffed += header.count(b"\r\n.") + (at_line_start and header.startswith(b"."))
        left, at_line_start = left - len(header), header.endswith(b"\r\n")
        if not left:
            break
    return message.header_octets - stuffed


def _head(message: QueuedMessage, action: Action, boundary: str) -> str:
    hostname = settings.MAIL_HOSTNAME
    reference = (
        f"In-Reply-To: {message.message_id}\r\nReferences: {message.message_id}\r\n" if message.message_id else ""
    )
    return (
        f"From: Mail Delivery System <postmaster@{hostname}>\r\n"
        f"To: <{message.sender}>\r\n"
        f"Subject: {_SUBJECTS[action]}\r\n"
        f"Date: {format_datetime(datetime.now(UTC).astimezone())}\r\n"
        f"Message-ID: {make_msgid(domain=hostname)}\r\n"
        f"{reference if reference.isascii() else ''}"
        "Auto-Submitted: auto-replied\r\n"  # RFC 3834, 5: answering machines do not answer it
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"\r\n'
        "\r\n"
        "This is a notice about a message you sent, in a form for people and for programs.\r\n"
    )


def _part(boundary: str, media_type: str, encoding: str) -> bytes:
    return f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()


def _words(message: QueuedMessage, fates: Sequence[Fate]) -> str:
    until = format_datetime(message.expires_at.astimezone(UTC))
    lines = [
        f"This is the mail server {settings.MAIL_HOSTNAME}.",
        "",
        f"Your message of {format_datetime(message.queued_at.astimezone(UTC))}",
        _EXPLANATIONS[fates[0].action].format(until=until),
    ]
    for fate in fates:
        who = f"The server {fate.peer} said:" if fate.peer else "The reason:"
        lines += ["", f"<{fate.address}>", f"    {who} {fate.diagnostic}"]
    return "\r\n".join([*lines, ""])


def _report(message: QueuedMessage, fates: Sequence[Fate]) -> str:
    """The fields of RFC 3464, 2.2 about the message, then those of 2.3 about each recipient."""
    fields = [f"Reporting-MTA: dns; {settings.MAIL_HOSTNAME}"]
    if message.envelope_id:
        fields.insert(0, f"Original-Envelope-Id: {_from_xtext(message.envelope_id)}")
    fields.append(f"Arrival-Date: {format_datetime(message.queued_at.astimezone(UTC))}")
    for fate in fates:
        fields += ["", *_recipient_fields(message, fate)]
    return "\r\n".join([*fields, ""])


def _recipient_fields(message: QueuedMessage, fate: Fate) -> Iterator[str]:
    if fate.original:
        kind, _, address = fate.original.partition(";")
        yield f"Original-Recipient: {kind};{_from_xtext(address)}"
    yield f"Final-Recipient: {'utf-8' if not fate.address.isascii() else 'rfc822'};{fate.address}"
    yield f"Action: {fate.action.value}"
    yield f"Status: {fate.status}"
    if fate.peer:
        yield f"Remote-MTA: dns; {fate.peer}"
        yield f"Diagnostic-Code: smtp; {fate.diagnostic}"
    yield f"Last-Attempt-Date: {format_datetime(fate.attempted_at.astimezone(UTC))}"
    if fate.action is Action.DELAYED:
        yield f"Will-Retry-Until: {format_datetime(message.expires_at.astimezone(UTC))}"


def _from_xtext(text: str) -> str:
    """RFC 3461, 4: xtext decoded; what would break a line stays encoded."""
    decoded = _XTEXT.sub(lambda code: chr(int(code[1], 16)), text)
    return decoded if decoded.isprintable() and decoded.isascii() else text


def _deliver(message: QueuedMessage, body: Body) -> None:
    """Wherever the sender's address leads, into mailboxes whatever their quota: who is to be told has to be told."""
    identity = new_identity()
    received = f"by {settings.MAIL_HOSTNAME} id {identity};\r\n\t{format_datetime(timezone.now())}".encode()
    route = find_route(message.sender)
    if isinstance(route, Route):
        boxes = tuple(replace(mailbox, quota_octets=0, quota_messages=0) for mailbox in route.mailboxes)
        told = Accepted(message.sender, replace(route, mailboxes=boxes))
        store(parcel=Parcel(body, Envelope("", received), identity), recipients=[told], all_or_none=False)
    elif route is DeadEnd.NOT_HERE and _has_domain(message.sender):
        top = b"Received: " + received + b"\r\n"
        smtputf8 = message.smtputf8
        enqueue(
            sender="", recipients=[Recipient(message.sender)], body=body, top=top, identity=identity, smtputf8=smtputf8
        )
    else:
        logger.warning("%s: <%s> cannot be told: %s", message.identity, message.sender, route.value)


def _has_domain(address: str) -> bool:
    try:
        domain_of(address)
    except ValueError:
        return False
    return True
