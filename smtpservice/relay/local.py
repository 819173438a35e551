"""Recipients in the queue that are ours after all: mailboxes that had no room, and domains that came here meanwhile.

They are delivered in the transaction that writes their outcome, so once and not twice.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.lookup import find_local_domains, find_mailboxes
from accounts.routing import DeadEnd, Route
from mailstore.delivery import Body, Envelope, Outcome
from mailstore.wire import unstuff
from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.queue import domain_of, new_identity, read_pieces
from smtpservice.relay.claims import Claim, ClaimedMessage, ClaimedRecipient
from smtpservice.relay.outcomes import Outcome as Sent
from smtpservice.relay.outcomes import PeerReply, Report, Result, record_one
from smtpservice.storing import Accepted, Parcel, find_route, store

logger = logging.getLogger(__name__)

_STORED = PeerReply(250, "2.1.5", "Stored here")
_FULL = PeerReply(452, "4.2.2", "The mailbox is full")
_NOBODY = PeerReply(550, "5.1.1", "There is no such mailbox here")
_LOOP = PeerReply(550, "5.4.6", "The address leads in a circle")
_OUR_ERROR = PeerReply(451, "4.3.0", "An error on our side; the log has it")


def deliver_here(claim: Claim, now: datetime) -> Claim:
    """Deliver what is for domains of ours, and answer what is left of the claim: what goes elsewhere."""
    addresses = [recipient.address for message in claim.messages for recipient in message.recipients]
    domains = list({domain_of(address) for address in addresses})
    ours = {domain for domain, local in zip(domains, find_local_domains(domains), strict=True) if local}
    return replace(claim, messages=tuple(_elsewhere(claim, ours, now))) if ours else claim


def _elsewhere(claim: Claim, ours: set[str], now: datetime) -> Iterator[ClaimedMessage]:
    for message in claim.messages:
        here = [recipient for recipient in message.recipients if domain_of(recipient.address) in ours]
        for recipient in here:
            _deliver(claim, message, recipient, now)
        if len(here) < len(message.recipients):
            yield replace(message, recipients=tuple(one for one in message.recipients if one not in here))


def _deliver(claim: Claim, message: ClaimedMessage, recipient: ClaimedRecipient, now: datetime) -> None:
    """One recipient in one transaction; where that fails, its next attempt is written already."""
    try:
        with transaction.atomic():
            if not QueuedMessage.objects.select_for_update().filter(pk=message.id).exists():
                return  # dropped meanwhile
            if not QueuedRecipient.objects.filter(pk=recipient.id, claimed_by=claim.id).exists():
                return  # another worker's by now, which may have delivered it
            reply = _store(message, recipient.address)
            outcome = Sent(recipient.id, _RESULTS.get(reply, Result.FAILED), reply)
            record_one(Report(claim.id, message.id, (outcome,), now))
    except Exception:
        logger.exception("%s: not delivered to <%s> here", message.identity, recipient.address)
        outcome = Sent(recipient.id, Result.DEFERRED, _OUR_ERROR)
        with transaction.atomic():
            record_one(Report(claim.id, message.id, (outcome,), now))


_RESULTS = {_STORED: Result.SENT, _FULL: Result.DEFERRED}


def _store(message: ClaimedMessage, address: str) -> PeerReply:
    """Into the mailbox of that very address; or wherever an address leads that is none."""
    (mailbox,) = find_mailboxes([address])
    route: Route | DeadEnd
    if mailbox is not None:
        route = Route(mailboxes=(mailbox,), direct=True) if mailbox.is_active else DeadEnd.SUSPENDED
    else:
        route = find_route(address)
    if isinstance(route, DeadEnd):
        return _LOOP if route in {DeadEnd.LOOP, DeadEnd.TOO_FAR} else _NOBODY
    identity = new_identity()
    received = f"by {settings.MAIL_HOSTNAME} id {identity};\r\n\t{format_datetime(timezone.now())}".encode()
    with Body() as body:
        for piece in unstuff(read_pieces(message.id)):
            body.write(piece)
        body.finish()
        parcel = Parcel(body, Envelope(message.sender, received), identity)
        (outcome,) = store(parcel=parcel, recipients=[Accepted(address, route)], all_or_none=False)
    return {Outcome.OVER_QUOTA: _FULL, Outcome.GONE: _NOBODY}.get(outcome, _STORED)
