"""A user's app passwords: made, shown once, seen with their last use, revoked; by whom may set a password alone."""

import logging
import re
from datetime import datetime, time, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.app_passwords import Use, create_app_password, find_app_passwords, typed_digest, write_uses
from accounts.models import AppPassword, Mailbox, User
from tests.mailplatform.admin.people import browser_of, filled_in, make_mailbox, staff, superuser, text_of

SECRET = re.compile(r'value="((?:[a-z2-7]{4}-){6}[a-z2-7]{4})"')
BOTH = {"pop3": "on", "smtp": "on"}


@pytest.fixture
def anna(mailbox: Mailbox) -> User:
    return mailbox.user


def page_of(user: User) -> str:
    return f"/admin/accounts/user/{user.pk}/app-passwords/"


def make(browser: Client, user: User, **given: str) -> bytes:
    answer = browser.post(page_of(user), {"name": "telephone", **given})
    assert answer.status_code == 200
    return answer.content


def test_one_that_is_made_is_shown_once_and_opens(
    browser: Client, anna: User, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = browser.post(page_of(anna), {"name": "telephone", **BOTH})
    assert "no-store" in answer["Cache-Control"]
    (secret,) = SECRET.findall(answer.content.decode())
    digest = typed_digest(secret)
    found = find_app_passwords([digest])[0]
    assert (found.user_id, found.name, found.pop3, found.smtp, found.read_only) == (
        anna.pk,
        "telephone",
        True,
        True,
        False,
    )
    assert "Login name: anna@maison.mrs." in text_of(answer.content)
    assert not SECRET.search(browser.get(page_of(anna)).content.decode())
    # Kept nowhere: neither in the history nor in the session nor in the log.
    written = [entry.change_message for entry in LogEntry.objects.all()]
    written += [str(session.get_decoded()) for session in Session.objects.all()] + [caplog.text]
    assert any("Made the app password “telephone”" in text for text in written)
    assert not any(secret in text or digest in text for text in written)


def test_what_it_may_is_kept(browser: Client, anna: User) -> None:
    day = (timezone.localdate() + timedelta(days=30)).isoformat()
    make(browser, anna, pop3="on", read_only="on", network="192.0.2.0/24", expires_on=day)
    made = AppPassword.objects.get()
    assert (made.pop3, made.smtp, made.read_only, made.network) == (True, False, True, "192.0.2.0/24")
    assert timezone.localtime(made.expires_at).time() == time.max
    assert timezone.localdate(made.expires_at).isoformat() == day


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "", **BOTH}, "This field is required."),
        ({"name": "Taken", **BOTH}, "There is one of this name already."),
        ({}, "It has to open one of the two."),
        ({"network": "not one", **BOTH}, "network"),
        ({"network": "192.0.2.0/99", **BOTH}, "network"),
        ({"expires_on": "2020-01-01", **BOTH}, "This time has passed."),
        ({"expires_on": "9999-99-99", **BOTH}, "Enter a valid date."),
        ({"expires_on": "9999-12-31", **BOTH}, "less than or equal to"),
        ({"name": "x" * 101, **BOTH}, "at most 100 characters"),
    ],
)
def test_what_cannot_be_is_said_beside_the_field(browser: Client, anna: User, given: dict[str, str], said: str) -> None:
    create_app_password(user=anna, name="Taken")
    page = make(browser, anna, **given)
    assert said in text_of(page)
    assert not SECRET.search(page.decode())
    assert AppPassword.objects.count() == 1


def test_the_list_says_what_each_may_and_where_it_was_used(browser: Client, anna: User) -> None:
    one, _ = create_app_password(user=anna, name="<b>Laptop</b>", smtp=False, read_only=True, network="192.0.2.0/24")
    write_uses([Use(one.pk, datetime(2026, 3, 4, 5, 6, tzinfo=timezone.get_current_timezone()), "192.0.2.9")])
    old, _ = create_app_password(user=anna, name="Old")
    AppPassword.objects.filter(pk=old.pk).update(expires_at=timezone.now())
    page = browser.get(page_of(anna)).content
    text = text_of(page)
    for part in (
        "reads mail deletes nothing",
        "192.0.2.0/24",
        "2026-03-04 05:06",
        "from 192.0.2.9",
        "expired",
        "never",
    ):
        assert part in text
    assert b"<b>Laptop" not in page


def test_without_one_it_says_so(browser: Client, anna: User) -> None:
    assert "There are no app passwords yet." in text_of(browser.get(page_of(anna)).content)


def test_one_is_revoked(browser: Client, anna: User) -> None:
    made, secret = create_app_password(user=anna, name="telephone")
    text = text_of(browser.post(page_of(anna), {"revoke": str(made.pk)}, follow=True).content)
    assert "“telephone” opens nothing any more." in text
    assert find_app_passwords([typed_digest(secret)]) == [None]
    assert LogEntry.objects.latest("pk").change_message == "Revoked the app password “telephone”"


@pytest.mark.parametrize("pk", ["", "x", "-1", "9" * 30, "0"])
def test_what_is_there_no_more_is_not_revoked(browser: Client, anna: User, pk: str) -> None:
    create_app_password(user=anna, name="telephone")
    text = text_of(browser.post(page_of(anna), {"revoke": pk}, follow=True).content)
    assert "has been revoked already" in text
    assert AppPassword.objects.count() == 1


def test_that_of_another_user_is_not_revoked_here(browser: Client, anna: User) -> None:
    made, _ = create_app_password(user=make_mailbox("bert").user, name="telephone")
    browser.post(page_of(anna), {"revoke": str(made.pk)})
    assert AppPassword.objects.count() == 1


def test_who_may_see_a_user_makes_none(anna: User) -> None:
    made, _ = create_app_password(user=anna, name="telephone")
    viewer = browser_of(staff("accounts.view_user"))
    page = viewer.get(page_of(anna))
    assert "telephone" in text_of(page.content)
    assert b"New app password" not in page.content
    assert b"mp-end" not in page.content
    for data in ({"name": "x", **BOTH}, {"revoke": str(made.pk)}):
        assert viewer.post(page_of(anna), data).status_code == 403
    assert AppPassword.objects.count() == 1


def test_staff_make_none_for_those_who_may_more(anna: User) -> None:
    """Else whoever may set passwords could open the mailboxes of those whose password they may not set."""
    root = superuser("chief")
    helper = browser_of(staff("accounts.view_user", "accounts.change_user"))
    assert helper.post(page_of(anna), {"name": "x", **BOTH}).status_code == 200
    assert helper.post(page_of(root), {"name": "x", **BOTH}).status_code == 403
    assert AppPassword.objects.filter(user=root).count() == 0


def test_a_user_that_is_not_there_is_not_found(browser: Client) -> None:
    assert browser.get(f"/admin/accounts/user/{2**40}/app-passwords/").status_code == 404


def test_the_users_page_says_how_many_and_switches_two_factor(browser: Client, anna: User) -> None:
    create_app_password(user=anna, name="telephone")
    bert = make_mailbox("bert")
    bert.delegates.add(anna)
    url = f"/admin/accounts/user/{anna.pk}/change/"
    page = browser.get(url).content
    assert page_of(anna) in page.decode()
    assert "bert@maison.mrs" in text_of(page)
    assert browser.post(url, filled_in(browser, url, "user_form") | {"two_factor": "on"}).status_code == 302
    anna.refresh_from_db()
    assert anna.two_factor
    assert "Two-factor is on: mail programs need one of these." in text_of(browser.get(page_of(anna)).content)


def test_the_page_takes_the_same_statements_however_many_there_are(browser: Client, anna: User) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(page_of(anna)).status_code == 200
        return len(queries)

    before = statements()
    for number in range(20):
        create_app_password(user=anna, name=str(number))
    assert statements() == before
