"""The lock of an open session, in the maildrop's row: taken and freed for many sessions with one statement.

SQL of our own, since every login and every QUIT waits for it: the ORM has no UPDATE ... RETURNING, and the statements
it takes instead cost six times the processor time (measured with 20 sessions at once on SQLite).

Rows are locked in ascending order of mailbox, as everywhere (mailstore.rows). These statements, where they are
transactions of their own, do not wait for the disk: what a crash of the database takes back of them is that a maildrop
was locked or freed. Its session, where that lives on, finds that its lock has gone and deletes nothing; the next one
gets another serial, since serials are not below the clock's microseconds.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from mailplatform.statements import Statement, thread_connection
from mailstore.models import Maildrop


@dataclass(frozen=True, slots=True)
class Lock:
    """One session's hold on a maildrop, of which no two sessions ever have the same; locks of several maildrops that
    were taken with one statement are the same."""

    worker: UUID
    serial: int

    def __hash__(self) -> int:
        """That of the worker would tell few apart, and takes longer than the rest of a look into a dictionary."""
        return hash(self.serial)


#: A locked row: mailbox, serial of the lock, uidvalidity, next uid, messages, octets, version, surrogates or not.
Taken = tuple[int, int, int, int, int, int, int, int]
_COLUMNS = 8

_TAKE = """
UPDATE mailstore_maildrop SET lock_worker = $worker::uuid, locked_at = $now::timestamptz, opened_at = $now::timestamptz,
    lock_serial = CASE WHEN lock_serial < $serial::bigint THEN $serial::bigint ELSE lock_serial + 1 END
WHERE {{first}}mailbox_id = ANY($mailbox_ids::bigint[]) AND {takeable}{rested}{{in_order}}
RETURNING mailbox_id, lock_serial, uidvalidity, next_uid, message_count, octets, version, has_surrogates{{unhurried}}
"""
_FREE = """
UPDATE mailstore_maildrop SET lock_worker = NULL
WHERE {first}mailbox_id = ANY($mailbox_ids::bigint[])
    AND lock_worker = $worker::uuid AND mailbox_id || '.' || lock_serial = ANY($locks::text[]){in_order}
RETURNING mailbox_id, lock_serial{unhurried}
"""
_FREE_OR_DEAD = {
    False: "lock_worker IS NULL",
    True: "(lock_worker IS NULL OR lock_worker = $dead_worker::uuid AND lock_serial = $dead_serial::bigint)",
}
_RESTED = {False: "", True: " AND (opened_at IS NULL OR opened_at <= $opened_before::timestamptz)"}
#: An UPDATE locks its rows in any order. On SQLite, which has one lock, there is none, and the rows are looked up once.
_FIRST = "mailbox_id IN (SELECT mailbox_id FROM mailstore_maildrop WHERE "
_IN_ORDER = " ORDER BY mailbox_id FOR UPDATE)"
#: Part of what is returned, so that it is carried out, and in force until this transaction has ended.
_UNHURRIED = {False: "", True: ", set_config('synchronous_commit', 'off', true)"}


def _statement(text: str, *, alone: bool) -> Statement:
    return Statement(text, first=_FIRST, in_order=_IN_ORDER, unhurried=_UNHURRIED[alone])


#: By whether there is a dead session, and whether there is a delay; within a transaction, and alone.
_TAKES = {
    (dead, delay, alone): _statement(_TAKE.format(takeable=_FREE_OR_DEAD[dead], rested=_RESTED[delay]), alone=alone)
    for dead in (False, True)
    for delay in (False, True)
    for alone in (False, True)
}
_FREES = {alone: _statement(_FREE, alone=alone) for alone in (False, True)}


def take_locks(
    *, mailbox_ids: Sequence[int], worker: UUID, dead: Lock | None, now: datetime, opened_before: datetime | None = None
) -> list[Taken]:
    """Lock those of the maildrops that are free, or `dead`'s still; answers what the rows of these hold.

    With `opened_before` only those of them whose last session began no later.
    """
    serial = int(now.timestamp() * 1_000_000)
    with unhurried():
        alone = not thread_connection().in_atomic_block
        taken = _TAKES[dead is not None, opened_before is not None, alone]
        rows = taken.fetch(
            mailbox_ids=list(mailbox_ids), worker=worker, now=now, serial=serial, opened_before=opened_before,
            dead_worker=dead and dead.worker, dead_serial=dead and dead.serial,
        )  # fmt: skip
    return [row[:_COLUMNS] for row in rows]


def free_locks(held: Sequence[tuple[int, Lock]]) -> set[tuple[int, int]]:
    """Free the locks that are in force still; answers the mailbox and the serial of each of those."""
    freed: set[tuple[int, int]] = set()
    for worker, of_worker in groupby(held, key=lambda each: each[1].worker):  # one, nearly always
        its = [(mailbox_id, lock.serial) for mailbox_id, lock in of_worker]
        with unhurried():
            alone = not thread_connection().in_atomic_block
            rows = _FREES[alone].fetch(
                mailbox_ids=[mailbox_id for mailbox_id, _ in its],
                worker=worker,
                locks=[f"{mailbox_id}.{serial}" for mailbox_id, serial in its],
            )
        freed.update(row[:2] for row in rows)
    return freed


def find_holders(mailbox_ids: Sequence[int]) -> list[Lock | None]:
    """For each mailbox the lock that is held on its maildrop; None where it is free. Made for `bridge.gather`."""
    held = find_held(mailbox_ids)
    return [held[mailbox_id][0] if mailbox_id in held else None for mailbox_id in mailbox_ids]


def find_held(mailbox_ids: Collection[int]) -> dict[int, tuple[Lock, datetime]]:
    """By mailbox, ascending, the locks that are held on these maildrops, and since when."""
    if not mailbox_ids:
        return {}
    rows = Maildrop.objects.filter(mailbox_id__in=set(mailbox_ids), lock_worker__isnull=False)
    columns = rows.order_by("mailbox_id").values_list("mailbox_id", "lock_worker", "lock_serial", "locked_at")
    return {
        mailbox_id: (Lock(worker, serial), since)
        for mailbox_id, worker, serial, since in columns
        if worker is not None and since is not None
    }


@contextmanager
def unhurried() -> Iterator[None]:
    """What is done with locks within it does not wait for the disk, unless a transaction is under way, and is one
    transaction on SQLite, which writes a page once for all of it. PostgreSQL's statements say so themselves."""
    connection = thread_connection()
    if connection.vendor != "sqlite" or connection.in_atomic_block or getattr(_within, "unhurried", False):
        yield
        return
    _NORMAL.fetch()
    _within.unhurried = True
    try:
        _BEGIN.fetch()
        try:
            yield
            _COMMIT.fetch()
        except BaseException:
            if connection.connection.in_transaction:
                _ROLLBACK.fetch()
            raise
    finally:
        _within.unhurried = False
        _FULL.fetch()


_within = threading.local()
_NORMAL, _FULL = Statement("PRAGMA synchronous=NORMAL"), Statement("PRAGMA synchronous=FULL")
_BEGIN, _COMMIT, _ROLLBACK = Statement("BEGIN IMMEDIATE"), Statement("COMMIT"), Statement("ROLLBACK")
