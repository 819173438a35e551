"""Taking mailboxes away for good, with all their mail, live and on the shelf."""

from collections.abc import Iterator, Sequence

from django.db import transaction

from accounts.models import Mailbox
from mailstore.rows import lock_maildrops

#: Mailboxes named in one statement; SQLite takes a bounded number of parameters.
_AT_ONCE = 500


@transaction.atomic
def remove_mailboxes(*, mailbox_ids: Sequence[int]) -> int:
    """Delete these mailboxes, their messages and contents; answers how many mailboxes there were.

    The rows of messages and contents are never loaded: the database deletes them, one statement per table and chunk
    of mailboxes. The maildrops' rows are locked first, in the order in which deliveries lock them, and made where there
    are none, so that a delivery comes before, and is deleted too, or after, and finds the mailbox gone.
    """
    removed = 0
    for chunk in _chunks(sorted(mailbox_ids)):
        lock_maildrops(chunk)
        _total, by_model = Mailbox.objects.filter(pk__in=chunk).delete()
        removed += by_model.get(Mailbox._meta.label, 0)
    return removed


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
