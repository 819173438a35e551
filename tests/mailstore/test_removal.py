"""A mailbox that is taken away takes all of its mail along, and nothing of anybody else's."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from accounts.models import Mailbox, User
from mailstore import removal
from mailstore.models import Content, Maildrop, Message
from mailstore.removal import remove_mailboxes
from tests.mailstore.mailboxes import fill, make_mailbox

pytestmark = pytest.mark.django_db

TABLES = (Mailbox, Maildrop, Message, Content)


def rows_of(mailbox: FoundMailbox) -> list[int]:
    """How many rows each table has for a mailbox."""
    found = [Mailbox.objects.filter(id=mailbox.id).count()]
    return found + [model.objects.filter(mailbox_id=mailbox.id).count() for model in TABLES[1:]]


def test_live_and_deleted_mail_goes_with_its_mailbox_and_only_that(mailbox: FoundMailbox) -> None:
    other = make_mailbox("alfred")
    for one in (mailbox, other):
        fill(one.id, b"one", b"two")
        Message.objects.filter(mailbox_id=one.id, uid=1).update(deleted_at=timezone.now())
    assert remove_mailboxes(mailbox_ids=[mailbox.id, 999_999]) == 1
    assert rows_of(mailbox) == [0, 0, 0, 0]
    assert rows_of(other) == [1, 1, 2, 2]


def test_the_user_stays_when_a_mailbox_goes(mailbox: FoundMailbox) -> None:
    remove_mailboxes(mailbox_ids=[mailbox.id])
    assert User.objects.filter(username="jules").exists()


def test_messages_are_deleted_by_the_database_and_never_loaded(
    mailbox: FoundMailbox, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    fill(mailbox.id, *[b"x"] * 300)
    read: list[str] = []

    def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT") and ("mailstore_message" in sql or "mailstore_content" in sql):
            read.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch), django_assert_max_num_queries(12):
        remove_mailboxes(mailbox_ids=[mailbox.id])
    assert read == []


def test_a_user_takes_its_mailboxes_and_their_mail_along(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"one")
    User.objects.get(username="jules").delete()
    assert rows_of(mailbox) == [0, 0, 0, 0]


def test_many_mailboxes_are_named_some_at_a_time(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "_AT_ONCE", 2)
    everyone = [mailbox, *(make_mailbox(f"user{number}") for number in range(4))]
    for one in everyone:
        fill(one.id, b"x")
    assert remove_mailboxes(mailbox_ids=[one.id for one in everyone]) == 5
    assert [model.objects.count() for model in TABLES] == [0, 0, 0, 0]


def test_nothing_is_removed_where_nothing_is_named(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"one")
    assert remove_mailboxes(mailbox_ids=[]) == 0
    assert rows_of(mailbox) == [1, 1, 1, 1]
