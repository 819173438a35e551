"""The start page: figures that are right, from counters alone, and nothing that a helper's own pages would not show."""

import json
import uuid
from datetime import timedelta

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.test import Client
from django.utils import timezone
from django.utils.translation import override
from pytest_django import DjangoAssertNumQueries

from accounts.activity import count, flush
from accounts.models import DayCount, Domain, Mailbox
from accounts.services import create_domain
from mailplatform import dashboard
from mailstore.maildrop import OpenRequest, open_maildrops
from pop3service.models import Worker
from tests.mailplatform.admin.people import browser_of, make_domain, make_mailbox, make_many, staff, superuser, text_of

pytestmark = pytest.mark.django_db
START = "/admin/"


@pytest.fixture
def browser() -> Client:
    make_domain()
    return browser_of(superuser())


def shown(browser: Client) -> str:
    return text_of(browser.get(START).content)


def totals(browser: Client) -> dict[str, str]:
    return {total["name"]: f"{total['value']}, {total['note']}" for total in browser.get(START).context["totals"]}


def test_the_totals_are_what_there_is(browser: Client) -> None:
    create_domain(name="second.org")
    make_mailbox("anna", b"Subject: x\r\n\r\ny\r\n", b"x", quota_octets=1)
    make_mailbox("bert", b"Subject: x\r\n\r\ny\r\n", quota_messages=1, is_active=False)
    make_mailbox("carl", b"Subject: x\r\n\r\ny\r\n", quota_messages=2, quota_octets=10_000)
    assert totals(browser) == {
        "Mailboxes": "4, 1 suspended",
        "Users": "4, in 2 domains",
        "Messages": "4, waiting to be fetched or kept by clients",
        "Stored": "56\xa0bytes, 2 mailboxes are full",
        "Open now": "0, on 0 POP3 workers",
    }


def test_an_open_mailbox_counts_while_its_worker_lives(browser: Client) -> None:
    workers = [Worker.objects.create(arbiter=uuid.uuid4(), host="elsewhere", pid=1) for _ in range(2)]
    for name, worker in zip(("anna", "bert"), workers, strict=True):
        open_maildrops([OpenRequest(make_mailbox(name).pk, worker.pk)])
    assert totals(browser)["Open now"] == "2, on 2 POP3 workers"
    Worker.objects.filter(pk=workers[0].pk).update(beat_at=timezone.now() - timedelta(minutes=5))
    assert totals(browser)["Open now"] == "1, on 1 POP3 worker"


def test_the_plots_show_thirty_days_with_gaps_as_nothing(browser: Client) -> None:
    count("logins", 3)
    flush()
    today = timezone.localdate()
    DayCount.objects.create(day=today - timedelta(days=29), name="logins", times=1200)
    DayCount.objects.create(day=today - timedelta(days=30), name="logins", times=7)
    DayCount.objects.create(day=today, name="deliveries", times=8)
    DayCount.objects.create(day=today, name="something else", times=99)
    deliveries, logins = browser.get(START).context["plots"]
    assert (deliveries["title"], logins["title"]) == ("Messages delivered per day", "Logins per day")
    data = json.loads(logins["data"])
    assert len(data["labels"]) == dashboard.DAYS
    assert data["datasets"][0]["data"] == [1200, *[0] * 28, 3]
    assert logins["summary"] == "3 today, 1,203 in 30 days"
    assert json.loads(deliveries["data"])["datasets"][0]["data"][-1] == 8


def test_the_largest_mailboxes_come_first_and_lead_to_their_pages(browser: Client) -> None:
    for number in range(dashboard.LARGEST + 2):
        make_mailbox(f"box{number:02}", b"Subject: x\r\n\r\n" + b"y\r\n" * number)
    make_mailbox("empty")
    largest = browser.get(START).context["largest"]
    assert [row["address"] for row in largest] == [f"box{n:02}@maison.mrs" for n in range(9, 1, -1)]
    assert largest[0]["percent"] == 100
    assert largest[0]["url"] == f"/admin/accounts/mailbox/{Mailbox.objects.get(local_part='box09').pk}/change/"


def test_an_empty_platform_says_what_comes_first() -> None:
    browser = browser_of(superuser())
    page = shown(browser)
    assert "No mail has arrived yet." in page
    assert "Nothing yet." in page
    assert "Add a domain" in page
    make_domain()
    assert "Add a domain" not in shown(browser)
    assert not Domain.objects.filter(is_default=False).exists()


def test_what_was_done_last_is_told_with_who(browser: Client) -> None:
    helper = staff(name="helper")
    for number in range(dashboard.LATEST + 1):
        LogEntry.objects.create(
            user=helper, action_flag=CHANGE, object_repr=f"box{number}@x", change_message="Suspended."
        )
    page = shown(browser)
    assert "helper · box6@x · Suspended." in page
    assert "box0@x" not in page


def test_nobody_sees_more_than_their_pages_show(browser: Client) -> None:
    make_mailbox("anna", b"x")
    LogEntry.objects.create(
        user=staff(name="somebody"), action_flag=CHANGE, object_repr="box@x", change_message="Suspended."
    )
    nobody = browser_of(staff(name="nobody"))
    assert "anna@maison.mrs" not in shown(nobody)
    assert "box@x" not in shown(nobody)
    assert "The links beside this page lead to what you may see." in shown(nobody)
    viewer = browser_of(staff("accounts.view_mailbox", name="viewer"))
    assert "anna@maison.mrs" in shown(viewer)
    assert "box@x" not in shown(viewer)
    auditor = browser_of(staff("admin.view_logentry", name="auditor"))
    assert "anna@maison.mrs" not in shown(auditor)
    assert "box@x" in shown(auditor)


def test_it_costs_the_same_whatever_is_stored(
    browser: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    browser.get(START)
    queries = 12
    with django_assert_num_queries(queries):
        browser.get(START)
    make_many(200)
    for number in range(20):
        LogEntry.objects.create(user=staff(name=f"h{number}"), action_flag=CHANGE, object_repr="x", change_message="y")
    with django_assert_num_queries(queries):
        browser.get(START)


def test_no_statement_looks_at_messages(browser: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    make_mailbox("anna", b"x")
    browser.get(START)
    with django_assert_num_queries(12) as queries:
        browser.get(START)
    assert not any("mailstore_message" in query["sql"] or "mailstore_content" in query["sql"] for query in queries)


def test_figures_are_written_as_the_reader_writes_them(browser: Client) -> None:
    today = timezone.localdate()
    DayCount.objects.create(day=today, name="logins", times=1_234_567)
    with override("fr"):
        _deliveries, logins = dashboard._plots()
    assert "1\u202f234\u202f567" in logins["summary"] or "1\xa0234\xa0567" in logins["summary"]
