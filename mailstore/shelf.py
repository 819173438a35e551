"""The shelf: messages that were deleted or have expired, kept for a while, and given back or purged.

A message that comes back is a new one to its maildrop: it gets the next uid and with it a new unique-id, so that no
session that is open sees its messages move, and a client that has it already marked as deleted fetches it again.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from mailstore.locks import Lock
from mailstore.maildrop import MaildropInUseError
from mailstore.models import Content, Message
from mailstore.rows import among, live_messages, lock_maildrop, save_changed, shelved_messages

#: Messages expired or purged in one transaction, so that deliveries do not wait long for the row.
_AT_ONCE = 200


@transaction.atomic
def restore(*, mailbox_id: int, uids: Sequence[int]) -> int:
    """Give messages back to the maildrop, in their old order, as the newest; answers how many were on the shelf.

    Raises MailboxGoneError.
    """
    maildrop, now = lock_maildrop(mailbox_id), timezone.now()
    found = list(shelved_messages(mailbox_id).filter(uid__in=uids).order_by("uid").values_list("uid", "octets"))
    for uid, octets in found:
        new_uid, maildrop.next_uid = maildrop.next_uid, maildrop.next_uid + 1
        Content.objects.filter(mailbox_id=mailbox_id, uid=uid).update(uid=new_uid)
        Message.objects.filter(mailbox_id=mailbox_id, uid=uid).update(
            uid=new_uid, unique_id="", deleted_at=None, deleted_serial=None, restored_at=now
        )
        maildrop.message_count += 1
        maildrop.octets += octets
    if found:
        save_changed(maildrop)
    return len(found)


def expire(*, mailbox_id: int, before: datetime) -> int:
    """Put on the shelf what was received before that moment, and not given back since; answers how many messages.

    Raises MailboxGoneError; MaildropInUseError where a session has the maildrop open, whose messages do not go away
    (RFC 1939, 4), with what was done until then.
    """
    expired = 0
    while True:
        with transaction.atomic():
            maildrop = lock_maildrop(mailbox_id)
            if maildrop.lock_worker is not None:
                now = timezone.now()
                lock = Lock(maildrop.lock_worker, maildrop.lock_serial)
                raise MaildropInUseError(mailbox_id, lock, maildrop.locked_at or now)
            old = live_messages(mailbox_id).filter(received_at__lt=before).exclude(restored_at__gte=before)
            octets = dict(old.order_by("uid").values_list("uid", "octets")[:_AT_ONCE])
            if octets:
                live_messages(mailbox_id).filter(among(list(octets))).update(deleted_at=timezone.now())
                maildrop.message_count -= len(octets)
                maildrop.octets -= sum(octets.values())
                save_changed(maildrop)
        expired += len(octets)
        if len(octets) < _AT_ONCE:
            return expired


def purge(*, mailbox_id: int, before: datetime) -> int:
    """Remove for ever what was deleted before that moment; answers how many messages. Raises MailboxGoneError."""
    purged = 0
    while True:
        with transaction.atomic():
            lock_maildrop(mailbox_id)
            old = shelved_messages(mailbox_id).filter(deleted_at__lt=before).order_by("uid")
            uids = list(old.values_list("uid", flat=True)[:_AT_ONCE])
            if uids:
                Content.objects.filter(among(uids), mailbox_id=mailbox_id).delete()
                Message.objects.filter(among(uids), mailbox_id=mailbox_id).delete()
        purged += len(uids)
        if len(uids) < _AT_ONCE:
            return purged
