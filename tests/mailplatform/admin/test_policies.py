"""What domains and mailboxes set for themselves, and who else may open a mailbox."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import Settings

from accounts.lookup import find_credentials
from accounts.models import Domain, Mailbox
from accounts.services import create_domain
from tests.mailplatform.admin.people import browser_of, filled_in, make_mailbox, staff, text_of


def save(browser: Client, url: str, form: str, **changed: object) -> None:
    answer = browser.post(url, filled_in(browser, url, form) | changed)
    assert answer.status_code == 302, text_of(answer.content)


def box_url(mailbox: Mailbox) -> str:
    return f"/admin/accounts/mailbox/{mailbox.pk}/change/"


def test_a_mailbox_has_its_own_or_else_its_domains(browser: Client, mailbox: Mailbox, settings: Settings) -> None:
    settings.MAIL_EXPIRE_DAYS = 0
    assert "empty is inherited: messages never expire." in text_of(browser.get(box_url(mailbox)).content)
    domain = mailbox.domain
    save(
        browser,
        f"/admin/accounts/domain/{domain.pk}/change/",
        "domain_form",
        expire_days="30",
        login_delay_seconds="60",
    )
    text = text_of(browser.get(box_url(mailbox)).content)
    assert "empty is inherited: 30 days." in text
    assert "empty is inherited: 60 seconds." in text
    save(browser, box_url(mailbox), "mailbox_form", expire_days="1", login_delay_seconds="0")
    (credential,) = find_credentials([mailbox.address])
    assert (credential.policy.expire_days, credential.policy.login_delay_seconds) == (1, 0)
    save(browser, box_url(mailbox), "mailbox_form", expire_days="", login_delay_seconds="")
    (credential,) = find_credentials([mailbox.address])
    assert (credential.policy.expire_days, credential.policy.login_delay_seconds) == (30, 60)


def test_a_domain_says_what_the_platform_says(browser: Client, domain: Domain, settings: Settings) -> None:
    settings.MAIL_EXPIRE_DAYS, settings.POP3_LOGIN_DELAY_SECONDS = 7, 1
    text = text_of(browser.get(f"/admin/accounts/domain/{domain.pk}/change/").content)
    assert "empty is inherited: 7 days." in text
    assert "empty is inherited: 1 second." in text
    assert browser.get("/admin/accounts/domain/add/").status_code == 200
    assert browser.get("/admin/accounts/mailbox/add/").status_code == 200


@pytest.mark.parametrize("value", ["-1", "x", "99999999999999999999"])
def test_what_is_no_number_of_days_is_not_taken(browser: Client, mailbox: Mailbox, value: str) -> None:
    answer = browser.post(
        box_url(mailbox), filled_in(browser, box_url(mailbox), "mailbox_form") | {"expire_days": value}
    )
    assert answer.status_code == 200
    mailbox.refresh_from_db()
    assert mailbox.expire_days is None


def test_delegates_are_named_and_written_down(browser: Client, mailbox: Mailbox) -> None:
    bert = make_mailbox("bert").user
    save(browser, box_url(mailbox), "mailbox_form", delegates=[str(bert.pk)])
    assert list(mailbox.delegates.all()) == [bert]
    assert "delegates" in LogEntry.objects.latest("pk").get_change_message().lower()


def test_who_may_not_read_mail_lets_nobody_else_read_it(mailbox: Mailbox) -> None:
    """Else a member of staff who may change mailboxes would make themselves the delegate of any."""
    helper = staff("accounts.view_mailbox", "accounts.change_mailbox", "accounts.view_user", "accounts.view_domain")
    browser = browser_of(helper)
    data = filled_in(browser, box_url(mailbox), "mailbox_form")
    taken = {"delegates": [str(helper.pk)], "user": str(helper.pk), "forward_to": "me@example.net", "is_active": ""}
    assert browser.post(box_url(mailbox), data | taken).status_code == 302
    before, after = mailbox, Mailbox.objects.get(pk=mailbox.pk)
    assert (after.user_id, after.forward_to) == (before.user_id, before.forward_to)
    assert not after.delegates.exists()
    assert not after.is_active


def test_who_may_not_read_mail_gives_no_address_to_another_mailbox(mailbox: Mailbox) -> None:
    """By two new names the owner of one would get the mail of the other."""
    helper = staff("accounts.view_mailbox", "accounts.change_mailbox", "accounts.view_user", "accounts.view_domain")
    browser, own, other = browser_of(helper), helper.mailboxes.get(), create_domain(name="other.mrs")
    save(browser, box_url(mailbox), "mailbox_form", local_part="anna-of-old", domain=str(other.pk), is_active="")
    save(browser, box_url(own), "mailbox_form", local_part="anna")
    assert dict(Mailbox.objects.values_list("address", "pk")) == {"anna@maison.mrs": mailbox.pk, own.address: own.pk}
    assert not Mailbox.objects.get(pk=mailbox.pk).is_active  # which is another matter
