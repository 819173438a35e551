"""The lock of an open session, in the maildrop's row: taken and freed for many sessions with one statement.

SQL of our own, since every login and every QUIT waits for it: the ORM has no UPDATE ... RETURNING, and the statements
it takes instead cost six times the processor time (measured with 20 sessions at once on SQLite).

Rows are locked in ascending order of mailbox, as everywhere (mailstore.rows). These statements, where they are
transactions of their own, do not wait for the disk: what a crash of the database takes back of them is that a maildrop
was locked or freed. Its session, where that lives on, finds that its lock has gone and deletes nothing; the next one
gets another serial, since serials are not below the clock's microseconds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.backends.utils import CursorWrapper

from mailstore.models import Maildrop


@dataclass(frozen=True, slots=True)
class Lock:
    """One session's hold on a maildrop; no two sessions ever have the same."""

    worker: UUID
    serial: int


#: A locked row: mailbox, serial of the lock, uidvalidity, next uid, messages, octets, version, surrogates or not.
Taken = tuple[int, int, int, int, int, int, int, int]
_COLUMNS = 8

_TAKE = """
UPDATE mailstore_maildrop SET lock_worker = %s, locked_at = %s, opened_at = %s,
    lock_serial = CASE WHEN lock_serial < %s THEN %s ELSE lock_serial + 1 END
WHERE mailbox_id IN (
    SELECT mailbox_id FROM mailstore_maildrop WHERE mailbox_id IN ({mailboxes}) AND {takeable}{rested}
    ORDER BY mailbox_id{for_update}
)
RETURNING mailbox_id, lock_serial, uidvalidity, next_uid, message_count, octets, version, has_surrogates{unhurried}
"""
_FREE_OR_DEAD = {False: "lock_worker IS NULL", True: "(lock_worker IS NULL OR lock_worker = %s AND lock_serial = %s)"}
_RESTED = {False: "", True: " AND (opened_at IS NULL OR opened_at <= %s)"}
_FREE = """
UPDATE mailstore_maildrop SET lock_worker = NULL
WHERE mailbox_id IN (
    SELECT mailbox_id FROM mailstore_maildrop WHERE {held}
    ORDER BY mailbox_id{for_update}
)
RETURNING mailbox_id{unhurried}
"""
#: Part of what is returned, so that it is carried out, and in force until this transaction has ended.
_UNHURRIED = ", set_config('synchronous_commit', 'off', true)"
_HELD = "(mailbox_id = %s AND lock_worker = %s AND lock_serial = %s)"


def take_locks(
    *, mailbox_ids: Sequence[int], worker: UUID, dead: Lock | None, now: datetime, opened_before: datetime | None = None
) -> list[Taken]:
    """Lock those of the maildrops that are free, or `dead`'s still; answers what the rows of these hold.

    With `opened_before` only those of them whose last session began no later.
    """
    sql = _TAKE.format(
        mailboxes=", ".join(["%s"] * len(mailbox_ids)),
        takeable=_FREE_OR_DEAD[dead is not None],
        rested=_RESTED[opened_before is not None],
        **_of_database(),
    )
    moment = connection.ops.adapt_datetimefield_value(now)
    serial = int(now.timestamp() * 1_000_000)
    holder = [_key(dead.worker), dead.serial] if dead else []
    rest = [connection.ops.adapt_datetimefield_value(opened_before)] if opened_before else []
    with _cursor() as cursor:
        cursor.execute(sql, [_key(worker), moment, moment, serial, serial, *mailbox_ids, *holder, *rest])
        return [row[:_COLUMNS] for row in cursor.fetchall()]


def free_locks(held: Sequence[tuple[int, Lock]]) -> set[int]:
    """Free the locks that are in force still; answers the mailboxes of those."""
    if not held:
        return set()
    sql = _FREE.format(held=" OR ".join([_HELD] * len(held)), **_of_database())
    parameters: list[Any] = []
    for mailbox_id, lock in held:
        parameters += (mailbox_id, _key(lock.worker), lock.serial)
    with _cursor() as cursor:
        cursor.execute(sql, parameters)
        return {row[0] for row in cursor.fetchall()}


def find_holders(mailbox_ids: Sequence[int]) -> list[Lock | None]:
    """For each mailbox the lock that is held on its maildrop; None where it is free. Made for `bridge.gather`."""
    rows = Maildrop.objects.filter(mailbox_id__in=set(mailbox_ids), lock_worker__isnull=False)
    found = {
        mailbox_id: Lock(worker, serial)
        for mailbox_id, worker, serial in rows.values_list("mailbox_id", "lock_worker", "lock_serial")
        if worker is not None
    }
    return [found.get(mailbox_id) for mailbox_id in mailbox_ids]


@contextmanager
def _cursor() -> Iterator[CursorWrapper]:
    """A cursor whose statements, where they are transactions of their own, do not wait for the disk; on PostgreSQL
    they say so themselves (_UNHURRIED)."""
    with connection.cursor() as cursor:
        if connection.vendor != "sqlite" or connection.in_atomic_block:
            yield cursor
            return
        cursor.execute("PRAGMA synchronous=NORMAL")
        try:
            yield cursor
        finally:
            cursor.execute("PRAGMA synchronous=FULL")


def _of_database() -> dict[str, str]:
    """What PostgreSQL's statements have that SQLite's have not."""
    if connection.vendor == "sqlite":
        return {"for_update": "", "unhurried": ""}
    return {"for_update": " FOR UPDATE", "unhurried": "" if connection.in_atomic_block else _UNHURRIED}


def _key(worker: UUID) -> Any:
    return Maildrop._meta.get_field("lock_worker").get_db_prep_value(worker, connection)
