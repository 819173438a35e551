"""Groups of staff: a help desk is made of permissions, and gets just these."""

from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts.models import Mailbox
from tests.mailplatform.admin.people import browser_of, staff, text_of
from tests.mailstore.mailboxes import fill

LIST = "/admin/auth/group/"


def test_a_group_is_made_and_its_members_may_what_it_may(browser: Client, mailbox: Mailbox) -> None:
    permissions = Permission.objects.filter(
        codename__in=["view_mailbox", "change_mailbox"], content_type__app_label="accounts"
    )
    data = {"name": "Help desk", "permissions": [str(permission.pk) for permission in permissions]}
    assert browser.post(f"{LIST}add/", data).status_code == 302
    helper = staff()
    helper.groups.add(Group.objects.get(name="Help desk"))
    fill(mailbox.pk, b"Subject: x\r\n\r\nwords\r\n")
    seen = browser_of(helper)
    assert seen.get("/admin/accounts/mailbox/").status_code == 200
    assert seen.get(f"/admin/accounts/mailbox/{mailbox.pk}/messages/").status_code == 200
    assert seen.get(f"/admin/accounts/mailbox/{mailbox.pk}/messages/1/").status_code == 403
    assert seen.get("/admin/accounts/user/").status_code == 403
    assert "Help desk" in text_of(browser.get(LIST).content)


def test_rights_are_named_in_plain_words_and_none_is_without_a_page(browser: Client) -> None:
    shown = text_of(browser.get(f"{LIST}add/").content)
    for right in (
        "mailboxes: read the messages in them",
        "mailboxes: change",
        "users: see",
        "log entries: see",
        "sessions: end those",
    ):
        assert right in shown
    for useless in (
        "log entries: delete",
        "logins: add",
        "sessions: change",
        "sessions: delete",
        "content type",
        "maildrop",
        "worker",
        "throttle",
    ):
        assert useless not in shown


def test_groups_are_for_whom_may_change_them(mailbox: Mailbox) -> None:
    helper = browser_of(staff("accounts.view_user", "accounts.change_user", "auth.view_group"))
    assert helper.get(LIST).status_code == 200
    assert helper.post(f"{LIST}add/", {"name": "Mine"}).status_code == 403
    assert not Group.objects.exists()


def test_only_a_superuser_says_what_the_members_of_a_group_may(mailbox: Mailbox) -> None:
    """Whoever is a member could give themselves every right by it."""
    group = Group.objects.create(name="Help desk")
    helper = staff("auth.view_group", "auth.change_group", "auth.add_group", "auth.delete_group")
    helper.groups.add(group)
    seen = browser_of(helper)
    right = Permission.objects.get(codename="read_mail")
    data = {"name": "Help desk", "permissions": [str(right.pk)]}
    assert seen.get(f"{LIST}{group.pk}/change/").status_code == 200
    for page in (f"{group.pk}/change", "add", f"{group.pk}/delete"):
        assert seen.post(f"{LIST}{page}/", data | {"post": "yes"}).status_code == 403
    seen.post(LIST, {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"})
    assert list(Group.objects.get().permissions.all()) == []
