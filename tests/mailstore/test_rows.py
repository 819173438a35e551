"""The maildrop's row is there when it is needed, and its counters can be put right."""

from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailstore.models import Maildrop
from mailstore.rows import MailboxGoneError, first_uidvalidity, lock_maildrop, lock_maildrops, recount
from tests.mailstore.mailboxes import assert_counters_fit, fill, make_mailbox

pytestmark = pytest.mark.django_db


def test_a_row_is_made_when_it_is_first_locked(mailbox: FoundMailbox) -> None:
    assert not Maildrop.objects.exists()
    made = lock_maildrop(mailbox.id)
    assert (made.next_uid, made.message_count, made.octets) == (1, 0, 0)
    assert made.uidvalidity > mailbox.id * 10**10 + 1_700_000_000
    assert lock_maildrop(mailbox.id).uidvalidity == made.uidvalidity


@given(st.lists(st.tuples(st.integers(1, 922_000_000), st.integers(0, 2**32)), min_size=2, max_size=2, unique=True))
def test_rfc1939_7_no_two_mailboxes_have_the_same_uidvalidity(mailboxes: list[tuple[int, int]]) -> None:
    """Else messages of two that are shown as one maildrop would have the same unique-id."""
    first, second = (first_uidvalidity(*each) for each in mailboxes)
    assert first != second
    assert max(first, second) < 2**63


def test_a_mailbox_that_does_not_exist_has_no_row(mailbox: FoundMailbox) -> None:
    other = make_mailbox("alfred")
    assert list(lock_maildrops([other.id, 999_999, mailbox.id])) == sorted([mailbox.id, other.id])
    with pytest.raises(MailboxGoneError):
        lock_maildrop(999_999)


def test_a_locked_row_has_the_values_that_the_orm_reads(mailbox: FoundMailbox) -> None:
    lock_maildrop(mailbox.id)
    now = timezone.now()
    Maildrop.objects.filter(mailbox_id=mailbox.id).update(
        lock_worker=uuid4(), lock_serial=7, locked_at=now, opened_at=now, has_surrogates=True
    )
    values = (Maildrop.objects.filter(mailbox_id=mailbox.id).values().get(), lock_maildrop(mailbox.id).__dict__)
    assert values[0] == {name: values[1][name] for name in values[0]}


@pytest.mark.django_db(transaction=True)
def test_no_row_is_locked_outside_of_a_transaction(mailbox: FoundMailbox) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        lock_maildrop(mailbox.id)


def test_counters_that_went_wrong_are_put_right(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"one", b"two")
    Maildrop.objects.filter(mailbox_id=mailbox.id).update(message_count=7, octets=1)
    recount(mailbox_id=mailbox.id)
    assert_counters_fit(mailbox.id)


@pytest.mark.parametrize("used", [0, 1, 2])
def test_no_row_is_locked_while_others_are_made(used: int) -> None:
    """Else two deliveries could wait for each other: one for a row that is locked, one for a row that is made."""
    mailboxes = [make_mailbox(f"user{number}") for number in range(3)]
    for mailbox in mailboxes[:used]:
        fill(mailbox.id, b"x")
    with CaptureQueriesContext(connection) as queries:
        assert len(lock_maildrops(mailbox.id for mailbox in mailboxes)) == 3
    kinds = [query["sql"] for query in queries]
    assert [sql.startswith("INSERT") for sql in kinds] == [False, False, True, False]
    if connection.features.has_select_for_update:
        assert [sql.endswith("FOR UPDATE") for sql in kinds] == [False, False, False, True]


def test_rows_that_are_there_cost_two_queries_and_one_alone_one(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other = make_mailbox("alfred")
    for each in (mailbox, other):
        fill(each.id, b"x")
    with django_assert_num_queries(1):
        lock_maildrop(mailbox.id)
    with django_assert_num_queries(2):
        lock_maildrops([other.id, mailbox.id])
