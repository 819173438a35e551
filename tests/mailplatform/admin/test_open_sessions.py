"""Sessions that are open now: which, since when, from where, and one that is ended."""

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Mailbox
from mailplatform.admin import open_sessions
from mailstore.maildrop import Opened, OpenRequest, open_maildrops
from mailstore.models import Maildrop
from pop3service.ending import take_asked
from pop3service.models import EndRequest, Worker
from tests.mailplatform.admin.people import browser_of, make_mailbox, make_session, staff, text_of

URL = "/admin/pop3service/sessionrecord/open/"


@pytest.fixture
def worker(db: None) -> Worker:
    return Worker.objects.create(arbiter=uuid.uuid4(), host="mx2 pid:[4026531836]", pid=1)


def open_by(worker: Worker, mailbox: Mailbox) -> Opened:
    (opened,) = open_maildrops([OpenRequest(mailbox.pk, worker.pk)])
    assert isinstance(opened, Opened)
    return opened


def test_where_nothing_is_open_it_says_so(browser: Client, worker: Worker) -> None:
    assert "No mailbox is open." in text_of(browser.get(URL).content)


def test_a_session_is_told_in_a_line(browser: Client, worker: Worker, mailbox: Mailbox) -> None:
    opened = open_by(worker, mailbox)
    page = browser.get(URL).content
    (heading,) = re.findall(r"<h1\b.*?</h1>", page.decode(), re.DOTALL)
    assert text_of(heading.encode()).endswith("Open now"), "not the page of all sessions"
    text = text_of(page)
    assert "anna@maison.mrs" in text
    assert "just opened" in text
    make_session(mailbox, opened.lock.serial, ended_at=None, login="anna", app_password="telephone")
    Maildrop.objects.update(locked_at=timezone.now() - timedelta(minutes=5))
    text = text_of(browser.get(URL).content)
    for part in ("5 min", "as anna · telephone", "192.0.2.7", "TLSv1.3", "mx2"):
        assert part in text
    assert "just opened" not in text


def test_what_a_dead_worker_left_is_not_open(browser: Client, worker: Worker, mailbox: Mailbox) -> None:
    open_by(worker, mailbox)
    Worker.objects.update(beat_at=timezone.now() - timedelta(minutes=5))
    assert "anna@maison.mrs" not in text_of(browser.get(URL).content)


def test_the_longest_comes_first_page_after_page(
    browser: Client, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_sessions, "PAGE_SIZE", 2)
    now = timezone.now()
    for minutes, name in enumerate(("eve", "dora", "carl", "bert", "anna")):
        mailbox = make_mailbox(name)
        open_by(worker, mailbox)
        Maildrop.objects.filter(mailbox=mailbox).update(locked_at=now - timedelta(minutes=minutes // 2))
    url, pages = URL, []
    while url:
        html = browser.get(url).content.decode()
        pages.append(re.findall(r">(\w+)@maison.mrs</a>", html))
        older = re.search(r'class="mp-older" href="([^"]+)"', html)
        url = older[1].replace("&amp;", "&") if older else ""
    assert pages == [["anna", "carl"], ["bert", "eve"], ["dora"]]
    assert "bert@" not in text_of(browser.get(f"{URL}?q=CARL").content)


def test_a_session_is_ended_once_and_written_down(browser: Client, worker: Worker, mailbox: Mailbox) -> None:
    opened = open_by(worker, mailbox)
    name = f"{mailbox.pk}-{opened.lock.serial}"
    assert f'value="{name}"' in browser.get(URL).content.decode()
    text = text_of(browser.post(URL, {"end": name}, follow=True).content)
    assert "The session of anna@maison.mrs ends within" in text
    assert "is ending" in text
    assert take_asked(worker.pk) == {(mailbox.pk, opened.lock.serial)}
    assert LogEntry.objects.latest("pk").change_message.startswith("Ended the session open since")
    assert LogEntry.objects.latest("pk").object_id == str(mailbox.pk)


@pytest.mark.parametrize("name", ["", "x", "1-", "{pk}-99", "99999-1", "-1-1", "9" * 37 + "-1", "٣-1"])
def test_a_session_that_is_over_is_not_ended(browser: Client, worker: Worker, mailbox: Mailbox, name: str) -> None:
    open_by(worker, mailbox)
    text = text_of(browser.post(URL, {"end": name.format(pk=mailbox.pk)}, follow=True).content)
    assert "That session has ended already." in text
    assert not EndRequest.objects.exists()


def test_to_see_is_not_to_end(worker: Worker, mailbox: Mailbox) -> None:
    opened = open_by(worker, mailbox)
    viewer = browser_of(staff("pop3service.view_sessionrecord"))
    assert b"mp-end" not in viewer.get(URL).content
    assert viewer.post(URL, {"end": f"{mailbox.pk}-{opened.lock.serial}"}).status_code == 403
    ender = browser_of(staff("pop3service.view_sessionrecord", "pop3service.end_session", name="other"))
    assert ender.post(URL, {"end": f"{mailbox.pk}-{opened.lock.serial}"}).status_code == 302
    assert EndRequest.objects.count() == 1


def test_the_mailbox_and_the_start_page_lead_here(browser: Client, worker: Worker, mailbox: Mailbox) -> None:
    open_by(worker, mailbox)
    page = browser.get(f"/admin/accounts/mailbox/{mailbox.pk}/change/").content.decode()
    assert f"{URL}?q=anna%40maison.mrs" in page
    assert f'href="{URL}"' in browser.get("/admin/").content.decode()


def test_a_page_takes_the_same_statements_however_many_are_open(browser: Client, worker: Worker) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(URL).status_code == 200
        return len(queries)

    open_by(worker, make_mailbox("anna"))
    before = statements()
    for number in range(20):
        mailbox = make_mailbox(f"box{number}")
        make_session(mailbox, open_by(worker, mailbox).lock.serial, ended_at=None)
    assert statements() == before <= 10
