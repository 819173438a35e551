"""Rows are deleted in parts, in order, and not those that somebody is writing."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts import pruning
from accounts.models import KnownAddress
from accounts.pruning import delete_rows


def make(number: int) -> None:
    now = timezone.now()
    KnownAddress.objects.bulk_create(
        KnownAddress(login=str(n), network="192.0.2.7/32", seen_at=now + timedelta(seconds=n)) for n in range(number)
    )


def left() -> list[str]:
    return list(KnownAddress.objects.order_by("pk").values_list("login", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize(("most", "gone"), [(None, 7), (5, 5), (4, 4), (7, 7), (100, 7), (0, 0), (-3, 0)])
def test_the_first_ones_go_so_many_in_all(monkeypatch: pytest.MonkeyPatch, most: int | None, gone: int) -> None:
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    make(7)
    assert delete_rows(KnownAddress.objects.order_by("seen_at"), most=most) == gone
    assert left() == [str(number) for number in range(gone, 7)]


@pytest.mark.django_db
def test_it_stops_and_goes_on_with_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that grew for long takes no chore for ever."""
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    monkeypatch.setattr(pruning, "MOST_TRANSACTIONS", 2)
    make(7)
    rows = KnownAddress.objects.order_by("seen_at")
    assert [delete_rows(rows) for _ in range(3)] == [4, 3, 0]


@pytest.mark.django_db(transaction=True)
def test_a_row_that_is_being_written_stays_where_rows_are_locked_one_by_one() -> None:
    make(3)
    deleted: list[int] = []

    def prune() -> None:
        try:
            deleted.append(delete_rows(KnownAddress.objects.order_by("seen_at")))
        finally:
            connection.close()

    thread = threading.Thread(target=prune)
    one_by_one = connection.features.has_select_for_update_skip_locked
    with transaction.atomic():
        KnownAddress.objects.filter(login="1").update(seen_at=timezone.now())
        thread.start()
        thread.join(timeout=30 if one_by_one else 0.2)
        # SQLite has one writer at a time, and the other waits for it
        assert thread.is_alive() is not one_by_one
    thread.join(timeout=30)
    assert (deleted, left()) == (([2], ["1"]) if one_by_one else ([3], []))
