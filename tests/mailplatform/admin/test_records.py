"""Lists of records: newest first, page after page without counting, found by address, mailbox or part of a name."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import LoginRecord, Mailbox
from mailplatform.admin import records
from mailplatform.admin.records import position
from pop3service.models import SessionRecord
from tests.mailplatform.admin.people import browser_of, make_login, make_mailbox, make_session, staff, text_of
from tests.mailplatform.admin.test_many import plan_of

LOGINS = "/admin/accounts/loginrecord/"
SESSIONS = "/admin/pop3service/sessionrecord/"


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in (LoginRecord, SessionRecord):
        monkeypatch.setattr(type(site.get_model_admin(model)), "list_per_page", 3)


def logins_on(browser: Client, url: str) -> list[str]:
    """Who is on a page, by the name that was typed."""
    page = browser.get(url)
    assert page.status_code == 200
    return re.findall(r"try-\d+", re.sub(r'title="[^"]*"', "", page.content.decode()))


def make_tries(number: int, **columns: object) -> None:
    """So many tries, numbered in order, of which each two were at the same moment."""
    now = timezone.now()
    for each in range(number):
        at = now - timedelta(minutes=number - each // 2 * 2)
        make_login(None, "unknown", login=f"try-{each}", at=at, **columns)


def test_pages_follow_one_another_to_the_end(browser: Client) -> None:
    make_tries(8)
    url, pages = LOGINS, []
    while url:
        pages.append(logins_on(browser, url))
        older = re.search(r'<a class="mp-older" href="([^"]+)"', browser.get(url).content.decode())
        url = LOGINS + older[1] if older else ""
    assert pages == [["try-7", "try-6", "try-5"], ["try-4", "try-3", "try-2"], ["try-1", "try-0"]]


def test_from_a_later_page_it_is_one_click_to_the_newest(browser: Client) -> None:
    make_tries(4)
    first = browser.get(LOGINS).content.decode()
    older = re.search(r'<a class="mp-older" href="([^"]+)"', first)
    assert "Newest" not in first
    assert "Newest" in browser.get(LOGINS + older[1]).content.decode()


@pytest.mark.parametrize("before", ["x", "1-", "-", "9" * 17 + "-1", "1-" + "9" * 30, "٣-1", "1"])
def test_a_place_that_is_none_is_the_beginning(browser: Client, before: str) -> None:
    make_tries(1)
    assert logins_on(browser, f"{LOGINS}?before={before}") == ["try-0"]


@given(st.text(max_size=40))
def test_whatever_stands_in_a_place_is_no_error(text: str) -> None:
    position(text)


def test_they_are_found_by_address(browser: Client) -> None:
    make_tries(2, address="192.0.2.1")
    make_login(None, "unknown", login="try-9", address="2001:db8::1")
    assert logins_on(browser, f"{LOGINS}?q=2001:DB8:0::1") == ["try-9"]


def test_they_are_found_by_the_mailbox_that_a_name_opens(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox, login="try-1")
    make_login(None, "unknown", login="try-2 anna")
    for name in ("anna@maison.mrs", "ANNA", "anna%25maison.mrs"):
        assert logins_on(browser, f"{LOGINS}?q={name}") == ["try-1"]


def test_they_are_found_by_a_part_of_a_name_among_the_newest(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tries(5)
    assert logins_on(browser, f"{LOGINS}?q=RY-3") == ["try-3"]
    monkeypatch.setattr(records, "SEARCHED", 1)
    assert logins_on(browser, f"{LOGINS}?q=RY-3") == []


def test_they_are_found_by_day(browser: Client) -> None:
    now = timezone.now()
    for days in (0, 1, 2):
        make_login(None, "unknown", login=f"try-{days}", at=now - timedelta(days=days))
    yesterday = (now - timedelta(days=1)).strftime("%Y-%m-%d")
    assert logins_on(browser, f"{LOGINS}?at_from={yesterday}&at_to={yesterday}") == ["try-1"]
    assert logins_on(browser, f"{LOGINS}?at_to={yesterday}") == ["try-1", "try-2"]
    assert logins_on(browser, f"{LOGINS}?at_from=rubbish") == ["try-0", "try-1", "try-2"]


@pytest.mark.parametrize("url", [LOGINS, SESSIONS])
def test_an_empty_list_says_so(browser: Client, url: str) -> None:
    assert "Nothing has been recorded yet." in text_of(browser.get(url).content)
    assert "Nothing was found." in text_of(browser.get(f"{url}?q=192.0.2.1").content)


def test_records_outlive_their_mailbox(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox, login="try-1")
    make_session(mailbox)
    Mailbox.objects.all().delete()
    for url in (LOGINS, SESSIONS):
        assert "192.0.2.7" in text_of(browser.get(url).content)


def test_a_mailbox_is_linked_for_whom_may_see_it(mailbox: Mailbox) -> None:
    make_login(mailbox)
    helper = browser_of(staff("accounts.view_loginrecord"))
    assert f"/admin/accounts/mailbox/{mailbox.pk}/change/" not in helper.get(LOGINS).content.decode()


def test_a_page_takes_no_more_statements_and_none_that_counts(browser: Client) -> None:
    """As many as at three rows; no COUNT(*), which is what takes long in a table of millions."""
    boxes = [make_mailbox(name) for name in ("anna", "bert", "carl")]

    def statements(url: str) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(url).status_code == 200
        return [query["sql"] for query in queries]

    def add(number: int) -> None:
        for each in range(number):
            make_login(boxes[each % 3])
            make_session(boxes[each % 3], serial=each)

    add(2)
    before = {url: len(statements(url)) for url in (LOGINS, SESSIONS)}
    add(30)
    for url in (LOGINS, SESSIONS):
        found = statements(url)
        assert len(found) == before[url] <= 8
        assert not any("COUNT(" in sql for sql in found)


@pytest.mark.parametrize(
    ("url", "table"),
    [
        (LOGINS, "accounts_loginrecord"),
        (f"{LOGINS}?q=192.0.2.7", "accounts_loginrecord"),
        (f"{LOGINS}?mailbox__id__exact=1", "accounts_loginrecord"),
        (f"{LOGINS}?result=wrong", "accounts_loginrecord"),
        (f"{LOGINS}?before=1900000000000000-1", "accounts_loginrecord"),
        (SESSIONS, "pop3service_sessionrecord"),
        (f"{SESSIONS}?q=192.0.2.7", "pop3service_sessionrecord"),
        (f"{SESSIONS}?before=1900000000000000-1", "pop3service_sessionrecord"),
    ],
)
def test_a_page_is_read_by_an_index_in_order(browser: Client, mailbox: Mailbox, url: str, table: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert browser.get(url).status_code == 200
    (rows,) = [query["sql"] for query in queries if f'FROM "{table}"' in query["sql"] and "LIMIT 4" in query["sql"]]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # which reads so small a table whole, and sorts it, where it is let
            cursor.execute(
                "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
            )
    plan = plan_of(rows)
    assert "USING INDEX" in plan or "Index Scan" in plan, plan
    # Of rows of the same moment at most; not of all that are found.
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan
    assert not re.search(r"(^|-> +)Sort ", plan, re.MULTILINE), plan
