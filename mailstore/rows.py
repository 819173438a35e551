"""The maildrop's row: made on first use, and locked by every change of its messages.

Rows are made before any is locked, and both in ascending order of mailbox, so that no two transactions wait for each
other in a circle. This lock lasts as long as a transaction; that of an open session is in the row, and no delivery
waits for it.
"""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.expressions import Col

from accounts.models import Mailbox
from mailstore.inserts import Statement
from mailstore.models import Maildrop, Message

_CHANGED = (
    "UPDATE mailstore_maildrop SET next_uid = %s, message_count = %s, octets = %s, version = %s WHERE mailbox_id = %s"
)


class MailboxGoneError(Exception):
    """The mailbox has been removed."""


def lock_maildrops(mailbox_ids: Iterable[int]) -> dict[int, Maildrop]:
    """The rows of these mailboxes, locked until the transaction ends; made where there is none yet.

    A mailbox that does not exist is left out.
    """
    wanted = set(mailbox_ids)
    # One row that is not there yet can be found out by locking it; of several some would be locked then.
    found = _locked(wanted) if len(wanted) == 1 else {}
    if not found:
        _make_missing(wanted)
        found = _locked(wanted)
    return found


def lock_maildrop(mailbox_id: int) -> Maildrop:
    """The row of one mailbox, locked until the transaction ends. Raises MailboxGoneError."""
    found = lock_maildrops([mailbox_id])
    if mailbox_id not in found:
        raise MailboxGoneError(mailbox_id)
    return found[mailbox_id]


def _make_missing(mailbox_ids: set[int]) -> None:
    missing = mailbox_ids.difference(
        Maildrop.objects.filter(mailbox_id__in=mailbox_ids).values_list("mailbox_id", flat=True)
    )
    existing = Mailbox.objects.filter(id__in=missing).order_by("id").values_list("id", flat=True)
    now = int(time.time())
    Maildrop.objects.bulk_create(
        [Maildrop(mailbox_id=mailbox_id, uidvalidity=first_uidvalidity(mailbox_id, now)) for mailbox_id in existing],
        ignore_conflicts=True,
    )


def first_uidvalidity(mailbox_id: int, now: int) -> int:
    """No other mailbox's, so that unique-ids made of it are unique over all mailboxes: several may be shown as one
    maildrop. The seconds of now, in ten digits, keep it from coming back with a number that a restored database gives
    out once more. Fits up to mailbox 922 million."""
    return mailbox_id * 10**10 + now


def _locked(mailbox_ids: set[int]) -> dict[int, Maildrop]:
    if not mailbox_ids:
        return {}
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("a row is locked until the end of a transaction")
    # SQL of our own, since every delivery waits for it: the ORM takes ten times the processor time to say the same.
    sql = _LOCKED.format(columns=_COLUMNS, places=", ".join(["%s"] * len(mailbox_ids)))
    if connection.features.has_select_for_update:
        sql += connection.ops.for_update_sql()
    with connection.cursor() as cursor:
        cursor.execute(sql, sorted(mailbox_ids))
        return {row[0]: _from_row(row) for row in cursor.fetchall()}


_FIELDS = Maildrop._meta.concrete_fields
_NAMES = [field.attname for field in _FIELDS]
_COLUMNS = ", ".join(_NAMES)
_LOCKED = "SELECT {columns} FROM mailstore_maildrop WHERE mailbox_id IN ({places}) ORDER BY mailbox_id "


def _from_row(row: Sequence[Any]) -> Maildrop:
    values = list(row)
    for number, column, convert in _converters(connection.vendor):
        values[number] = convert(values[number], column, connection)
    return Maildrop.from_db(connection.alias, _NAMES, values)


@functools.cache
def _converters(vendor: str) -> list[tuple[int, Col, Callable[..., Any]]]:
    """What makes values of a maildrop's fields out of those of this kind of database, by the place of the column."""
    columns = [field.get_col(Maildrop._meta.db_table) for field in _FIELDS]
    return [
        (number, column, convert)
        for number, column in enumerate(columns)
        for convert in connection.ops.get_db_converters(column) + column.get_db_converters(connection)
    ]


def live_messages(mailbox_id: int) -> QuerySet[Message]:
    """The messages of a mailbox that are not on the shelf."""
    return Message.objects.filter(mailbox_id=mailbox_id, deleted_at__isnull=True)


def shelved_messages(mailbox_id: int) -> QuerySet[Message]:
    """The messages of a mailbox that were deleted and are not purged yet."""
    return Message.objects.filter(mailbox_id=mailbox_id, deleted_at__isnull=False)


def among(uids: Sequence[int]) -> Q:
    """Messages with these uids, of which there is one at least; sorted ones are found at the least cost.

    SQLite looks for each. PostgreSQL does so for a few; for hundreds it would read the whole mailbox instead, but for
    a range, which tells it how little there is between the first and the last. SQLite would read all of a range.
    """
    if connection.vendor == "postgresql":
        return Q(uid__in=uids, uid__range=(min(uids), max(uids)))
    return Q(uid__in=uids)


def count_and_sum(messages: QuerySet[Message]) -> tuple[int, int]:
    """How many messages these are, and their octets together."""
    found = messages.aggregate(messages=Count("uid"), octets=Sum("octets", default=0))
    return found["messages"], found["octets"]


def change(maildrop: Maildrop) -> Statement:
    """What stores the counters and the next uid of a locked row whose live messages have changed."""
    maildrop.version += 1
    counters = [maildrop.next_uid, maildrop.message_count, maildrop.octets, maildrop.version]
    return _CHANGED, [*counters, maildrop.mailbox_id]


def save_changed(*maildrops: Maildrop) -> None:
    """Store the counters and the next uid of locked rows whose live messages have changed."""
    rows = [change(maildrop)[1] for maildrop in maildrops]
    with connection.cursor() as cursor:
        if len(rows) == 1:  # at a fifth of what executemany costs
            cursor.execute(_CHANGED, rows[0])
        else:
            cursor.executemany(_CHANGED, rows)


@transaction.atomic
def recount(*, mailbox_id: int) -> None:
    """Set the kept counters to what the live messages are. Raises MailboxGoneError."""
    maildrop = lock_maildrop(mailbox_id)
    maildrop.message_count, maildrop.octets = count_and_sum(live_messages(mailbox_id))
    save_changed(maildrop)
