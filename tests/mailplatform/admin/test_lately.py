"""An owner at the phone who cannot log in: the last tries, why they failed, and failures that are forgiven."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Mailbox, Throttle
from accounts.throttling import find_waiting
from tests.mailplatform.admin.people import browser_of, make_login, make_session, staff, text_of

HERE = ("anna@maison.mrs", "192.0.2.7")


def page_of(mailbox: Mailbox) -> str:
    return f"/admin/accounts/mailbox/{mailbox.pk}/change/"


def fail(key: str, failures: float = 14) -> None:
    now = timezone.now()
    Throttle.objects.create(key=key, failures=failures, failed_at=now, forgotten_at=now + timedelta(hours=3))


def test_the_last_logins_and_sessions_are_shown(browser: Client, mailbox: Mailbox) -> None:
    for number in range(8):
        make_login(mailbox, address=f"192.0.2.{number}")
        make_session(mailbox, serial=number, retrieved=number + 100)
    text = text_of(browser.get(page_of(mailbox)).content)
    assert "192.0.2.7" in text
    assert "192.0.2.2" not in text
    assert "107 messages" in text
    assert "102 messages" not in text


def test_where_there_are_none_it_says_what_to_do(browser: Client, mailbox: Mailbox) -> None:
    text = text_of(browser.get(page_of(mailbox)).content)
    assert "Nobody has tried to log in lately." in text
    assert "No mail program has opened this mailbox lately." in text


def test_a_refused_login_is_said_with_its_reason_until_one_succeeds(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox, "two-factor", protocol="smtp")
    text = text_of(browser.get(page_of(mailbox)).content)
    assert "The last login was refused: needs an app password, since two-factor is on (SMTP from 192.0.2.7" in text
    make_login(mailbox)
    assert "The last login was refused" not in text_of(browser.get(page_of(mailbox)).content)


def test_nothing_is_said_of_logins_to_whom_may_not_see_them(mailbox: Mailbox) -> None:
    make_login(mailbox, "wrong")
    make_session(mailbox)
    text = text_of(browser_of(staff("accounts.view_mailbox")).get(page_of(mailbox)).content)
    assert "192.0.2.7" not in text
    assert "Last logins" not in text


def test_who_has_to_wait_is_forgiven(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox, "throttled")
    fail("anna@maison.mrs|192.0.2.7/32", 14)
    fail("anna@maison.mrs|", 60)
    fail("|192.0.2.7/32", 20)
    fail("bert@maison.mrs|192.0.2.7/32", 14)
    text = text_of(browser.get(page_of(mailbox)).content)
    assert "Logins as anna@maison.mrs from 192.0.2.7 have to wait 15 minutes: 14 wrong passwords." in text
    assert "Logins as anna@maison.mrs from addresses that are new have to wait 5 minutes: 60 wrong passwords." in text
    assert "Logins from 192.0.2.7 have to wait 5 minutes: 20 wrong passwords." in text
    assert "Forgive failed logins" in text
    answer = browser.post(f"/admin/accounts/mailbox/{mailbox.pk}/forgive/", follow=True)
    assert "Failed logins are forgiven" in text_of(answer.content)
    assert "have to wait" not in text_of(answer.content)
    assert find_waiting([HERE]) == []
    assert [wait.key for wait in find_waiting([("bert@maison.mrs", "192.0.2.7")])] == ["bert@maison.mrs|192.0.2.7/32"]
    assert "Forgave failed logins" in LogEntry.objects.latest("pk").change_message


def test_short_waits_are_said_in_seconds(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox, "wrong")
    fail("anna@maison.mrs|192.0.2.7/32", 9)
    text = text_of(browser.get(page_of(mailbox)).content)
    assert "have to wait 32 seconds" in text or "have to wait 31 seconds" in text


def test_without_a_wait_there_is_no_button(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox, "wrong")
    fail("anna@maison.mrs|192.0.2.7/32", 2)
    assert "Forgive" not in text_of(browser.get(page_of(mailbox)).content)


@pytest.mark.parametrize("permissions", [[], ["accounts.view_mailbox", "accounts.view_loginrecord"]])
def test_only_who_may_change_the_mailbox_forgives(mailbox: Mailbox, permissions: list[str]) -> None:
    make_login(mailbox, "throttled")
    fail("anna@maison.mrs|192.0.2.7/32")
    helper = browser_of(staff(*permissions))
    assert helper.post(f"/admin/accounts/mailbox/{mailbox.pk}/forgive/").status_code == 403
    assert find_waiting([HERE]) != []
    assert b"Forgive failed" not in helper.get(page_of(mailbox)).content


def test_the_page_takes_no_more_statements_with_more_records(browser: Client, mailbox: Mailbox) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(page_of(mailbox)).status_code == 200
        return len(queries)

    make_login(mailbox, "wrong")
    make_session(mailbox)
    before = statements()
    for number in range(20):
        make_login(mailbox, "wrong", address=f"192.0.2.{number}")
        make_session(mailbox, serial=number)
    assert statements() == before
