"""Sessions that are to end: those that an admin names, and those whose login would not be let in any more.

For what an admin wants there is a row, which the worker that serves the session takes with its heartbeat.

A session is named by its mailbox and the serial of its lock. So a request never ends the wrong one, whichever session
has come after it, and one for a session that is over ends nothing.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from mailstore.locks import Lock
from pop3service.models import EndRequest
from pop3service.words import _

#: What the client is told.
TEXT = _("an admin has ended this session, nothing was deleted: log in again")
#: And where its login was revoked (accounts.guests).
REVOKED = _("this login is no longer allowed, nothing was deleted: log in again")
#: Seconds between two looks for those.
LOOK_SECONDS = 10.0
#: Questions about bearer tokens at the same time: logins have the rest of accounts.tokens.THREADS.
ASKED_AT_ONCE = 3
#: A request that nobody took after so long was for a worker that is no more.
FORGET_AFTER = timedelta(hours=1)

#: A mailbox and the serial of its lock.
Named = tuple[int, int]


@transaction.atomic
def ask_to_end(*, mailbox_id: int, lock: Lock) -> None:
    """Have a session ended, within some seconds. Asked again it is asked once."""
    EndRequest.objects.filter(asked_at__lt=Now() - FORGET_AFTER).delete()
    request = EndRequest(worker=lock.worker, mailbox_id=mailbox_id, serial=lock.serial)
    EndRequest.objects.bulk_create([request], ignore_conflicts=True)


def find_asked(sessions: Sequence[Named]) -> set[Named]:
    """Those of the sessions that are to end and whose workers have not heard of it yet."""
    asked = EndRequest.objects.filter(mailbox_id__in=[mailbox_id for mailbox_id, _serial in sessions])
    return set(sessions) & set(asked.values_list("mailbox_id", "serial"))


def take_asked(worker: uuid.UUID) -> set[Named]:
    """The sessions that this worker is to end; it is asked once."""
    found = list(EndRequest.objects.filter(worker=worker).values_list("pk", "mailbox_id", "serial"))
    if found:
        EndRequest.objects.filter(pk__in=[pk for pk, _, _ in found]).delete()
    return {(mailbox_id, serial) for _, mailbox_id, serial in found}
