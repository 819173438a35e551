"""The page of session records, and the ways there from a message and from the shelf."""

import re
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Mailbox
from mailstore.maildrop import CloseRequest, Opened, OpenRequest, close_maildrops, open_maildrops
from mailstore.rows import live_messages
from pop3service.models import Worker
from pop3service.states import Ending
from tests.mailplatform.admin.people import browser_of, make_mailbox, make_session, staff, text_of

URL = "/admin/pop3service/sessionrecord/"


def open_session(mailbox: Mailbox) -> Opened:
    worker = Worker.objects.create(arbiter=uuid.uuid4(), host="mx2 x", pid=1)
    (opened,) = open_maildrops([OpenRequest(mailbox.pk, worker.pk)])
    assert isinstance(opened, Opened)
    return opened


def session(mailbox: Mailbox, *, retrieved: tuple[int, ...] = (), deleted: tuple[int, ...] = ()) -> int:
    """A session that has ended; its serial."""
    opened = open_session(mailbox)
    close_maildrops([CloseRequest(mailbox.pk, opened.lock, retrieved, deleted)])
    return opened.lock.serial


def test_a_session_is_told_in_a_line(browser: Client, mailbox: Mailbox) -> None:
    make_session(mailbox, retrieved=3, retrieved_octets=2048, topped=1, topped_octets=500, deleted=2)
    text = text_of(browser.get(URL).content)
    for part in ("anna@maison.mrs", "192.0.2.7", "10.0 s", "3 messages (2.0 KB)", "the beginning of 1", "QUIT"):
        assert part in text
    assert "2 messages" in text


def test_polls_are_counted(browser: Client, mailbox: Mailbox) -> None:
    now = timezone.now()
    make_session(mailbox, times=58, began_at=now - timedelta(minutes=59), ended_at=now)
    assert f"58 polls until {now:%H:%M}" in text_of(browser.get(URL).content)


@pytest.mark.parametrize("ending", list(Ending))
def test_every_end_can_be_shown_and_filtered(browser: Client, mailbox: Mailbox, ending: Ending) -> None:
    record = make_session(mailbox, ending=ending, login="the one")
    other = Ending.QUIT if ending is not Ending.QUIT else Ending.DROPPED
    make_session(mailbox, ending=other, login="another")
    text = text_of(browser.get(f"{URL}?ending={ending}").content)
    assert "the one" in text
    assert "another" not in text
    assert browser.get(f"{URL}{record.pk}/change/").status_code == 200


@pytest.mark.parametrize(
    ("did", "wanted"), [("deleted", {"a"}), ("took", {"b", "c"}), ("nothing", {"d"}), ("x", set("abcd"))]
)
def test_by_what_was_done(browser: Client, mailbox: Mailbox, did: str, wanted: set[str]) -> None:
    make_session(mailbox, login="did-a", deleted=1)
    make_session(mailbox, login="did-b", retrieved=1)
    make_session(mailbox, login="did-c", topped=1)
    make_session(mailbox, login="did-d")
    assert set(re.findall("did-([a-d])", text_of(browser.get(f"{URL}?did={did}").content))) == wanted


def test_without_an_end_it_is_open_or_was_killed(browser: Client, mailbox: Mailbox) -> None:
    opened = open_session(mailbox)
    make_session(mailbox, serial=opened.lock.serial, ended_at=None)
    assert "open now" in text_of(browser.get(URL).content)
    Worker.objects.all().delete()
    assert "its server was killed" in text_of(browser.get(URL).content)
    open_session(make_mailbox("bert"))
    assert "open now" not in text_of(browser.get(URL).content)


def test_a_message_says_which_session_took_it(browser: Client) -> None:
    mailbox = make_mailbox("carl", *[b"Subject: x\r\n\r\ny\r\n"] * 3)
    serial = session(mailbox, retrieved=(1, 2), deleted=(2,))
    record = make_session(mailbox, serial=serial, retrieved=2, deleted=1)
    place = f"/admin/accounts/mailbox/{mailbox.pk}/"
    way = f"{URL}of/{mailbox.pk}/{serial}/"
    for page in ("messages/", "messages/1/", "messages/2/", "shelf/"):
        assert way in browser.get(place + page).content.decode(), page
    assert way not in browser.get(f"{place}messages/3/").content.decode()
    assert browser.get(way)["Location"] == f"{URL}{record.pk}/change/"
    helper = browser_of(staff("accounts.view_mailbox"))
    assert way not in helper.get(f"{place}messages/").content.decode()
    assert helper.get(way).status_code == 403


def test_a_session_without_a_record_leads_to_the_others_of_its_mailbox(browser: Client, mailbox: Mailbox) -> None:
    answer = browser.get(f"{URL}of/{mailbox.pk}/77/", follow=True)
    assert answer.redirect_chain == [(f"{URL}?mailbox__id__exact={mailbox.pk}", 302)]
    assert "There is no record of that session" in text_of(answer.content)


def test_what_one_session_deleted_comes_back_together(browser: Client) -> None:
    mailbox = make_mailbox("carl", *[b"Subject: x\r\n\r\ny\r\n"] * 6)
    session(mailbox, deleted=(1,))
    serial = session(mailbox, deleted=(2, 3))
    make_session(mailbox, serial=serial, deleted=2)
    shelf = f"/admin/accounts/mailbox/{mailbox.pk}/shelf/?session={serial}"
    assert shelf in browser.get(URL).content.decode()
    page = browser.get(shelf)
    assert "Only what one session deleted." in text_of(page.content)
    assert page.content.decode().count('name="uid"') == 2
    assert f'name="session" value="{serial}"' in page.content.decode()  # a search stays within it
    assert browser.post(shelf, {"all": "1"}).status_code == 302
    assert sorted(live_messages(mailbox.pk).values_list("uid", flat=True)) == [4, 5, 6, 7, 8]


def test_mail_that_expired_was_deleted_by_nobody(browser: Client) -> None:
    mailbox = make_mailbox("carl", b"Subject: x\r\n\r\ny\r\n")
    live_messages(mailbox.pk).update(deleted_at=timezone.now())
    assert "by its age" in text_of(browser.get(f"/admin/accounts/mailbox/{mailbox.pk}/messages/1/").content)
