"""Statements that go straight to the drivers: the same answers from both databases, in transactions and without."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, DataError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.models import Domain
from mailplatform.statements import Statement

pytestmark = pytest.mark.django_db(transaction=True)

FIND = Statement(
    "SELECT name FROM accounts_domain WHERE name = ANY($names::text[]) AND id >= $least::bigint ORDER BY id"
)
ECHO = Statement("SELECT $number::bigint, $text::text, $text::text")
HERE = Statement("SELECT 1{more}", more=" + 1")


def vendor() -> str:
    return connection.vendor


def make(*names: str) -> None:
    for name in names:
        Domain.objects.create(name=name)


def test_a_list_is_of_any_length() -> None:
    make("a.test", "b.test", "c.test")
    assert FIND.fetch(least=0, names=["a.test"]) == [("a.test",)]
    assert FIND.fetch(least=0, names=["c.test", "nobody.test", "a.test"]) == [("a.test",), ("c.test",)]
    assert FIND.fetch(least=1 << 40, names=["a.test"]) == []


def test_a_parameter_may_stand_in_several_places() -> None:
    assert ECHO.fetch(number=-7, text="x", unknown=1) == [(-7, "x", "x")]


def test_what_only_postgresql_has() -> None:
    assert HERE.fetch() == [(2 if vendor() == "postgresql" else 1,)]


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_texts_arrive_as_they_are(text: str) -> None:
    """Alone and in a list, whatever is in them."""
    assert ECHO.fetch(number=1, text=text) == [(1, text, text)]
    alike = Statement("SELECT 1 WHERE $text::text = ANY($texts::text[])")
    assert alike.fetch(text=text, texts=["another", text]) == [(1,)]
    assert alike.fetch(text=text, texts=[text + "."]) == []


def test_a_nul_is_refused_and_cuts_nothing_off() -> None:
    if vendor() == "postgresql":
        with pytest.raises(DataError):
            ECHO.fetch(number=1, text="admin\0")
    else:
        assert ECHO.fetch(number=1, text="admin\0") == [(1, "admin\0", "admin\0")]


def test_moments_keys_and_octets() -> None:
    moment, key = datetime(2026, 11, 24, 18, 0, 0, 123456, UTC), uuid.uuid4()
    compared = Statement("SELECT $at::timestamptz < $later::timestamptz, $key::uuid = $same::uuid")
    (row,) = compared.fetch(at=moment, later=moment.replace(microsecond=123457), key=key, same=key)
    assert [bool(each) for each in row] == [True, True]
    octets = bytes(range(256))
    literal = f"'\\x{octets.hex()}'::bytea" if vendor() == "postgresql" else f"x'{octets.hex()}'"
    assert Statement(f"SELECT {literal}").fetch() == [(octets,)]


def test_it_is_part_of_the_transaction_under_way() -> None:
    """Also where it is the first statement of it."""
    renamed = Statement("UPDATE accounts_domain SET name = $name::text RETURNING name")
    make("a.test")
    with transaction.atomic():
        assert renamed.fetch(name="b.test") == [("b.test",)]
        transaction.set_rollback(True)
    assert FIND.fetch(names=["a.test", "b.test"], least=0) == [("a.test",)]
    renamed.fetch(name="c.test")
    assert Domain.objects.get().name == "c.test"


def test_it_goes_on_when_the_server_has_forgotten_its_statements() -> None:
    """As psycopg has it do after a rollback."""
    for _ in range(2):
        assert ECHO.fetch(number=1, text="") == [(1, "", "")]
        if vendor() == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("DEALLOCATE ALL")


def test_it_needs_no_prepared_statements() -> None:
    if vendor() == "postgresql":
        connection.ensure_connection()
        connection.connection.prepare_threshold = None
        HERE.fetch()
        known: list[Any] = Statement("SELECT count(*) FROM pg_prepared_statements").fetch()
        assert known == [(0,)]
        connection.close()


def test_errors_are_django_s_and_the_connection_can_be_used_after_them() -> None:
    for _ in range(2):
        with pytest.raises(DatabaseError):
            Statement("SELECT no_such_column FROM accounts_domain").fetch()
    with pytest.raises(DatabaseError), transaction.atomic():
        Statement("SELECT no_such_column FROM accounts_domain").fetch()
    assert HERE.fetch()


def test_it_is_counted_as_a_statement() -> None:
    with CaptureQueriesContext(connection) as queries:
        HERE.fetch()
    assert len(queries) == 1
