"""The trace that collecting puts on top of a message, and by which it knows one that goes round.

A message is stored as it came, below two lines: `Delivered-To`, whose mailbox it is in now, and `Received`, from
where it was collected. It has its Return-Path already, and no second one is added. Two mailboxes may collect from
each other, so that all mail can be read in either: without a trace each would bring back to the other what it had
from there, for ever. What was in a mailbox before it was collected elsewhere has the mailbox's name below a Received
field "with POP3", and is left where it is. A mailbox of the same address on another server, which is being moved
here, is no such case.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from django.conf import settings

from collecting.models import Source
from mailstore.delivery import Envelope

#: Received fields above which a message is taken to go in a loop (RFC 5321, 6.3).
MAX_HOPS = 100
_HOP = re.compile(rb"^Received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_COLLECTED = re.compile(rb"^Received[ \t]*:(?:[^\r\n]|\r\n[ \t])*?\swith\s+POP3", re.IGNORECASE | re.MULTILINE)
_DELIVERED_TO = re.compile(rb"^Delivered-To[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_NOT_IN_A_COMMENT = re.compile(r"[^\w.@%+\-]")


@dataclass(frozen=True, slots=True)
class CollectedEnvelope(Envelope):
    """A message that has been delivered before: no second Return-Path (RFC 5321, 4.4)."""

    def trace_header(self, recipient: str) -> bytes:
        return f"Delivered-To: {recipient}\r\n".encode() + b"Received: " + self.received + b"\r\n"


def envelope_of(source: Source, identity: str, now: datetime) -> Envelope:
    """What is put on top of a message from this account."""
    login = _NOT_IN_A_COMMENT.sub("?", source.login)
    received = (
        f"from {source.host} (account {login})\r\n\tby {settings.MAIL_HOSTNAME} with POP3 id {identity};"
        f"\r\n\t{format_datetime(now)}"
    )
    return CollectedEnvelope("", received.encode())


def goes_round(header: bytes, address: str) -> bool:
    """Whether a message was in the mailbox of this address before it was collected elsewhere, or has too many hops."""
    if len(_HOP.findall(header)) > MAX_HOPS:
        return True
    collected = _COLLECTED.search(header)
    if collected is None:
        return False
    before = _DELIVERED_TO.findall(header, collected.end())
    return address.encode().lower() in {each.strip().lower() for each in before}
