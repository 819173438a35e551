"""The page of login records: who tried, over what, and what became of it."""

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import LoginResult, Mailbox
from tests.mailplatform.admin.people import make_login, text_of

URL = "/admin/accounts/loginrecord/"


def test_a_login_is_told_in_a_line(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox, login="anna", app_password="telephone")
    text = text_of(browser.get(URL).content)
    for part in ("anna@maison.mrs", "as anna · telephone", "let in", "192.0.2.7", "TLSv1.3", "POP3", "USER · 12 ms"):
        assert part in text


def test_tries_that_were_alike_are_counted(browser: Client, mailbox: Mailbox) -> None:
    at = timezone.now().replace(second=10)
    make_login(mailbox, "wrong", times=60, at=at, last_at=at.replace(second=50))
    text = text_of(browser.get(URL).content)
    assert "60 times" in text
    assert "refused wrong password" in text
    assert "until" not in text


def test_what_a_stranger_typed_is_text(browser: Client) -> None:
    make_login(None, "unknown", login="<script>alert(1)</script>", address="")
    page = browser.get(URL).content
    assert b"<script>alert(1)" not in page
    assert b"&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("result", LoginResult.values)
def test_every_result_can_be_shown_and_filtered(browser: Client, mailbox: Mailbox, result: str) -> None:
    make_login(mailbox, result)
    other = LoginResult.WRONG if result != LoginResult.WRONG else LoginResult.EXPIRED
    make_login(None, other, login="somebody else")
    text = text_of(browser.get(f"{URL}?result={result}").content)
    assert "anna@maison.mrs" in text
    assert "somebody else" not in text


def test_refused_for_any_reason(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox)
    make_login(None, "unknown", login="somebody else")
    text = text_of(browser.get(f"{URL}?result=refused").content)
    assert "somebody else" in text
    assert "anna@maison.mrs" not in text


def test_by_protocol_and_mailbox(browser: Client, mailbox: Mailbox) -> None:
    make_login(mailbox, protocol="smtp", login="by smtp")
    make_login(None, login="by pop3")
    assert "by pop3" not in text_of(browser.get(f"{URL}?protocol=smtp").content)
    assert "by pop3" not in text_of(browser.get(f"{URL}?mailbox__id__exact={mailbox.pk}").content)


def test_one_record_has_a_page(browser: Client, mailbox: Mailbox) -> None:
    record = make_login(mailbox, "wrong")
    assert "wrong password" in text_of(browser.get(f"{URL}{record.pk}/change/").content)
