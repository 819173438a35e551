"""Claiming an account that is due: one worker of many, on one host of many, looks at it, and has it for a while.

As in smtpservice.relay.claims the claim is written before anything is dialled, together with the next look: whatever
becomes of the worker, the account is looked at again, and not at once. A claim is good for LEASE and has to be
renewed. Nothing depends on that being so: each message is stored with a look at the claim in its transaction
(`holds`), so whoever has lost it stores nothing more.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from collecting.models import Source
from mailplatform.claims import claimable, is_free

#: How long a claim is good without being renewed, and so what a worker that died keeps. The hosts' clocks may differ by
#: some of it. A database that is away for longer breaks off looks, which had to store what they fetch.
LEASE = timedelta(minutes=1)


class ClaimLostError(Exception):
    """The account is another worker's now, or it is gone."""


def claim(worker: UUID, now: datetime) -> Source | None:
    """Claim the account that is due the longest; None where none is.

    A look without a lock comes first, so that a worker with nothing to do stops nobody.
    """
    if not _due(now).exists():
        return None
    with transaction.atomic():
        return _take(_due(now), worker, now)


def claim_one(source_id: int, worker: UUID, now: datetime) -> Source | None:
    """Claim this account, due or not; None where somebody has it, or it is gone."""
    with transaction.atomic():
        return _take(Source.objects.filter(is_free(now), pk=source_id), worker, now)


def renew(workers: Collection[UUID], now: datetime) -> None:
    """Those who claimed by these names still work at what they claimed."""
    Source.objects.filter(claimed_by__in=workers).update(claimed_until=now + LEASE)


def holds(source: Source) -> None:
    """Lock the row of a claimed account until the transaction ends. Raises ClaimLostError."""
    held = Source.objects.select_for_update().filter(pk=source.pk, claimed_by=source.claimed_by)
    if not held.values_list("pk").first():
        raise ClaimLostError(source.pk)


def _take(wanted: QuerySet[Source], worker: UUID, now: datetime) -> Source | None:
    source = claimable(wanted).first()
    if source is None:
        return None
    source.claimed_by, source.claimed_until, source.last_look_at = worker, now + LEASE, now
    source.next_look_at = now + timedelta(minutes=source.interval_minutes)
    source.save(update_fields=["claimed_by", "claimed_until", "last_look_at", "next_look_at"])
    return source


def _due(now: datetime) -> QuerySet[Source]:
    wanted = Source.objects.filter(is_free(now), is_active=True, next_look_at__lte=now)
    return wanted.filter(mailbox__is_active=True, mailbox__user__is_active=True).order_by("next_look_at", "pk")
