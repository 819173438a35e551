"""One mailbox is one shard: mailbox_id is in every key and every statement of the mail store."""

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone

from accounts.lookup import FoundMailbox
from mailstore import maildrop
from mailstore.browse import find_message, page_of_messages, read_message
from mailstore.delivery import Envelope, deliver
from mailstore.maildrop import CloseRequest, Opened, OpenRequest, PieceRequest
from mailstore.rows import recount
from mailstore.shelf import purge, restore
from tests.mailstore.mailboxes import body_of, fill

pytestmark = pytest.mark.django_db

MODELS = list(apps.get_app_config("mailstore").get_models())
TABLES = [model._meta.db_table for model in MODELS]


def constraints() -> Iterator[tuple[str, str, list[str]]]:
    with connection.cursor() as cursor:
        for table in TABLES:
            for name, found in connection.introspection.get_constraints(cursor, table).items():
                if not found["check"]:
                    yield table, name, found["columns"]


def test_every_key_and_index_begins_with_the_mailbox() -> None:
    assert {model._meta.pk_fields[0].attname for model in MODELS} == {"mailbox_id"}
    found = list(constraints())
    assert {table for table, _, _ in found} == set(TABLES)
    # SQLite tells the columns of a primary key in no order
    assert [entry for entry in found if "mailbox_id" not in entry[2]] == []
    assert [entry for entry in found if entry[2][0] != "mailbox_id" and entry[1] != "__primary__"] == []


def test_no_foreign_key_leads_anywhere_but_to_the_mailbox() -> None:
    relations = [field for model in MODELS for field in model._meta.get_fields() if field.is_relation]
    assert {(field.name, field.many_to_many) for field in relations} == {("mailbox", False)}


class Statements:
    """Remembers the statements on tables of the mail store that do not name a mailbox."""

    def __init__(self) -> None:
        self.seen = 0
        self.unbound: list[str] = []

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if any(re.search(rf"\b{table}\b", sql) for table in TABLES):
            self.seen += 1
            if not self._names_a_mailbox(sql):
                self.unbound.append(sql)
        return execute(sql, params, many, context)

    @staticmethod
    def _names_a_mailbox(sql: str) -> bool:
        if sql.startswith("INSERT"):
            return '"mailbox_id"' in sql.partition("VALUES")[0]
        where = sql.partition(" WHERE ")[2]
        # What is left of the conditions without groups that have nothing to do with mailboxes: each alternative of
        # an OR has to name one.
        removed = 1
        while removed:
            where, removed = re.subn(r"\((?:(?!mailbox_id)[^()])*\)", "", where)
        return all(re.search(r'mailbox_id"? (=|IN) ', part) for part in where.split(" OR "))


def test_every_statement_names_its_mailbox(mailbox: FoundMailbox) -> None:
    statements = Statements()
    envelope = Envelope("a@b", b"here")
    with connection.execute_wrapper(statements):
        fill(mailbox.id, b"one", b"two", b"three")
        with body_of(b"four") as body:
            deliver(body=body, envelope=envelope, recipients=[mailbox], all_or_none=True)
        (session,) = maildrop.open_maildrops([OpenRequest(mailbox.id, uuid.uuid4())])
        assert isinstance(session, Opened)
        maildrop.read_listing(session)
        maildrop.read_pieces([PieceRequest(mailbox.id, 1, 0), PieceRequest(mailbox.id, 2, 0)])
        maildrop.close_maildrops([CloseRequest(mailbox.id, session.lock, retrieved=[1], deleted=[1, 2])])
        page_of_messages(mailbox.id, before_uid=9, search="x")
        page_of_messages(mailbox.id, shelf=True)
        find_message(mailbox.id, 3)
        b"".join(read_message(mailbox.id, 3))
        restore(mailbox_id=mailbox.id, uids=[1])
        purge(mailbox_id=mailbox.id, before=timezone.now())
        recount(mailbox_id=mailbox.id)
    assert statements.seen > 25
    assert statements.unbound == []


def test_a_statement_that_names_no_mailbox_would_be_seen(mailbox: FoundMailbox) -> None:
    statements = Statements()
    with connection.execute_wrapper(statements):
        for model in MODELS:
            list(model.objects.filter(mailbox_id=mailbox.id))
            list(model.objects.all())
    assert len(statements.unbound) == len(MODELS)
