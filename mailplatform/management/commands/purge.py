"""`purge`: what a host does once a day. Messages expire by policy, and what lay on the shelf long enough is removed.

Mailbox by mailbox, some messages in a transaction, beside open sessions and deliveries: a maildrop that is open loses
nothing, its turn is the next day. May be run on several hosts, and ended at any moment.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.models import Mailbox
from accounts.policies import expire_days_in_force
from mailplatform.management.base import MailCommand
from mailstore.locks import free_locks
from mailstore.maildrop import MaildropInUseError
from mailstore.rows import MailboxGoneError
from mailstore.shelf import expire, purge
from pop3service.workers import are_dead

#: Mailboxes asked for with one query.
_AT_ONCE = 1000


class Command(MailCommand):
    help = (
        "Put expired messages on the shelf, and remove for ever what lay there MAIL_SHELF_DAYS days. Run it once a day."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        expired = purged = in_use = 0
        for mailbox_id, days in _mailboxes():
            try:
                if days:
                    expired += _expire(mailbox_id, timedelta(days=days))
            except MaildropInUseError:
                in_use += 1
            except MailboxGoneError:
                continue
            with suppress(MailboxGoneError):
                purged += purge(mailbox_id=mailbox_id, before=now - timedelta(days=settings.MAIL_SHELF_DAYS))
        self.stdout.write(f"{expired} messages expired, {purged} removed from the shelf")
        if in_use:
            self.stdout.write(f"{in_use} mailboxes are open in a session: what expires there does so the next time")


def _mailboxes() -> Iterator[tuple[int, int]]:
    """Each mailbox that ever had mail or a session, and the days after which its messages expire; 0: never."""
    used = Mailbox.objects.filter(maildrop__isnull=False)
    rows = used.annotate(days=expire_days_in_force()).order_by("id").values_list("id", "days")
    after = 0
    while some := list(rows.filter(id__gt=after)[:_AT_ONCE]):
        yield from some
        after = some[-1][0]


def _expire(mailbox_id: int, age: timedelta) -> int:
    """What `expire` does, also where a session that has died left its lock. Raises MaildropInUseError."""
    before = timezone.now() - age
    try:
        return expire(mailbox_id=mailbox_id, before=before)
    except MaildropInUseError as error:
        if not are_dead([error.holder.worker])[0]:
            raise
        free_locks([(mailbox_id, error.holder)])
        return expire(mailbox_id=mailbox_id, before=before)
