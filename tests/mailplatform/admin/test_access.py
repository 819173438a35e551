"""Every page of the admin, as the URL table has it: who may see it, and that looking at it changes nothing."""

import contextlib
import re
from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from accounts.lookup import FoundMailbox
from accounts.models import Domain, Mailbox, User
from accounts.services import create_alias
from tests.collecting.sources import make_source
from tests.mailplatform.admin.people import browser_of, make_login, make_mailbox, make_session, staff
from tests.mailstore.mailboxes import fill
from tests.mailstore.pop3_server import ScriptedPop3
from tests.smtpservice.relay.relaying import queue

#: Pages for whoever is staff, or for nobody in particular.
OPEN_TO_STAFF = {
    "index",
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "jsi18n",
    "autocomplete",
    "search",
}
#: Not pages of ours: they lead elsewhere.
LEADING_ELSEWHERE = {"view_on_site", "app_list"}
#: The log is kept by the admin itself.
FOR_NOBODY = {
    f"{model}_{deed}"
    for model in ("admin_logentry", "accounts_loginrecord", "pop3service_sessionrecord")
    for deed in ("add", "delete")
} | {"smtpservice_queuedrecipient_add"}
#: Buttons, which are not looked at.
BUTTONS = {"accounts_mailbox_forgive"}
#: Opening somebody's mail is written down, so looking at it changes the log.
LOGGED = {"accounts_mailbox_message", "accounts_mailbox_message_download"}


def page_names() -> Iterator[str]:
    for pattern in admin.site.get_urls():
        for deeper in getattr(pattern, "url_patterns", [pattern]):
            if deeper.name and deeper.name not in LEADING_ELSEWHERE:
                yield deeper.name


NAMES = sorted(set(page_names()))
PROTECTED = [name for name in NAMES if name not in OPEN_TO_STAFF]


@pytest.fixture
def addresses(domain: Domain) -> dict[str, str]:
    """The URL of each page, for things that exist."""
    mailbox = make_mailbox("anna", b"Subject: secret\r\n\r\nthe words\r\n")
    group = Group.objects.create(name="helpers")
    entry = LogEntry.objects.create(user=mailbox.user, action_flag=2, object_repr="x")
    keys = {
        "domain": domain.pk,
        "alias": create_alias(domain=domain, local_part="info", targets="anna@maison.mrs").pk,
        "mailbox": mailbox.pk,
        "user": mailbox.user_id,
        "group": group.pk,
        "logentry": entry.pk,
        "loginrecord": make_login(mailbox).pk,
        "sessionrecord": make_session(mailbox).pk,
        "source": make_source(FoundMailbox(mailbox.pk, mailbox.address, 0, 0, True), ScriptedPop3(port=1)).pk,
        "queuedrecipient": queue("a@example.org").recipients.get().pk,
    }

    def address(name: str) -> str:
        (key,) = [key for model, key in keys.items() if f"_{model}" in name] or [0]
        for arguments in ([], [key], [key, 1]):
            with contextlib.suppress(NoReverseMatch):
                return reverse(f"admin:{name}", args=arguments)
        raise AssertionError(name)

    return {name: address(name) for name in NAMES}


def test_the_table_has_the_pages_that_matter() -> None:
    assert {
        "accounts_domain_changelist",
        "accounts_mailbox_message",
        "accounts_mailbox_shelf",
        "accounts_user_import_accounts",
        "accounts_user_export_accounts",
        "auth_user_password_change",
        "admin_logentry_changelist",
    } <= set(PROTECTED)


def test_who_has_not_logged_in_is_asked_to(client: Client, addresses: dict[str, str]) -> None:
    for name, url in addresses.items():
        if name not in ("login", "logout", "jsi18n"):
            for response in (client.get(url), client.post(url)):
                assert response.status_code == 302, name
                assert response["Location"].startswith("/admin/login/"), name


def test_a_mailbox_owner_is_no_member_of_staff(addresses: dict[str, str]) -> None:
    owner = browser_of(User.objects.get(username="anna"))
    for name in PROTECTED:
        assert owner.get(addresses[name]).status_code == 302, name


def test_staff_without_a_permission_see_nothing_and_change_nothing(addresses: dict[str, str]) -> None:
    helper = browser_of(staff())
    with CaptureQueriesContext(connection) as queries:
        for name in PROTECTED:
            answers = helper.get(addresses[name]), helper.post(addresses[name], {"uid": "1"})
            assert answers[0].status_code == (405 if name in BUTTONS else 403), name
            assert answers[1].status_code in (403, 405), name
            assert not any(b"secret" in answer.content for answer in answers)
    assert written(queries) == []
    page = helper.get(reverse("admin:index"))
    assert page.status_code == 200
    assert b"anna" not in page.content


def test_who_may_only_look_sees_every_list_and_every_row(addresses: dict[str, str]) -> None:
    for permission in Permission.objects.filter(codename__startswith="view_").select_related("content_type"):
        app, model = permission.content_type.natural_key()
        if f"{app}_{model}_change" not in addresses:
            continue
        looking = browser_of(staff(f"{app}.{permission.codename}", name=f"looks-at-{model}"))
        for page in ("changelist", "change"):
            assert looking.get(addresses[f"{app}_{model}_{page}"]).status_code == 200, (model, page)


def test_looking_changes_nothing(browser: Client, addresses: dict[str, str]) -> None:
    for name, url in addresses.items():
        if name == "logout":
            continue
        with CaptureQueriesContext(connection) as queries:
            response = browser.get(
                url, {"term": "a", "app_label": "accounts", "model_name": "mailbox", "field_name": "user"}
            )
            b"".join(response.streaming_content) if response.streaming else response.content
        wanted = (403,) if name in FOR_NOBODY else (405,) if name in BUTTONS else (200, 302)
        assert response.status_code in wanted, name
        changes = written(queries)
        assert len(changes) == (1 if name in LOGGED else 0), (name, changes)


def test_nothing_is_changed_without_a_token_of_the_page(admin: User, addresses: dict[str, str]) -> None:
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(admin)
    for name, url in addresses.items():
        assert forger.post(url, {"uid": "1", "post": "yes"}).status_code in (403, 405), name
    assert Mailbox.objects.filter(user__username="anna").exists()


def written(queries: CaptureQueriesContext) -> list[str]:
    """The statements that change something; the session's own row aside."""
    writes = [query["sql"] for query in queries if re.match(r"(?i)(insert|update|delete|alter|create)", query["sql"])]
    return [sql for sql in writes if "django_session" not in sql]


def test_the_log_of_the_admin_is_changed_by_nobody(browser: Client, addresses: dict[str, str]) -> None:
    for kind in ("add", "delete"):
        url = addresses[f"admin_logentry_{kind}"]
        assert browser.get(url).status_code == browser.post(url, {"post": "yes"}).status_code == 403
    assert browser.post(addresses["admin_logentry_change"], {"object_repr": "y"}).status_code == 403
    assert LogEntry.objects.get().object_repr == "x"


def test_pages_load_nothing_from_elsewhere(browser: Client, addresses: dict[str, str]) -> None:
    for name in PROTECTED:
        response = browser.get(addresses[name])
        if response.streaming or response.status_code != 200:
            continue
        loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="([^"]*)"', response.content.decode())
        assert [url for url in loaded if not url.startswith(("/", "data:"))] == [], name


def test_a_mailbox_that_is_not_there_is_not_found(browser: Client) -> None:
    fill(make_mailbox("bert").pk, b"x")
    nowhere = 2**62
    for name, arguments in {
        "accounts_mailbox_messages": [nowhere],
        "accounts_mailbox_shelf": [nowhere],
        "accounts_mailbox_message": [nowhere, 1],
        "accounts_mailbox_message_download": [nowhere, 1],
    }.items():
        assert browser.get(reverse(f"admin:{name}", args=arguments)).status_code == 404, name
    assert browser.get(f"/admin/accounts/mailbox/{10**30}/messages/").status_code == 404
    assert (
        browser.get(
            f"/admin/accounts/mailbox/{Mailbox.objects.get(user__username='bert').pk}/messages/{10**30}/"
        ).status_code
        == 404
    )
