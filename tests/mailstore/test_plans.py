"""What sessions and pages wait for is found by an index, whatever else the mailbox holds."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from accounts.lookup import FoundMailbox
from mailplatform.statements import Statement
from mailstore import contents, maildrop
from mailstore.contents import read_first_pieces
from mailstore.inserts import insert_rows, moment
from mailstore.models import Content, Message
from mailstore.rows import among, live_messages, shelved_messages

pytestmark = pytest.mark.django_db

COLUMNS = ("mailbox_id", "uid", "octets", "wire_octets", "header_octets", "unique_id", "received_at", "deleted_at",
           "subject", "sender", "message_id")  # fmt: skip
MANY = 4000


def fill_rows(mailbox: FoundMailbox, *, on_shelf: range) -> None:
    """Rows of many messages, those of `on_shelf` deleted."""
    now = moment(timezone.now())
    uids = range(1, MANY + 1)
    for start in range(0, MANY, 500):
        some = uids[start : start + 500]
        rows = [(mailbox.id, uid, 1, 1, 1, "", now, now if uid in on_shelf else None, "", "", "") for uid in some]
        insert_rows(Message, COLUMNS, rows)
        insert_rows(Content, ("mailbox_id", "uid", "piece", "octets"), [(mailbox.id, uid, 0, b"x") for uid in some])
    if connection.vendor == "postgresql":  # SQLite decides without figures, as it does in use
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE mailstore_message, mailstore_content")
            cursor.execute("SET LOCAL enable_seqscan = off")  # what is quick here is not with a million rows more


def plan(sql: str, parameters: Sequence[Any]) -> str:
    with connection.cursor() as cursor:
        how = "EXPLAIN (COSTS OFF)" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        cursor.execute(f"{how} {sql}", parameters)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def plan_of_statement(statement: Statement, **parameters: Any) -> str:
    how = "EXPLAIN (COSTS OFF)" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    rows = Statement(f"{how} {statement.text}", **statement.only_postgresql).fetch(**parameters)
    return "\n".join(str(row[-1]) for row in rows)


def plan_of(rows: QuerySet[Any]) -> str:
    return plan(*rows.query.sql_with_params())


def reads_only(index: str, text: str) -> bool:
    """Whether one index is used, and nothing is read beside it or put in order."""
    used = set(re.findall(r"mailstore_\w+|sqlite_autoindex_\w+", text)) - {"mailstore_message", "mailstore_content"}
    return used == {index} and not re.search(r"Seq Scan|SCAN|Sort|TEMP B-TREE", text)


class TestAShelfThatIsFull:
    """A client that deletes what it fetches leaves a month of mail on the shelf, and a handful of messages live."""

    @pytest.fixture(autouse=True)
    def _filled(self, mailbox: FoundMailbox) -> None:
        fill_rows(mailbox, on_shelf=range(1, MANY - 10))

    def test_is_not_read_by_a_listing(self, mailbox: FoundMailbox) -> None:
        text = plan(maildrop._LISTING, [mailbox.id, 0, MANY + 1, maildrop._LISTED])
        assert reads_only("mailstore_message_live", text), text

    def test_is_not_read_by_a_page_of_live_messages(self, mailbox: FoundMailbox) -> None:
        text = plan_of(live_messages(mailbox.id).order_by("-uid")[:51])
        assert reads_only("mailstore_message_live", text), text


class TestAMaildropThatIsFull:
    @pytest.fixture(autouse=True)
    def _filled(self, mailbox: FoundMailbox) -> None:
        fill_rows(mailbox, on_shelf=range(1000, 1010))

    @pytest.mark.parametrize("below", [MANY, 1005])
    def test_is_not_read_by_a_page_of_the_shelf(self, mailbox: FoundMailbox, below: int) -> None:
        text = plan_of(shelved_messages(mailbox.id).filter(uid__lt=below).order_by("-uid")[:51])
        assert reads_only("mailstore_message_shelf", text), text

    def test_is_not_read_by_a_purge(self, mailbox: FoundMailbox) -> None:
        old = shelved_messages(mailbox.id).filter(deleted_at__lt=timezone.now()).order_by("uid")
        text = plan_of(old.values_list("uid", flat=True)[:200])
        assert reads_only("mailstore_message_shelf", text), text

    @pytest.mark.parametrize("uids", [range(100, 900), range(1, MANY, 1000), [5]])
    def test_is_not_read_as_a_whole_for_the_deletions_of_one_session(
        self, mailbox: FoundMailbox, uids: Sequence[int]
    ) -> None:
        text = plan_of(live_messages(mailbox.id).filter(among(uids)).values("octets"))
        assert names_uids(text), text

    @pytest.mark.parametrize("uids", [range(100, 600), range(1, MANY, 1000), [5]])
    def test_is_not_read_as_a_whole_for_the_contents_of_some(self, mailbox: FoundMailbox, uids: Sequence[int]) -> None:
        assert len(read_first_pieces(mailbox.id, uids)) == len(uids)
        for statement in (contents._RANGE, contents._SOME):
            text = plan_of_statement(statement, mailbox_id=mailbox.id, first=uids[0], last=uids[-1], uids=list(uids))
            assert names_uids(text), text


def names_uids(text: str) -> bool:
    """Whether rows are found by their uids, and not by their mailbox alone."""
    if connection.vendor == "sqlite":
        return re.search(r"mailbox_id=\? AND uid[=>]\?", text) is not None
    conditions = re.findall(r"Index Cond: (.*)", text)
    return bool(conditions) and all("uid" in condition for condition in conditions)


def test_pieces_are_found_by_their_key(mailbox: FoundMailbox) -> None:
    fill_rows(mailbox, on_shelf=range(0))
    sql = maildrop._PIECES + " OR ".join([maildrop._ONE_PIECE] * 3)
    text = plan(sql, [mailbox.id, 5, 0, mailbox.id, 6, 0, mailbox.id, 7, 0])
    assert "Seq Scan" not in text, text
    assert "SCAN" not in text
