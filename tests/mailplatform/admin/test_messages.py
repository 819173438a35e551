"""The pages of one mailbox's messages: what they show and to whom, what they log, and what a restore does."""

import logging
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Mailbox, User
from mailplatform.admin.messages import PAGE_SIZE
from mailstore.models import Maildrop, Message
from tests.mailplatform.admin.people import browser_of, make_mailbox, staff, text_of
from tests.mailstore.mailboxes import assert_counters_fit, fill
from tests.messages import canonical, hard_messages

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def page(name: str, mailbox: Mailbox, *arguments: int, **query: str) -> str:
    url = reverse(f"admin:accounts_mailbox_{name}", args=[mailbox.pk, *arguments])
    return f"{url}?{urlencode(query)}" if query else url


def numbered(number: int, *, start: int = 1) -> list[bytes]:
    return [
        b"From: Bert <b%d@x.org>\r\nSubject: letter number %d\r\nMessage-ID: <%d@x.org>\r\n\r\nwords\r\n" % (n, n, n)
        for n in range(start, start + number)
    ]


def put_on_shelf(mailbox: Mailbox, *uids: int) -> None:
    gone = Message.objects.filter(mailbox_id=mailbox.pk, uid__in=uids)
    octets = sum(gone.values_list("octets", flat=True))
    gone.update(deleted_at=timezone.now())
    drop = Maildrop.objects.get(mailbox_id=mailbox.pk)
    drop.message_count, drop.octets = drop.message_count - len(uids), drop.octets - octets
    drop.save()


# --- The list -----------------------------------------------------------------------------------------------


def test_the_list_shows_envelopes_newest_first(browser: Client, mailbox: Mailbox) -> None:
    fill(mailbox.pk, *numbered(3))
    Message.objects.filter(mailbox_id=mailbox.pk, uid=2).update(retrieved_at=timezone.now())
    shown = text_of(browser.get(page("messages", mailbox)).content)
    assert shown.index("letter number 3") < shown.index("letter number 2") < shown.index("letter number 1")
    assert "Bert <b3@x.org>" in shown
    assert "Messages 3 Shelf 0" in shown
    assert "words" not in shown
    assert timezone.now().strftime("%Y-%m-%d") in shown
    assert shown.count(" new ") == 2


def test_an_empty_mailbox_says_so(browser: Client, mailbox: Mailbox) -> None:
    assert "No messages." in text_of(browser.get(page("messages", mailbox)).content)
    assert "Nothing was deleted lately." in text_of(browser.get(page("shelf", mailbox)).content)
    assert "Nothing found for “zebra”." in text_of(browser.get(page("messages", mailbox, q="zebra")).content)


def test_pages_follow_one_another_to_the_oldest(browser: Client, mailbox: Mailbox) -> None:
    fill(mailbox.pk, *numbered(2 * PAGE_SIZE + 1))
    seen: list[int] = []
    url = page("messages", mailbox)
    while True:
        response = browser.get(url)
        rows = response.context["table"]["rows"]
        text = text_of(response.content)
        seen += [n for n in range(2 * PAGE_SIZE + 1, 0, -1) if f"letter number {n} " in text]
        assert len(rows) <= PAGE_SIZE
        if not response.context["older_url"]:
            break
        url = page("messages", mailbox) + response.context["older_url"]
    assert seen == list(range(2 * PAGE_SIZE + 1, 0, -1))
    assert response.context["newest_url"] == "?"


def test_a_page_stays_within_its_search(browser: Client, mailbox: Mailbox) -> None:
    fill(mailbox.pk, *numbered(PAGE_SIZE + 5), b"Subject: a zebra\r\n\r\n")
    response = browser.get(page("messages", mailbox, q="letter"))
    assert response.context["older_url"] == f"?q=letter&before={6}"
    older = browser.get(page("messages", mailbox) + response.context["older_url"])
    assert len(older.context["table"]["rows"]) == 5
    assert 'value="letter"' in older.content.decode()


@pytest.mark.parametrize("before", ["", "x", "-1", "1.5", "٣", "9" * 30, "1 OR 1=1", "\0"])
def test_a_place_that_is_none_is_the_newest_page(browser: Client, mailbox: Mailbox, before: str) -> None:
    fill(mailbox.pk, *numbered(2))
    assert len(browser.get(page("messages", mailbox, before=before)).context["table"]["rows"]) == 2


def test_the_last_page_of_a_large_mailbox_costs_what_the_first_does(browser: Client, mailbox: Mailbox) -> None:
    def cost(**query: str) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            browser.get(page("messages", mailbox, **query))
        return [q["sql"] for q in queries if "mailstore_" in q["sql"]]

    fill(mailbox.pk, b"Subject: one\r\n\r\n")
    one = len(cost())
    fill(mailbox.pk, *numbered(3 * PAGE_SIZE))
    assert len(cost()) == len(cost(before="50")) == len(cost(q="letter")) == one
    for sql in (*cost(), *cost(before="50")):
        assert "COUNT(" not in sql.upper()
        assert "OFFSET" not in sql.upper()


# --- One message ----------------------------------------------------------------------------------------------


def test_a_message_is_shown_to_whom_may_read_mail_and_each_look_is_logged(
    admin: User, browser: Client, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    fill(mailbox.pk, *numbered(2))
    with caplog.at_level(logging.INFO, "mailplatform.audit"):
        for uid in (2, 1):
            shown = text_of(browser.get(page("message", mailbox, uid)).content)
            assert f"letter number {uid}" in shown
            assert "words" in shown
    assert [record.getMessage() for record in caplog.records if record.name == "mailplatform.audit"] == [
        "root read message 2 of anna@maison.mrs",
        "root read message 1 of anna@maison.mrs",
    ]
    entries = LogEntry.objects.order_by("pk")
    assert [(e.user_id, e.object_id, e.object_repr) for e in entries] == [
        (admin.pk, str(mailbox.pk), "anna@maison.mrs")
    ] * 2
    assert [e.get_change_message() for e in entries] == ["Read message 2 <2@x.org>", "Read message 1 <1@x.org>"]


def test_what_a_message_says_turns_no_line_of_the_log(browser: Client, mailbox: Mailbox) -> None:
    fill(mailbox.pk, "Message-ID: <a\u202e1 egassem daeR\u2066>\n\n".encode())
    browser.get(page("message", mailbox, 1))
    assert LogEntry.objects.get().get_change_message() == "Read message 1 <a 1 egassem daeR >"


@pytest.mark.parametrize("uid", [1, 2])
def test_without_the_permission_there_is_no_body_and_no_way_to_one(mailbox: Mailbox, uid: int) -> None:
    fill(mailbox.pk, *numbered(2))
    put_on_shelf(mailbox, 2)
    helper = browser_of(staff("accounts.view_mailbox", "accounts.change_mailbox"))
    for name in ("message", "message_download"):
        response = helper.get(page(name, mailbox, uid))
        assert response.status_code == 403
        assert b"words" not in response.content
        assert b"letter" not in response.content
    listed = helper.get(page("messages" if uid == 1 else "shelf", mailbox)).content.decode()
    assert f"letter number {uid}" in listed
    assert page("message", mailbox, uid) not in listed
    assert not LogEntry.objects.exists()


def test_reading_mail_takes_more_than_that_permission(mailbox: Mailbox) -> None:
    fill(mailbox.pk, *numbered(1))
    assert browser_of(staff("accounts.read_mail")).get(page("message", mailbox, 1)).status_code == 403
    reader = browser_of(staff("accounts.read_mail", "accounts.view_mailbox", name="reader"))
    assert b"words" in reader.get(page("message", mailbox, 1)).content


def test_nothing_is_shown_that_was_not_logged(
    browser: Client, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the log out of order the answer is an error, not a message."""
    fill(mailbox.pk, *numbered(1))

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError("no log today")

    monkeypatch.setattr(LogEntry.objects, "log_actions", broken)
    for name in ("message", "message_download"):
        with pytest.raises(OSError, match="no log today"):
            browser.get(page(name, mailbox, 1))


def test_a_message_of_another_mailbox_is_not_found(browser: Client, mailbox: Mailbox) -> None:
    fill(make_mailbox("bert").pk, *numbered(1))
    assert browser.get(page("message", mailbox, 1)).status_code == 404
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/xhtml+xml"])
def test_markup_in_a_message_is_text_on_every_page(browser: Client, mailbox: Mailbox, kind: str) -> None:
    hostile = (
        f"From: {HOSTILE} <a@b>\r\nTo: {HOSTILE}\r\nSubject: {HOSTILE}\r\nMessage-ID: <{HOSTILE}>\r\n"
        f'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\nContent-Type: {kind}\r\n\r\n{HOSTILE}\r\n'
        f"--x\r\nContent-Type: application/{HOSTILE.replace('/', '')}\r\n"
        f"Content-Disposition: attachment; filename*=utf-8''%3Cscript%3Ealert(3)%3C%2Fscript%3E\r\n\r\n.\r\n--x--\r\n"
    )
    fill(mailbox.pk, hostile.encode(), hostile.encode())
    put_on_shelf(mailbox, 2)
    history = reverse("admin:admin_logentry_changelist")
    mailbox_history = reverse("admin:accounts_mailbox_history", args=[mailbox.pk])
    for url in (
        page("message", mailbox, 1),
        page("messages", mailbox),
        page("shelf", mailbox),
        page("messages", mailbox, q=HOSTILE),
        history,
        mailbox_history,
        reverse("admin:index"),
    ):
        content = browser.get(url).content
        assert b"alert(" in content, url
        for tag in (b"<script>alert", b"<img src=x", b"\"'>"):
            assert tag not in content, url


def test_no_control_character_of_a_message_is_in_a_page(browser: Client, mailbox: Mailbox) -> None:
    turned = "=?utf-8?b?4oCuZ3BqLmV4ZQ==?="  # RIGHT-TO-LEFT OVERRIDE, gpj.exe
    fill(
        mailbox.pk,
        f"From: {turned} <a@b>\r\nSubject: x\x1b[31m{turned}\r\nContent-Type: text/plain\r\n\r\n\x1b[2J\x00\x9b\x07\r\n".encode(),
    )
    for url in (page("messages", mailbox), page("message", mailbox, 1)):
        shown = browser.get(url).content.decode()
        assert "gpj.exe" in shown
        assert not set(shown) & {"\0", "\x07", "\x1b", "\x9b", "\N{RIGHT-TO-LEFT OVERRIDE}"}


def test_html_is_shown_as_source_and_said_to_be(browser: Client, mailbox: Mailbox) -> None:
    fill(mailbox.pk, b"Content-Type: text/html\r\n\r\n<p>Hello <b>you</b></p>\r\n")
    response = browser.get(page("message", mailbox, 1))
    assert b"&lt;p&gt;Hello &lt;b&gt;you&lt;/b&gt;&lt;/p&gt;" in response.content
    assert "shown as source" in text_of(response.content)


def test_every_hard_message_has_a_page(browser: Client, mailbox: Mailbox) -> None:
    messages = hard_messages()
    fill(mailbox.pk, *messages.values())
    for uid, name in enumerate(messages, 1):
        assert browser.get(page("message", mailbox, uid)).status_code == 200, name


# --- The download -----------------------------------------------------------------------------------------------


def test_a_download_is_the_message_to_the_octet_and_no_page(browser: Client, mailbox: Mailbox) -> None:
    messages = list(hard_messages().values())
    fill(mailbox.pk, *messages)
    for uid, message in enumerate(messages, 1):
        response = browser.get(page("message_download", mailbox, uid))
        content = b"".join(response.streaming_content)
        assert content == canonical(message)
        assert response["Content-Length"] == str(len(content))
    assert response["Content-Type"] == "message/rfc822"
    assert response["Content-Disposition"] == f'attachment; filename="anna-at-maison-mrs-{len(messages)}.eml"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert LogEntry.objects.count() == len(messages)


def test_a_name_of_a_mailbox_cannot_break_the_header_of_a_download(browser: Client) -> None:
    mailbox = make_mailbox("o'brien+{x}")
    fill(mailbox.pk, b"x")
    response = browser.get(page("message_download", mailbox, 1))
    assert response["Content-Disposition"] == 'attachment; filename="obrienx-at-maison-mrs-1.eml"'


# --- The shelf ----------------------------------------------------------------------------------------------------


def test_chosen_messages_come_back_and_it_is_logged(browser: Client, mailbox: Mailbox) -> None:
    fill(mailbox.pk, *numbered(4))
    put_on_shelf(mailbox, 1, 2, 3)
    shelf = text_of(browser.get(page("shelf", mailbox)).content)
    assert "letter number 2" in shelf
    assert "letter number 4" not in shelf
    response = browser.post(page("shelf", mailbox), {"uid": ["1", "3"]}, follow=True)
    assert response.redirect_chain == [(page("shelf", mailbox), 302)]
    assert "2 messages are back in the mailbox." in text_of(response.content)
    live = text_of(browser.get(page("messages", mailbox)).content)
    assert "letter number 1" in live
    assert "letter number 3" in live
    assert "letter number 2" not in live
    assert_counters_fit(mailbox.pk)
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.user.username) == ("anna@maison.mrs", "root")
    assert entry.get_change_message() == "Restored 2 messages from the shelf"


@pytest.mark.parametrize("chosen", [[], ["x"], ["99"], ["-1", "1e3"], ["1" * 40]])
def test_a_choice_of_nothing_changes_nothing(browser: Client, mailbox: Mailbox, chosen: list[str]) -> None:
    fill(mailbox.pk, *numbered(2))
    put_on_shelf(mailbox, 1)
    before = Maildrop.objects.values().get(mailbox_id=mailbox.pk)
    response = browser.post(page("shelf", mailbox), {"uid": chosen}, follow=True)
    assert response.status_code == 200
    assert Maildrop.objects.values().get(mailbox_id=mailbox.pk) == before
    assert not LogEntry.objects.exists()
    shown = text_of(response.content)
    assert ("on the shelf no more" if chosen == ["99"] else "Choose the messages") in shown
    assert "in the mailbox." not in shown


def test_only_who_may_change_a_mailbox_restores_from_it(mailbox: Mailbox) -> None:
    fill(mailbox.pk, *numbered(1))
    put_on_shelf(mailbox, 1)
    viewer = browser_of(staff("accounts.view_mailbox"))
    assert b'type="checkbox" name="uid"' not in viewer.get(page("shelf", mailbox)).content
    assert viewer.post(page("shelf", mailbox), {"uid": "1"}).status_code == 403
    assert Message.objects.get(mailbox_id=mailbox.pk).deleted_at is not None
    changer = browser_of(staff("accounts.view_mailbox", "accounts.change_mailbox", name="changer"))
    assert b'type="checkbox" name="uid"' in changer.get(page("shelf", mailbox)).content
    changer.post(page("shelf", mailbox), {"uid": "1"})
    assert Message.objects.get(mailbox_id=mailbox.pk).deleted_at is None


def test_the_shelf_says_when_mail_was_fetched_and_deleted_and_how_long_it_stays(
    browser: Client, mailbox: Mailbox
) -> None:
    fill(mailbox.pk, *numbered(1))
    put_on_shelf(mailbox, 1)
    Message.objects.update(deleted_at="2026-03-04T05:06Z", retrieved_at="2026-02-03T04:05Z")
    shown = text_of(browser.get(page("shelf", mailbox)).content)
    assert "2026-02-03 04:05 2026-03-04 05:06" in shown
    assert "for 30 days" in shown
    assert "Messages 0 Shelf 1" in shown


def test_the_whole_shelf_comes_back_or_all_that_a_search_finds(
    browser: Client, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailplatform.admin.messages._IN_ONE_TRANSACTION", 4)
    fill(mailbox.pk, *numbered(12), b"Subject: a zebra\r\n\r\n")
    put_on_shelf(mailbox, *range(1, 14))
    browser.post(page("shelf", mailbox, q="zebra"), {"all": "1"})
    assert [message.subject for message in Message.objects.filter(deleted_at__isnull=True)] == ["a zebra"]
    response = browser.post(page("shelf", mailbox), {"all": "1"}, follow=True)
    assert "12 messages are back" in text_of(response.content)
    subjects = Message.objects.filter(deleted_at__isnull=True).order_by("uid").values_list("subject", flat=True)
    assert list(subjects) == ["a zebra", *(f"letter number {n}" for n in range(1, 13))]
    assert_counters_fit(mailbox.pk)
    assert [e.get_change_message() for e in LogEntry.objects.order_by("pk")][
        -1
    ] == "Restored 12 messages from the shelf"


def test_an_empty_mailbox_leads_to_a_shelf_that_is_not(browser: Client, mailbox: Mailbox) -> None:
    fill(mailbox.pk, *numbered(1))
    assert "Is a message missing?" not in text_of(browser.get(page("messages", mailbox)).content)
    put_on_shelf(mailbox, 1)
    assert "Is a message missing?" in text_of(browser.get(page("messages", mailbox)).content)
