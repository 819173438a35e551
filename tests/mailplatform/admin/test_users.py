"""The admin's pages of users: new ones with their mailbox, passwords, bulk actions, and who may change whom."""

import logging
import re
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.callers import Protocol
from accounts.guests import Guest, find_unwelcome
from accounts.models import Domain, Mailbox, User
from accounts.services import create_alias, create_domain
from mailplatform.admin.users import UserAdmin
from mailstore.maildrop import OpenRequest, open_maildrops
from mailstore.models import Content, Maildrop, Message
from pop3service.models import Worker
from tests.mailplatform.admin.people import browser_of, filled_in, make_mailbox, make_many, staff, superuser, text_of

LIST = "/admin/accounts/user/"
SECRET = "korrekt pferd 17"
HELPDESK = ("accounts.view_user", "accounts.add_user", "accounts.change_user", "accounts.delete_user")
WITH_MAILBOXES = ("accounts.view_mailbox", "accounts.add_mailbox", "accounts.change_mailbox", "accounts.delete_mailbox")


def page(name: str, user: User) -> str:
    if name == "password":
        return reverse("admin:auth_user_password_change", args=[user.pk])
    return reverse(f"admin:accounts_user_{name}", args=[user.pk])


# --- The list -----------------------------------------------------------------------------------------------


def test_a_row_says_who_it_is_and_leads_on(browser: Client, mailbox: Mailbox) -> None:
    User.objects.filter(username="anna").update(first_name="Anna", last_name="Martin", is_active=False)
    page = browser.get(LIST, {"q": "martin"})
    assert "anna Anna Martin 1 suspended Set password" in text_of(page.content)
    assert f"/admin/accounts/mailbox/?user__id__exact={mailbox.user_id}" in page.content.decode()
    assert "superuser" in text_of(browser.get(LIST, {"q": "root"}).content)
    assert "Set password" not in text_of(browser_of(staff("accounts.view_user")).get(LIST).content)


def test_search_finds_names_and_addresses_each_once(browser: Client, mailbox: Mailbox) -> None:
    second = create_domain(name="second.org")
    Mailbox.objects.create(user=mailbox.user, domain=second, local_part="sales")
    for words in ("anna", "sales@second", "second", "anna second.org"):
        assert [user.username for user in browser.get(LIST, {"q": words}).context["cl"].result_list] == ["anna"]


def test_a_full_page_takes_as_many_queries_as_a_row(
    browser: Client, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UserAdmin, "list_per_page", 10)
    make_many(1)
    browser.get(LIST)
    for _ in range(2):
        with django_assert_num_queries(4):  # the session, its user, the number of users, the page
            page = browser.get(LIST)
        make_many(12, start=User.objects.count())
    assert len(page.context["cl"].result_list) == 10


# --- New users ----------------------------------------------------------------------------------------------


def add(browser: Client, username: str, **more: str) -> object:
    data = {"username": username, "password1": SECRET, "password2": SECRET, **more}
    return browser.post(f"{LIST}add/", data)


def test_a_new_user_has_a_mailbox_and_its_page_comes_next(browser: Client, domain: Domain) -> None:
    response = add(browser, "Bert")
    user = User.objects.get(username="bert")
    assert (response.status_code, response["Location"]) == (302, page("change", user))
    assert [mailbox.address for mailbox in user.mailboxes.all()] == ["bert@maison.mrs"]
    assert user.check_password(SECRET)
    assert not user.is_staff
    assert LogEntry.objects.get().object_repr == "bert"


def test_a_user_without_a_domain_has_no_mailbox_and_that_is_said(admin: User, browser: Client) -> None:
    Mailbox.objects.all().delete()
    Domain.objects.all().delete()
    add(browser, "bert")
    assert "no default domain yet" in text_of(browser.get(LIST).content)
    assert not Mailbox.objects.exists()


@pytest.mark.parametrize(
    "username", ["", "a b", "a@b", "<script>alert(1)</script>", "x" * 65, "é é", "..", "ANNA", "taken", "Info"]
)
def test_a_name_that_cannot_be_is_refused_with_a_reason(browser: Client, mailbox: Mailbox, username: str) -> None:
    Mailbox.objects.create(user=mailbox.user, domain=mailbox.domain, local_part="taken")
    create_alias(domain=mailbox.domain, local_part="info", targets=mailbox.address)
    response = add(browser, username)
    assert response.status_code == 200
    assert response.context["adminform"].form.errors["username"]
    assert b"<script>alert(1)" not in response.content
    assert User.objects.count() == 2


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "too short"),
        ("12345678901", "entirely numeric"),
        ("password", "too common"),
        ("bert-bert", "too similar"),
    ],
)
def test_a_weak_password_is_refused_and_not_repeated(
    browser: Client, domain: Domain, password: str, reason: str
) -> None:
    response = add(browser, "bertbert", password1=password, password2=password)
    assert reason in text_of(response.content)
    assert f'value="{password}"' not in response.content.decode()
    assert not User.objects.filter(username="bertbert").exists()


# --- One user -----------------------------------------------------------------------------------------------


def test_the_page_of_a_user_shows_its_mailboxes_and_what_they_hold(browser: Client) -> None:
    mailbox = make_mailbox("bert", b"Subject: x\r\n\r\ny\r\n", quota_octets=2**30)
    content = browser.get(page("change", mailbox.user)).content.decode()
    assert "1 message (17\xa0bytes)" in content
    assert reverse("admin:accounts_mailbox_messages", args=[mailbox.pk]) in content
    assert 'value="1 GB"' in content


def test_a_user_with_many_mailboxes_takes_no_more_queries(
    browser: Client, mailbox: Mailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    def open_all() -> None:
        for owned in Mailbox.objects.filter(user=mailbox.user_id).exclude(maildrop__lock_worker__isnull=False):
            open_maildrops([OpenRequest(owned.pk, Worker.objects.create(arbiter=uuid4(), host="elsewhere", pid=1).pk)])

    open_all()
    url = page("change", mailbox.user)
    with CaptureQueriesContext(connection) as before:
        assert text_of(browser.get(url).content).count("in use") == 1
    for number in range(12):
        Mailbox.objects.create(user=mailbox.user, domain=mailbox.domain, local_part=f"more{number}")
    open_all()
    with django_assert_num_queries(len(before)):
        assert text_of(browser.get(url).content).count("in use") == 13


def test_each_field_of_a_line_has_a_name_of_its_own(browser: Client, mailbox: Mailbox) -> None:
    shown = browser.get(page("change", mailbox.user)).content.decode()
    for name, label in {
        "mailboxes-0-quota_octets": f"Quota, {mailbox.address}",
        "mailboxes-0-is_active": f"Active, {mailbox.address}",
        "mailboxes-2-__prefix__-local_part": "Local part",
    }.items():
        (field,) = re.findall(rf'<input[^>]* name="{name}"[^>]*>', shown)
        assert f'aria-label="{label}"' in field


def test_a_mailbox_is_added_and_its_quota_changed_on_the_page_of_its_user(browser: Client, mailbox: Mailbox) -> None:
    url = page("change", mailbox.user)
    data = filled_in(browser, url, "user_form")
    assert (data["mailboxes-TOTAL_FORMS"], data["mailboxes-2-TOTAL_FORMS"]) == ("1", "0")
    new = {"domain": str(mailbox.domain_id), "local_part": "Office", "quota_octets": "", "user": str(mailbox.user_id)}
    data |= {"mailboxes-0-quota_octets": "5 MB", "mailboxes-2-TOTAL_FORMS": "1"}
    data |= {f"mailboxes-2-0-{name}": value for name, value in new.items()}
    response = browser.post(url, data)
    assert response.status_code == 302, response.context["errors"]
    found = mailbox.user.mailboxes.order_by("pk").values_list("address", "quota_octets", "is_active")
    assert list(found) == [("anna@maison.mrs", 5 * 2**20, True), ("office@maison.mrs", 0, True)]
    again = browser.post(url, data)
    assert again.status_code == 200
    assert mailbox.user.mailboxes.count() == 2


def test_no_line_of_a_users_page_moves_a_mailbox_of_another(browser: Client, mailbox: Mailbox) -> None:
    other = make_mailbox("bert")
    url = page("change", mailbox.user)
    data = filled_in(browser, url, "user_form") | {"mailboxes-0-id": str(other.pk), "mailboxes-0-quota_octets": "1"}
    browser.post(url, data)
    other.refresh_from_db()
    assert (other.user.username, other.quota_octets) == ("bert", 0)


@pytest.mark.parametrize(
    ("permissions", "owned", "new"),
    [
        ([], False, False),
        (["accounts.view_mailbox"], True, False),
        (["accounts.add_mailbox"], False, True),
        (["accounts.view_mailbox", "accounts.change_mailbox"], True, False),
    ],
)
def test_mailboxes_on_the_page_of_a_user_are_for_whom_may_see_mailboxes(
    mailbox: Mailbox, permissions: list[str], *, owned: bool, new: bool
) -> None:
    helper = browser_of(staff(*HELPDESK, *permissions))
    content = helper.get(page("change", mailbox.user)).content
    assert (b"anna@maison.mrs" in content) is owned
    assert (b"Further mailboxes" in content) is new


def test_saving_the_page_as_it_is_changes_nothing(browser: Client, mailbox: Mailbox) -> None:
    User.objects.filter(pk=mailbox.user_id).update(first_name="Anna", email="anna@example.org")
    before = User.objects.values().get(pk=mailbox.user_id), Mailbox.objects.values().get(pk=mailbox.pk)
    assert (
        browser.post(
            page("change", mailbox.user), filled_in(browser, page("change", mailbox.user), "user_form")
        ).status_code
        == 302
    )
    assert (User.objects.values().get(pk=mailbox.user_id), Mailbox.objects.values().get(pk=mailbox.pk)) == before


def test_the_page_says_whether_a_password_is_set(browser: Client, mailbox: Mailbox) -> None:
    assert "none: nobody logs in Set another one" in text_of(browser.get(page("change", mailbox.user)).content)
    mailbox.user.set_password(SECRET)
    mailbox.user.save()
    assert "Password set Set another one" in text_of(browser.get(page("change", mailbox.user)).content)


def test_no_hash_of_a_password_is_on_a_page(browser: Client, mailbox: Mailbox) -> None:
    mailbox.user.set_password(SECRET)
    mailbox.user.save()
    content = browser.get(page("change", mailbox.user)).content.decode()
    assert "argon2$" not in content
    for part in mailbox.user.password.split("$")[-2:]:
        assert part not in content


# --- Passwords ----------------------------------------------------------------------------------------------


def test_a_new_password_is_set_logged_and_told_to_no_log(
    browser: Client, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = browser.post(
            page("password", mailbox.user), {"usable_password": "true", "password1": SECRET, "password2": SECRET}
        )
    assert response.status_code == 302
    mailbox.user.refresh_from_db()
    assert mailbox.user.check_password(SECRET)
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.get_change_message()) == ("anna", "Changed password.")
    assert SECRET not in caplog.text
    assert SECRET not in entry.change_message


def test_the_button_on_the_page_of_a_user_leads_to_its_password(browser: Client, mailbox: Mailbox) -> None:
    assert "set-password" in browser.get(page("change", mailbox.user)).content.decode()
    response = browser.get(f"{LIST}{mailbox.user_id}/set-password/")
    assert (response.status_code, response["Location"]) == (302, page("password", mailbox.user))


def test_a_password_to_say_at_the_phone_is_offered_and_is_another_each_time(browser: Client, mailbox: Mailbox) -> None:
    made = set()
    for url in (page("password", mailbox.user), page("password", mailbox.user), f"{LIST}add/"):
        (offered,) = re.findall(r'data-password="([^"]*)"', browser.get(url).content.decode())
        assert re.fullmatch(r"([b-z][aeiou]){2}-([b-z][aeiou]){2}-([b-z][aeiou]){2}-[2-9]{3}", offered)
        made.add(offered)
    assert len(made) == 3
    response = browser.post(
        page("password", mailbox.user), {"usable_password": "true", "password1": offered, "password2": offered}
    )
    assert response.status_code == 302
    mailbox.user.refresh_from_db()
    assert mailbox.user.check_password(offered)


def test_a_password_that_is_switched_off_ends_what_it_has_opened(browser: Client, mailbox: Mailbox) -> None:
    mailbox.user.set_password(SECRET)
    mailbox.user.save()
    guest = Guest(mailbox.user_id, (mailbox.pk,), Protocol.POP3, password_mark=mailbox.user.password_mark)
    url = page("password", mailbox.user)
    assert browser.post(url, {"usable_password": "false", "unset-password": "1"}).status_code == 302
    user = User.objects.get(pk=mailbox.user_id)
    assert (user.has_usable_password(), user.scram) == (False, "")
    assert find_unwelcome([guest]) == {guest}


def test_two_passwords_that_differ_change_nothing(browser: Client, mailbox: Mailbox) -> None:
    response = browser.post(
        page("password", mailbox.user), {"usable_password": "true", "password1": SECRET, "password2": SECRET + "x"}
    )
    assert response.status_code == 200
    mailbox.user.refresh_from_db()
    assert not mailbox.user.check_password(SECRET)


# --- Who may change whom ------------------------------------------------------------------------------------


def test_a_helper_looks_after_users_and_makes_nobody_staff(mailbox: Mailbox) -> None:
    helper = browser_of(staff(*HELPDESK))
    data = {
        **filled_in(helper, page("change", mailbox.user), "user_form"),
        "first_name": "Ann",
        "is_staff": "on",
        "is_superuser": "on",
        "user_permissions": "1",
    }
    assert helper.post(page("change", mailbox.user), data).status_code == 302
    user = User.objects.get(username="anna")
    assert (user.first_name, user.is_staff, user.is_superuser, user.user_permissions.count()) == (
        "Ann",
        False,
        False,
        0,
    )
    add(helper, "bert", is_staff="on", is_superuser="on")
    assert not User.objects.get(username="bert").is_staff
    assert "user_permissions" not in helper.get(page("change", mailbox.user)).content.decode()


def test_a_superuser_gives_rights_by_ticking_them(browser: Client, mailbox: Mailbox) -> None:
    group = Group.objects.create(name="Help desk")
    right = Permission.objects.get(codename="read_mail")
    data = filled_in(browser, page("change", mailbox.user), "user_form")
    data |= {"is_staff": "on", "groups": str(group.pk), "user_permissions": str(right.pk)}
    assert browser.post(page("change", mailbox.user), data).status_code == 302
    user = User.objects.get(username="anna")
    assert (user.is_staff, list(user.groups.all()), list(user.user_permissions.all())) == (True, [group], [right])
    data = filled_in(browser, page("change", mailbox.user), "user_form")
    assert browser.post(page("change", mailbox.user), data).status_code == 302
    assert list(User.objects.get(username="anna").user_permissions.all()) == [right]


@pytest.mark.parametrize("other", ["superuser", "staff"])
def test_a_helper_takes_over_nobody_who_may_do_more(domain: Domain, other: str) -> None:
    target = superuser("chief") if other == "superuser" else staff(name="chief")
    target.set_password(SECRET)
    target.save()
    helper = browser_of(staff(*HELPDESK, *WITH_MAILBOXES))
    before = User.objects.values().get(pk=target.pk)
    assert helper.get(page("change", target)).status_code == 200
    assert helper.post(page("change", target), {"username": "mine"}).status_code == 403
    new = {"usable_password": "true", "password1": "another one 5", "password2": "another one 5"}
    assert helper.get(page("password", target)).status_code == 403
    assert helper.post(page("password", target), new).status_code == 403
    assert helper.post(page("delete", target), {"post": "yes"}).status_code == 403
    for action in ("suspend", "delete_selected"):
        helper.post(LIST, {"action": action, "_selected_action": [target.pk], "post": "yes"})
    assert User.objects.values().get(pk=target.pk) == before


def test_a_helper_does_not_raise_their_own_rights(domain: Domain) -> None:
    helper = staff(*HELPDESK)
    assert (
        browser_of(helper).post(page("change", helper), {"is_superuser": "on", "username": "helpdesk"}).status_code
        == 403
    )


# --- Bulk actions and deletion ------------------------------------------------------------------------------


def act(browser: Client, action: str, *users: User, **more: str) -> str:
    data = {"action": action, "_selected_action": [user.pk for user in users], **more}
    return text_of(browser.post(LIST, data, follow=True).content)


def test_chosen_users_are_suspended_and_activated_but_never_oneself(admin: User, browser: Client) -> None:
    users = [make_mailbox(name).user for name in ("bert", "carl")]
    assert "2 users suspended." in act(browser, "suspend", *users, admin)
    assert set(User.objects.filter(is_active=False)) == set(users)
    assert "0 users suspended." in act(browser, "suspend", *users)
    assert "1 user activated." in act(browser, "activate", users[0])
    assert LogEntry.objects.count() == 3


def test_a_user_is_deleted_with_all_mail_after_saying_how_much(browser: Client) -> None:
    user = make_mailbox("bert", b"x", b"y").user
    kept = make_mailbox("carl", b"z")
    question = browser.get(page("delete", user)).content.decode()
    assert "Mailbox bert@maison.mrs: 2 messages" in question
    assert browser.post(page("delete", user), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=user.pk).exists()
    for model in (Maildrop, Message, Content):
        assert set(model.objects.values_list("mailbox_id", flat=True)) == {kept.pk}


def test_deleting_mail_takes_the_permission_to(mailbox: Mailbox) -> None:
    helper = browser_of(staff(*HELPDESK))
    assert helper.post(page("delete", mailbox.user), {"post": "yes"}).status_code == 403
    act(helper, "delete_selected", mailbox.user, post="yes")
    assert User.objects.filter(username="anna").exists()
    able = browser_of(staff(*HELPDESK, *WITH_MAILBOXES, name="able"))
    act(able, "delete_selected", mailbox.user, post="yes")
    assert not User.objects.filter(username="anna").exists()


def test_whoever_has_done_something_here_stays_in_the_history(browser: Client, mailbox: Mailbox) -> None:
    """Django deletes what stands there with the user who did it; looks into other people's mail are among that."""
    former = staff(name="former")
    LogEntry.objects.create(user=former, action_flag=2, object_repr="anna@maison.mrs", change_message="Read message 1")
    User.objects.filter(pk=former.pk).update(is_staff=False)
    able = browser_of(staff(*HELPDESK, *WITH_MAILBOXES, name="able"))
    for one in (browser, able):
        assert "former has lines in the history" in text_of(one.get(page("delete", former)).content)
        one.post(page("delete", former), {"post": "yes"})
        act(one, "delete_selected", former, mailbox.user, post="yes")
    assert LogEntry.objects.filter(user=former).exists()
    assert "1 user suspended." in act(browser, "suspend", former)


def test_nobody_deletes_themselves(admin: User, browser: Client) -> None:
    assert "your own account" in text_of(browser.get(page("delete", admin)).content)
    browser.post(page("delete", admin), {"post": "yes"})
    act(browser, "delete_selected", admin, post="yes")
    assert User.objects.filter(pk=admin.pk).exists()


def test_the_page_switches_the_combined_maildrop(browser: Client, mailbox: Mailbox) -> None:
    url = page("change", mailbox.user)
    assert "opens all active mailboxes of the user as one" in text_of(browser.get(url).content)
    assert not mailbox.user.combined
    assert browser.post(url, filled_in(browser, url, "user_form") | {"combined": "on"}).status_code == 302
    mailbox.user.refresh_from_db()
    assert mailbox.user.combined
