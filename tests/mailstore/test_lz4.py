"""What PostgreSQL compresses contents with."""

import pytest
from django.db import connection

from accounts.lookup import FoundMailbox
from mailstore.lz4 import use_lz4
from tests.mailstore.mailboxes import fill, stored

#: attcompression of pg_attribute: l for lz4.
_COMPRESSION = (
    "SELECT attrelid::regclass::text, attcompression FROM pg_attribute"
    " WHERE attname = 'octets' AND attrelid::regclass::text IN ('mailstore_content', 'smtpservice_queuedcontent')"
)


def asked(sql: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_contents_are_compressed_with_lz4_on_postgresql_and_as_they_are_on_sqlite(mailbox: FoundMailbox) -> None:
    message = b"Subject: text\r\n\r\n" + b"words that come again and again\r\n" * 1000
    (uid,) = fill(mailbox.id, message)
    assert stored(mailbox.id, uid) == message
    if connection.vendor == "postgresql":
        assert dict(asked(_COMPRESSION)) == {"mailstore_content": "l", "smtpservice_queuedcontent": "l"}
        ((kind, octets),) = asked("SELECT pg_column_compression(octets), pg_column_size(octets) FROM mailstore_content")
        assert kind == "lz4"
        assert octets < len(message) / 10
    else:
        assert asked("SELECT length(octets) FROM mailstore_content") == [(len(message),)]


@pytest.mark.django_db
def test_a_postgresql_that_was_built_without_lz4_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstore.lz4._AVAILABLE", "SELECT 1 = 0")
    editor = connection.schema_editor(collect_sql=True)
    use_lz4(editor, "mailstore_content")
    assert editor.collected_sql == []
