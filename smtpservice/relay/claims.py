"""Claiming what is due: one worker of many, on one host of many, gets a recipient, and has it for a while.

A claim is written before anything is dialled, together with the next attempt: whatever becomes of the worker, the
recipient is tried again, and not at once. It is good for LEASE and has to be renewed; a worker that died lets go of
its claims by that alone. Each connection claims for itself, so the connections to a destination can be counted,
whatever process they belong to.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Count, F, Q, QuerySet, Value, When

from mailplatform.claims import claimable, is_free
from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.relay.schedule import DELAY_TOLD_AFTER, RETRY_AFTER, next_attempt

#: How long a claim is good without being renewed. The hosts' clocks may differ by some of it.
LEASE = timedelta(minutes=3)
#: Recipients of one claim: what a connection does before it asks for more.
CLAIM_RECIPIENTS = 20


@dataclass(frozen=True, slots=True)
class ClaimedRecipient:
    """A recipient that is about to be tried."""

    id: int
    address: str
    notify: str
    original: str


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message and those of its recipients that were claimed; the fields are those of QueuedMessage."""

    id: int
    identity: str
    sender: str
    envelope_id: str
    returned: str
    smtputf8: bool
    eight_bit: bool
    octets: int
    wire_octets: int
    recipients: tuple[ClaimedRecipient, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a connection has to do; `domain` is that of the first recipient, and of all where they go by domain."""

    id: UUID
    domain: str
    messages: tuple[ClaimedMessage, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a connection that calls itself `id` would take: anything due, or more for one `domain`.

    `limit`: connections that may work for one destination at once, of all workers. `together`: all domains are one
    destination, a smarthost.
    """

    id: UUID
    now: datetime
    limit: int
    domain: str = ""
    together: bool = False


def claim(wish: Wish) -> Claim | None:
    """Claim what is due the longest; None where nothing is, or where the limit of what is has been reached.

    A look without a lock comes first, so that a worker with nothing to do stops nobody.
    """
    if not _wanted(wish).exists():
        return None
    with transaction.atomic():
        first = claimable(_wanted(wish))[:1]
        domain = wish.domain or next((row.domain for row in first), "")
        if not domain:
            return None
        due = _due(wish.now) if wish.together else _due(wish.now).filter(domain=domain)
        rows = list(claimable(due)[:CLAIM_RECIPIENTS])
        _take([row.pk for row in rows], wish)
    return Claim(wish.id, domain, _messages(rows)) if rows else None


def postpone(domain: str, reply: str, now: datetime) -> None:
    """There is no connection to a domain ("": to a smarthost): all that is due for it has made its attempt with that.

    Otherwise a long queue for a host that is down would be a connection attempt for each few of its messages. What the
    attempt may be news of to its sender, that it is late or too old, is left to be claimed and reported.
    """
    told = Q(delay_told_at__isnull=False) | Q(message__queued_at__gt=now - DELAY_TOLD_AFTER)
    due = _due(now).filter(told, message__expires_at__gt=now + RETRY_AFTER[-1]).order_by()
    if domain:
        due = due.filter(domain=domain)
    due.update(attempts=F("attempts") + 1, last_attempt_at=now, next_attempt_at=_next_attempt(now), last_reply=reply)


def renew(ids: Collection[UUID], now: datetime) -> None:
    """The connections with these ids still work at what they claimed."""
    QueuedRecipient.objects.filter(claimed_by__in=ids).update(claimed_until=now + LEASE)


def _due(now: datetime) -> QuerySet[QueuedRecipient]:
    waiting = QueuedRecipient.objects.filter(state=QueuedRecipient.State.WAITING, next_attempt_at__lte=now)
    return waiting.filter(is_free(now)).order_by("next_attempt_at", "id")


def _wanted(wish: Wish) -> QuerySet[QueuedRecipient]:
    due = _due(wish.now)
    if wish.domain:  # its connection is one of those that are counted
        return due if wish.together else due.filter(domain=wish.domain)
    working = QueuedRecipient.objects.filter(claimed_by__isnull=False, claimed_until__gt=wish.now).order_by()
    if wish.together:
        counted = working.aggregate(connections=Count("claimed_by", distinct=True))
        return due if counted["connections"] < wish.limit else due.none()
    full = working.values("domain").annotate(connections=Count("claimed_by", distinct=True))
    busy = list(full.filter(connections__gte=wish.limit).values_list("domain", flat=True))
    return due.exclude(domain__in=busy) if busy else due


def _take(ids: Sequence[int], wish: Wish) -> None:
    QueuedRecipient.objects.filter(pk__in=ids).update(
        claimed_by=wish.id,
        claimed_until=wish.now + LEASE,
        attempts=F("attempts") + 1,
        last_attempt_at=wish.now,
        next_attempt_at=_next_attempt(wish.now),
    )


def _next_attempt(now: datetime) -> Case:
    """When the attempt follows that begins now, by how many there were before it."""
    later = [When(attempts=made, then=Value(next_attempt(made + 1, now))) for made in range(len(RETRY_AFTER) - 1)]
    return Case(*later, default=Value(next_attempt(len(RETRY_AFTER), now)))


def _messages(rows: Sequence[QueuedRecipient]) -> tuple[ClaimedMessage, ...]:
    """The claimed recipients by message, in the order in which messages came to be due."""
    order = {row.message_id: None for row in rows}
    stored = QueuedMessage.objects.in_bulk(list(order))
    by_message = {
        message_id: tuple(ClaimedRecipient(row.pk, row.address, row.notify, row.original) for row in group)
        for message_id, group in groupby(sorted(rows, key=lambda row: row.message_id), key=lambda row: row.message_id)
    }
    return tuple(_message(stored[message_id], by_message[message_id]) for message_id in order if message_id in stored)


def _message(row: QueuedMessage, recipients: tuple[ClaimedRecipient, ...]) -> ClaimedMessage:
    return ClaimedMessage(
        id=row.pk,
        identity=row.identity,
        sender=row.sender,
        envelope_id=row.envelope_id,
        returned=row.returned,
        smtputf8=row.smtputf8,
        eight_bit=row.eight_bit,
        octets=row.octets,
        wire_octets=row.wire_octets,
        recipients=recipients,
    )
