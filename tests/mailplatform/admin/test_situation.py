"""What an admin tells an owner at the phone: what is wrong first, and nothing that is not so."""

import uuid
from datetime import datetime, timedelta

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.app_passwords import create_app_password
from accounts.models import Domain, Mailbox, User
from accounts.services import create_domain, set_default_domain
from mailplatform.admin.display import mark_open
from mailplatform.admin.situation import Fact, facts_about
from mailstore.maildrop import CloseRequest, Opened, OpenRequest, close_maildrops, open_maildrops
from mailstore.models import Message
from pop3service.models import Worker
from tests.mailplatform.admin.people import browser_of, staff, superuser, text_of
from tests.mailstore.mailboxes import fill

MINUTE = "%Y-%m-%d %H:%M"


@pytest.fixture
def owned(mailbox: Mailbox) -> Mailbox:
    """anna@maison.mrs, whose owner has a password."""
    User.objects.filter(pk=mailbox.user_id).update(password="argon2$something")
    return mailbox


def facts(mailbox: Mailbox, user: User | None = None) -> list[Fact]:
    request = RequestFactory().get("/")
    request.user = user or User.objects.filter(is_superuser=True).first() or superuser()
    found = Mailbox.objects.select_related("user", "domain", "maildrop").get(pk=mailbox.pk)
    mark_open([found])
    return facts_about(found, request)


def texts(mailbox: Mailbox, kind: str = "") -> list[str]:
    return [fact.text for fact in facts(mailbox) if kind in ("", fact.kind)]


def session(mailbox: Mailbox, *, deleted: tuple[int, ...] = (), ends: bool = True) -> Opened:
    worker = Worker.objects.create(arbiter=uuid.uuid4(), host="mx2 pid:[4026531836]", pid=1)
    (opened,) = open_maildrops([OpenRequest(mailbox.pk, worker.pk)])
    assert isinstance(opened, Opened)
    if ends:
        close_maildrops([CloseRequest(mailbox.pk, opened.lock, deleted=deleted)])
    return opened


def test_a_new_mailbox_in_order(owned: Mailbox) -> None:
    assert texts(owned) == ["Login name: anna@maison.mrs or anna. Nobody has logged in yet.", "No mail has ever come."]


def test_a_mailbox_in_use_every_day(owned: Mailbox) -> None:
    fill(owned.pk, b"Subject: x\r\n\r\ny\r\n")
    session(owned)
    now = timezone.now().strftime(MINUTE)
    assert texts(owned) == [
        f"Login name: anna@maison.mrs or anna. Last login: {now}.",
        f"1 message (17\xa0bytes) in the mailbox. The newest came {now}.",
    ]
    assert {fact.kind for fact in facts(owned)} == {"good"}


def test_who_is_kept_out_is_told_why_before_all_else(owned: Mailbox) -> None:
    Mailbox.objects.update(is_active=False)
    assert texts(owned)[0] == "The mailbox is suspended: nobody logs in, and mail to it is refused."
    User.objects.filter(pk=owned.user_id).update(is_active=False, password="!", two_factor=True)
    found = facts(owned)
    assert [fact.kind for fact in found[:4]] == ["danger"] * 4
    assert found[1].text == "Its user is suspended: nobody logs in."
    assert found[2].text == "No password is set: nobody logs in."
    assert found[2].url == f"/admin/accounts/user/{owned.user_id}/password/"
    assert found[3].text == "Two-factor is on and there is no app password: no mail program logs in."
    assert found[3].url == f"/admin/accounts/user/{owned.user_id}/app-passwords/"
    create_app_password(user=User.objects.get(pk=owned.user_id), name="telephone")
    assert texts(owned, "warning") == ["Two-factor is on: mail programs need an app password."]


def test_a_password_is_offered_to_whom_may_set_it(mailbox: Mailbox) -> None:
    viewer, changer = (
        staff("accounts.view_mailbox"),
        staff("accounts.view_mailbox", "accounts.change_user", name="changer"),
    )
    assert (facts(mailbox, viewer)[0].text, facts(mailbox, viewer)[0].url) == (
        "No password is set: nobody logs in.",
        "",
    )
    assert facts(mailbox, changer)[0].url
    User.objects.filter(pk=mailbox.user_id).update(is_staff=True)
    assert not facts(mailbox, changer)[0].url


def test_an_open_session_is_said_with_its_place_while_it_lasts(owned: Mailbox) -> None:
    opened = session(owned, ends=False)
    (text,) = texts(owned, "warning")
    now = timezone.now().strftime(MINUTE)
    assert text == f"A mail program has it open since {now}, on mx2; another one is told to wait."
    Worker.objects.update(beat_at=timezone.now() - timedelta(minutes=5))
    assert texts(owned, "warning") == []
    Worker.objects.update(beat_at=timezone.now())
    close_maildrops([CloseRequest(owned.pk, opened.lock)])
    assert texts(owned, "warning") == []


@pytest.mark.parametrize("quota", [{"quota_octets": 17}, {"quota_messages": 1}])
def test_a_full_mailbox_refuses_mail_and_that_is_said(owned: Mailbox, quota: dict[str, int]) -> None:
    fill(owned.pk, b"Subject: x\r\n\r\ny\r\n")
    Mailbox.objects.filter(pk=owned.pk).update(**quota)
    assert texts(owned, "danger") == ["1 message (17\xa0bytes) in the mailbox. It is full: new mail is refused."]


def test_mail_that_has_gone_is_on_the_shelf(owned: Mailbox) -> None:
    fill(owned.pk, *[b"x"] * 4)
    session(owned, deleted=(1,))
    Message.objects.filter(deleted_at__isnull=False).update(deleted_at=datetime.fromisoformat("2026-03-04T05:06Z"))
    (found,) = [fact for fact in facts(owned) if "deleted" in fact.text]
    assert found.text == "1 message was deleted, on 2026-03-04 05:06; it can be brought back until 2026-04-03 05:06."
    assert found.url == f"/admin/accounts/mailbox/{owned.pk}/shelf/"
    session(owned, deleted=(2, 3))
    (found,) = [fact for fact in facts(owned) if "deleted" in fact.text]
    assert found.text.startswith(f"3 messages were deleted, the last on {timezone.now().strftime(MINUTE)};")


def test_mail_that_expires_is_said(owned: Mailbox, domain: Domain) -> None:
    Domain.objects.update(expire_days=7)
    assert "Mail expires after 7 days." in texts(owned)
    Mailbox.objects.update(expire_days=0)
    assert not any("expires" in text for text in texts(owned))


def test_the_login_names_are_those_that_open_this_mailbox(owned: Mailbox) -> None:
    second = create_domain(name="second.org")
    other = Mailbox.objects.create(user=owned.user, domain=second, local_part="anna")
    assert "Login name: anna@second.org. Nobody" in texts(other)[0]
    set_default_domain(domain=second)
    assert "Login name: anna@second.org or anna. Nobody" in texts(other)[0]
    assert "Login name: anna@maison.mrs. Nobody" in texts(owned)[0]


def test_it_leads_to_the_user_whom_may_see_users(owned: Mailbox) -> None:
    url = f"/admin/accounts/user/{owned.user_id}/change/"
    assert url in [fact.url for fact in facts(owned)]
    assert url not in [fact.url for fact in facts(owned, staff("accounts.view_mailbox"))]


def test_it_stands_above_the_page_of_the_mailbox(browser: Client, owned: Mailbox) -> None:
    session(owned, ends=False)
    shown = text_of(browser.get(f"/admin/accounts/mailbox/{owned.pk}/change/").content)
    assert "another one is told to wait" in shown
    assert "Login name: anna@maison.mrs or anna." in shown


def test_it_costs_the_same_however_much_is_stored(
    owned: Mailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    viewer = browser_of(superuser())
    url = f"/admin/accounts/mailbox/{owned.pk}/change/"
    fill(owned.pk, b"x", b"x")
    session(owned, deleted=(1,))
    viewer.get(url)
    with django_assert_num_queries(19):
        viewer.get(url)
    fill(owned.pk, *[b"x"] * 120)
    session(owned, deleted=tuple(range(3, 90)))
    with django_assert_num_queries(19):
        viewer.get(url)


def test_of_a_combined_maildrop_it_says_that_all_have_to_be_free(owned: Mailbox) -> None:
    User.objects.filter(pk=owned.user_id).update(combined=True)
    assert texts(owned)[:2] == [
        "Login name: anna@maison.mrs. Nobody has logged in yet.",
        "As anna its user opens it together with the other mailboxes: all have to be free then.",
    ]
