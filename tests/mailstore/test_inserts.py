"""Rows come out of the database as they were put in, whatever they hold."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailstore.inserts import Statement, execute_all, insert_rows, insertion, moment
from mailstore.models import Content, Message
from mailstore.rows import lock_maildrop

pytestmark = pytest.mark.django_db

WHEN = datetime(2026, 11, 23, 9, 0, 5, 250_001, tzinfo=UTC)
COLUMNS = (
    "mailbox_id", "uid", "octets", "wire_octets", "header_octets", "unique_id", "received_at",
    "subject", "sender", "dated_at", "message_id",
)  # fmt: skip


def test_many_rows_are_one_statement(mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    octets = [bytes(range(256)), b"", b"%s' \" \\ \0 \xff", b"x" * 1_000_000]
    with django_assert_num_queries(1):
        insert_rows(
            Content, ("mailbox_id", "uid", "piece", "octets"), [(mailbox.id, 7, n, o) for n, o in enumerate(octets)]
        )
    rows = Content.objects.filter(mailbox_id=mailbox.id, uid=7).order_by("piece")
    assert [bytes(row.octets) for row in rows] == octets


def test_several_statements_are_one_where_that_saves_something(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    lock_maildrop(mailbox.id)
    statements: list[Statement] = [
        insertion(Content, ("mailbox_id", "uid", "piece", "octets"), [(mailbox.id, uid, 0, b"%s\0")]) for uid in (1, 2)
    ]
    statements.append(("UPDATE mailstore_maildrop SET octets = %s WHERE mailbox_id = %s", [7, mailbox.id]))
    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 3):
        execute_all(statements)
    assert [bytes(row.octets) for row in Content.objects.filter(mailbox_id=mailbox.id)] == [b"%s\0"] * 2
    assert lock_maildrop(mailbox.id).octets == 7


def test_text_and_moments_are_kept_exactly(mailbox: FoundMailbox) -> None:
    elsewhere = WHEN.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    text = "Ça %s ' \" \\ 🐟"
    insert_rows(Message, COLUMNS, [(mailbox.id, 1, 2, 3, 1, "", moment(elsewhere), text, text, moment(None), text)])
    row = Message.objects.get(mailbox_id=mailbox.id, uid=1)
    assert (row.received_at, row.dated_at, row.retrieved_at, row.deleted_at) == (WHEN, None, None, None)
    assert (row.octets, row.wire_octets, row.header_octets) == (2, 3, 1)
    assert {row.subject, row.sender, row.message_id} == {text}


def test_what_the_database_refuses_is_not_stored_in_part(mailbox: FoundMailbox) -> None:
    rows = [(mailbox.id, 1, 0, b"x"), (mailbox.id, 1, 0, b"y")]
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_rows(Content, ("mailbox_id", "uid", "piece", "octets"), rows)
    assert not Content.objects.filter(mailbox_id=mailbox.id).exists()


def test_no_rows_are_no_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        insert_rows(Content, ("mailbox_id", "uid", "piece", "octets"), [])
