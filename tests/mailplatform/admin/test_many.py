"""At 15,000 mailboxes the admin's pages take the statements they take at 150, and these find their rows by an index.

What does grow, measured on SQLite: counting the rows of one table (half a millisecond), a search, which has to look
at every name for a part of it (20 ms), and a sort by a column that changes with each message (40 ms).
"""

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Mailbox, User
from tests.mailplatform.admin.people import make_many

PAGES = {
    "mailboxes": "/admin/accounts/mailbox/",
    "the last mailboxes": "/admin/accounts/mailbox/?p=15",
    "active mailboxes": "/admin/accounts/mailbox/?is_active__exact=1",
    "full mailboxes": "/admin/accounts/mailbox/?quota=over",
    "largest mailboxes": "/admin/accounts/mailbox/?o=-4",
    "found mailboxes": "/admin/accounts/mailbox/?q=many",
    "users": "/admin/accounts/user/",
    "found users": "/admin/accounts/user/?q=many",
    "domains": "/admin/accounts/domain/",
    "choices of users": "/admin/autocomplete/?app_label=accounts&model_name=mailbox&field_name=user&term=",
    "logins": "/admin/accounts/loginrecord/",
    "sessions": "/admin/pop3service/sessionrecord/",
    "open sessions": "/admin/pop3service/sessionrecord/open/",
    "app passwords": "/admin/accounts/user/{user}/app-passwords/",
    "start": "/admin/",
}
#: Lists in an order that an index has.
IN_ORDER = ("mailboxes", "active mailboxes", "users")


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows a page: it is not their making that is looked at."""
    for model in (Mailbox, User):
        monkeypatch.setattr(type(site.get_model_admin(model)), "list_per_page", 10)


def statements(browser: Client, page: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert browser.get(PAGES[page].format(user=User.objects.order_by("pk")[:1].get().pk)).status_code == 200
    return [query["sql"] for query in queries]


def add_many(number: int, *, start: int = 0) -> None:
    """Add so many mailboxes, and have the database look at them, as it does by itself after a while."""
    make_many(number, start=start)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def test_a_page_takes_no_more_statements(browser: Client) -> None:
    add_many(150)
    before = {page: len(statements(browser, page)) for page in PAGES}
    add_many(14_850, start=150)
    assert Mailbox.objects.count() == 15_001
    assert {page: len(statements(browser, page)) for page in PAGES} == before
    assert max(before.values()) <= 13


def test_a_list_is_read_in_order_and_counted_in_one_table(browser: Client) -> None:
    add_many(15_000)
    for page in IN_ORDER:
        asked = statements(browser, page)
        (count,) = [sql for sql in asked if "COUNT(*)" in sql and "__count" in sql]
        assert "JOIN" not in count, page
        (rows,) = [sql for sql in asked if "LIMIT 10" in sql]
        plan = plan_of(rows)
        assert "TEMP B-TREE" not in plan, (page, plan)  # SQLite
        assert "Sort" not in plan, (page, plan)  # PostgreSQL
        assert "Hash" not in plan, (page, plan)


def plan_of(sql: str) -> str:
    """How the database carries out a statement, in its own words."""
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {sql}")
        return "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())
