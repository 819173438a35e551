"""What people do to the queue: try again now, hold, release, drop. Each is one transaction.

What is being sent at that very moment goes on being sent: a peer's 250 counts, whatever was decided meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.relay.notices import Action, Fate
from smtpservice.relay.outcomes import PeerReply, settle

State = QueuedRecipient.State

_GIVEN_UP = PeerReply(554, "5.7.0", "Given up by the postmaster of this server")


def retry_now(*, recipient_ids: Sequence[int]) -> int:
    """Make these due at once, those that are held too; answers how many there were."""
    chosen = QueuedRecipient.objects.filter(pk__in=recipient_ids, state__in=QueuedRecipient.OPEN)
    return chosen.update(state=State.WAITING, next_attempt_at=timezone.now())


def hold(*, recipient_ids: Sequence[int]) -> int:
    """Leave these alone until they are released or tried again; answers how many waited."""
    chosen = QueuedRecipient.objects.filter(pk__in=recipient_ids, state=State.WAITING)
    return chosen.update(state=State.HELD)


def release(*, recipient_ids: Sequence[int]) -> int:
    """Go on with what is held, at its next attempt; answers how many were."""
    chosen = QueuedRecipient.objects.filter(pk__in=recipient_ids, state=State.HELD)
    return chosen.update(state=State.WAITING)


def drop(*, recipient_ids: Sequence[int], tell: bool) -> int:
    """Give these up; `tell`: their senders get a notice. Answers how many there were."""
    chosen = QueuedRecipient.objects.filter(pk__in=recipient_ids, state__in=QueuedRecipient.OPEN)
    messages = sorted(set(chosen.values_list("message_id", flat=True)))
    return sum(_drop_of(message_id, recipient_ids, tell=tell) for message_id in messages)


@transaction.atomic
def _drop_of(message_id: int, recipient_ids: Sequence[int], *, tell: bool) -> int:
    message = QueuedMessage.objects.select_for_update().filter(pk=message_id).first()
    if message is None:
        return 0
    rows = message.recipients.select_for_update().filter(pk__in=recipient_ids, state__in=QueuedRecipient.OPEN)
    dropped = list(rows.order_by("id"))
    message.recipients.filter(pk__in=[row.pk for row in dropped]).update(
        state=State.DROPPED, claimed_by=None, claimed_until=None, last_reply=str(_GIVEN_UP)
    )
    now = timezone.now()
    settle(message, [_fate(row, now) for row in dropped] if tell else [])
    return len(dropped)


def _fate(row: QueuedRecipient, now: datetime) -> Fate:
    return Fate(
        action=Action.FAILED,
        address=row.address,
        original=row.original,
        notify=row.notify,
        status=_GIVEN_UP.status,
        diagnostic=str(_GIVEN_UP),
        peer="",
        attempted_at=row.last_attempt_at or now,
    )
