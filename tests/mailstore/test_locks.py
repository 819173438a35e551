"""Locks are taken where they are free or a dead session's, freed by whom they name, and cost no promise to others."""

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailplatform.statements import Statement
from mailstore import locks
from mailstore.locks import Lock, find_holders, free_locks, take_locks, unhurried
from mailstore.models import Maildrop
from mailstore.rows import lock_maildrops, save_changed
from tests.mailstore.mailboxes import fill, make_mailbox

WORKER, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def take(*mailboxes: FoundMailbox, worker: uuid.UUID = WORKER, dead: Lock | None = None) -> dict[int, Lock]:
    """Lock what can be locked; answers the lock of each mailbox that was."""
    ids = [mailbox.id for mailbox in mailboxes]
    rows = take_locks(mailbox_ids=ids, worker=worker, dead=dead, now=NOW)
    return {mailbox_id: Lock(worker, serial) for mailbox_id, serial, *_ in rows}


def holder(mailbox: FoundMailbox) -> Lock | None:
    row = Maildrop.objects.get(mailbox_id=mailbox.id)
    return Lock(row.lock_worker, row.lock_serial) if row.lock_worker else None


@pytest.mark.django_db
class TestTake:
    def test_says_what_the_row_holds(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one\n", b"three\n")
        before = Maildrop.objects.get(mailbox_id=mailbox.id)
        (row,) = take_locks(mailbox_ids=[mailbox.id], worker=WORKER, dead=None, now=NOW)
        after = Maildrop.objects.get(mailbox_id=mailbox.id)
        counters = 3, 2, before.octets, before.version, False
        assert row == (mailbox.id, int(NOW.timestamp() * 1_000_000), before.uidvalidity, *counters)
        assert (after.lock_worker, after.locked_at, after.opened_at) == (WORKER, NOW, NOW)

    def test_leaves_what_another_holds(self, mailbox: FoundMailbox) -> None:
        free = make_mailbox("free")
        fill(mailbox.id, b"x")
        fill(free.id, b"x")
        held = take(mailbox)[mailbox.id]
        assert take(mailbox, free, worker=OTHER).keys() == {free.id}
        assert holder(mailbox) == held

    def test_takes_from_the_dead_one_that_is_named_and_no_other(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"x")
        first = take(mailbox)[mailbox.id]
        assert not take(mailbox, worker=OTHER, dead=Lock(WORKER, first.serial - 1))
        assert not take(mailbox, worker=OTHER, dead=Lock(OTHER, first.serial))
        assert take(mailbox, worker=OTHER, dead=first) == {mailbox.id: Lock(OTHER, first.serial + 1)}


@pytest.mark.django_db
def test_holders_are_found_in_one_query(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    free = make_mailbox("free")
    fill(mailbox.id, b"x")
    fill(free.id, b"x")
    held = take(mailbox)[mailbox.id]
    with django_assert_num_queries(1):
        assert find_holders([free.id, mailbox.id, 404, mailbox.id]) == [None, held, None, held]


@pytest.mark.django_db
class TestFree:
    def test_only_of_the_session_that_holds_it(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"x")
        held = take(mailbox)[mailbox.id]
        assert not free_locks([(mailbox.id, Lock(OTHER, held.serial)), (mailbox.id, Lock(WORKER, held.serial + 1))])
        assert holder(mailbox) == held
        assert free_locks([(mailbox.id, held)]) == {(mailbox.id, held.serial)}
        assert holder(mailbox) is None
        assert not free_locks([(mailbox.id, held)])

    def test_of_nobody_asks_nothing(self) -> None:
        assert free_locks([]) == set()


@pytest.mark.django_db(transaction=True)
class TestBesideOthers:
    def test_the_disk_is_waited_for_again_afterwards(self, mailbox: FoundMailbox) -> None:
        """Promise 1: deliveries over the same connection are on the disk when they are answered."""
        fill(mailbox.id, b"x")
        free_locks(list(take(mailbox).items()))
        self.assert_disk_is_waited_for()

    def test_also_within_a_transaction_that_does_more(self, mailbox: FoundMailbox) -> None:
        """Promise 2: what QUIT deletes is on the disk when it is answered, though its lock is freed with it."""
        fill(mailbox.id, b"x")
        with transaction.atomic():
            free_locks(list(take(mailbox).items()))
            self.assert_disk_is_waited_for()

    def assert_disk_is_waited_for(self) -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)
            else:
                cursor.execute("SHOW synchronous_commit")
                assert cursor.fetchone() == ("on",)

    def test_what_is_done_together_is_done_or_not(self, mailbox: FoundMailbox) -> None:
        """On SQLite, where it is one transaction."""
        fill(mailbox.id, b"x")
        broken = Statement("UPDATE mailstore_maildrop SET no_such_column = 1")
        taken: dict[int, Lock] = {}

        def take_and_fail() -> None:
            with unhurried():
                taken.update(take(mailbox))
                broken.fetch()

        with pytest.raises(DatabaseError):
            take_and_fail()
        assert holder(mailbox) == (None if connection.vendor == "sqlite" else taken[mailbox.id])
        self.assert_disk_is_waited_for()
        Maildrop.objects.update(lock_worker=None)
        with unhurried():
            free_locks(list(take(mailbox).items()))
            held = take(mailbox)
        assert holder(mailbox) == held[mailbox.id]
        self.assert_disk_is_waited_for()

    def test_also_after_an_error(self, mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = Statement("UPDATE mailstore_maildrop SET no_such_column = 1")
        monkeypatch.setattr(locks, "_TAKES", dict.fromkeys(locks._TAKES, broken))
        with pytest.raises(DatabaseError):
            take(mailbox)
        self.assert_disk_is_waited_for()

    def test_a_serial_is_not_given_twice_if_the_database_forgets_the_first(self, mailbox: FoundMailbox) -> None:
        """As after a crash, since it does not wait for the disk: its session then finds the lock gone."""
        fill(mailbox.id, b"x")
        (first,) = take_locks(mailbox_ids=[mailbox.id], worker=WORKER, dead=None, now=NOW)
        Maildrop.objects.update(lock_worker=None, lock_serial=0)
        later = NOW + timedelta(milliseconds=1)
        (second,) = take_locks(mailbox_ids=[mailbox.id], worker=WORKER, dead=None, now=later)
        assert second[1] > first[1]
        assert not free_locks([(mailbox.id, Lock(WORKER, first[1]))])

    def test_overlapping_batches_in_opposite_orders_do_not_wait_for_each_other(self, mailbox: FoundMailbox) -> None:
        """Nor for deliveries and removals, and where the table is so small that the planner looks through all of it."""
        everyone = [mailbox, *(make_mailbox(f"user{number}") for number in range(20))]
        for one in everyone:
            fill(one.id, b"x")
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE mailstore_maildrop")
        failures: list[BaseException] = []

        def repeat(step: Callable[[], None]) -> None:
            try:
                for _ in range(100):
                    step()
            except BaseException as error:
                failures.append(error)
            finally:
                connection.close()

        def take_and_free(worker: uuid.UUID, order: list[FoundMailbox]) -> None:
            free_locks(list(take(*order, worker=worker).items()))

        def deliver() -> None:
            with transaction.atomic():
                save_changed(*lock_maildrops(one.id for one in everyone).values())

        steps = [partial(take_and_free, WORKER, everyone), partial(take_and_free, OTHER, everyone[::-1]), deliver]
        threads = [threading.Thread(target=repeat, args=[step]) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert all(holder(one) is None for one in everyone)
