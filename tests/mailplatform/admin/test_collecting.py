"""The admin's pages of collected accounts: added, changed, seen to fail, and no password shown."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from accounts.lookup import FoundMailbox
from accounts.models import Mailbox
from collecting.models import SeenMessage, Source
from collecting.passwords import decrypt
from tests.collecting.sources import make_source
from tests.mailplatform.admin.people import browser_of, filled_in, make_mailbox, staff, text_of
from tests.mailstore.pop3_server import ScriptedPop3

LIST = "/admin/collecting/source/"
SECRET = "two  words "


def add(browser: Client, mailbox: Mailbox, **more: str) -> dict[str, list[str]]:
    """Fill in the form; answers the errors that are shown."""
    usual = {"host": "Pop.Example.org", "port": "995", "tls": "tls", "verify_certificate": "on", "login": "anna"}
    rest = {"interval_minutes": "15", "keep": "on", "is_active": "on", "password": SECRET, "mailbox": mailbox.pk}
    response = browser.post(f"{LIST}add/", usual | rest | more)
    return {} if response.status_code == 302 else dict(response.context["adminform"].form.errors)


@pytest.fixture
def source(mailbox: Mailbox) -> Source:
    found = FoundMailbox(mailbox.pk, mailbox.address, 0, 0, True)
    return make_source(found, ScriptedPop3(port=110), host="pop.example.org")


def test_an_account_is_added_changed_and_deleted(browser: Client, mailbox: Mailbox) -> None:
    assert add(browser, mailbox) == {}
    source = Source.objects.get()
    assert (source.host, source.mailbox, decrypt(source)) == ("pop.example.org", mailbox, SECRET)
    url = f"{LIST}{source.pk}/change/"
    form = filled_in(browser, url, "source_form")
    assert form.get("password", "") == ""
    assert browser.post(url, form | {"interval_minutes": "5", "mailbox": str(make_mailbox("b").pk)}).status_code == 302
    source.refresh_from_db()
    assert (source.interval_minutes, source.mailbox, decrypt(source)) == (5, mailbox, SECRET)
    SeenMessage.objects.create(source=source, digest="x", stored=True)
    page = browser.get(f"{LIST}{source.pk}/delete/")
    assert "anna at pop.example.org, for anna@maison.mrs" in text_of(page.content)
    assert browser.post(f"{LIST}{source.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Source.objects.exists()
    assert LogEntry.objects.count() == 3


def test_what_will_not_do_is_said_beside_its_field(browser: Client, mailbox: Mailbox) -> None:
    assert "needed" in str(add(browser, mailbox, password="")["password"])
    assert add(browser, mailbox, host="a b")["host"]
    assert add(browser, mailbox, port="0")["port"]
    assert add(browser, mailbox, interval_minutes="0")["interval_minutes"]
    assert "itself" in str(add(browser, mailbox, host="localhost")["login"])
    assert add(browser, mailbox) == {}
    assert "already" in str(add(browser, mailbox, host="pop.example.org."))
    assert Source.objects.count() == 1


def test_a_password_is_asked_for_again_where_it_would_go_elsewhere_and_shown_nowhere(
    browser: Client, source: Source
) -> None:
    url = f"{LIST}{source.pk}/change/"
    form = filled_in(browser, url, "source_form")
    for change in ({"host": "evil.example"}, {"port": "111"}, {"tls": "stls"}, {"login": "other"}):
        answer = browser.post(url, form | change)
        assert "again" in str(answer.context["adminform"].form.errors["password"]), change
    assert browser.post(url, form | {"host": "new.example", "password": "new"}).status_code == 302
    source.refresh_from_db()
    assert decrypt(source) == "new"
    for page in (url, LIST):
        assert b"two words" not in browser.get(page).content
        assert source.secret.encode() not in browser.get(page).content


def test_what_fails_is_found_and_says_why(browser: Client, mailbox: Mailbox, source: Source) -> None:
    def listed(state: str) -> bool:
        return source in browser.get(LIST, {"state": state}).context["cl"].result_list

    assert "new" in text_of(browser.get(LIST).content)
    Source.objects.update(last_error="the login: the server said “no”", failures=3, last_look_at=timezone.now())
    page = text_of(browser.get(LIST).content)
    assert "the server said “no”" in page
    assert [listed(state) for state in ("failing", "working", "off")] == [True, False, False]
    of_mailbox = text_of(browser.get(f"/admin/accounts/mailbox/{mailbox.pk}/change/").content)
    assert "Collecting from charles at pop.example.org: the login: the server said “no” Open the account" in of_mailbox
    Source.objects.update(last_error="left there, larger than 9 octets: 1", failures=0)
    assert "some mail stays there" in text_of(browser.get(LIST).content)
    assert [listed(state) for state in ("failing", "left", "working", "off")] == [False, True, False, False]
    Source.objects.update(last_error="", last_success_at=timezone.now(), collected=2, collected_octets=100)
    assert "2 messages (100\xa0bytes)".replace("\xa0", " ") in text_of(browser.get(LIST).content).replace("\xa0", " ")
    assert [listed(state) for state in ("failing", "left", "working", "off")] == [False, False, True, False]
    of_mailbox = text_of(browser.get(f"/admin/accounts/mailbox/{mailbox.pk}/change/").content)
    assert "It collects mail from charles at pop.example.org." in of_mailbox


def test_what_a_dead_worker_was_at_is_not_being_collected(browser: Client, source: Source) -> None:
    now = timezone.now()
    for until, shown in ((now + timedelta(minutes=1), True), (now, False)):
        Source.objects.update(claimed_by=uuid4(), claimed_until=until)
        assert ("being collected" in text_of(browser.get(LIST).content)) is shown


def test_now_off_and_on(browser: Client, source: Source) -> None:
    def act(action: str) -> Source:
        browser.post(LIST, {"action": action, "_selected_action": [str(source.pk)]})
        source.refresh_from_db()
        return source

    Source.objects.update(next_look_at=timezone.now().replace(year=2999))
    assert act("look_now").next_look_at <= timezone.now()
    assert not act("deactivate").is_active
    assert not act("deactivate").is_active  # which changes nothing, and is no line in the log
    assert source in browser.get(LIST, {"state": "off"}).context["cl"].result_list
    assert act("activate").is_active
    assert LogEntry.objects.count() == 3


def test_a_mailbox_leads_to_a_new_account_of_it(browser: Client, mailbox: Mailbox) -> None:
    page = f"/admin/accounts/mailbox/{mailbox.pk}/collect-from"
    assert f'href="{page}' in browser.get(f"/admin/accounts/mailbox/{mailbox.pk}/change/").content.decode()
    form = browser.get(page, follow=True)
    assert form.status_code == 200
    assert f'<option value="{mailbox.pk}" selected>' in form.content.decode()
    helper = browser_of(staff("accounts.view_mailbox", "accounts.change_mailbox"))
    assert "collect-from" not in helper.get(f"/admin/accounts/mailbox/{mailbox.pk}/change/").content.decode()


def test_who_may_only_see_changes_nothing(source: Source) -> None:
    helper = browser_of(staff("collecting.view_source"))
    page = helper.get(f"{LIST}{source.pk}/change/")
    assert page.status_code == 200
    assert b'name="password"' not in page.content
    assert helper.post(LIST, {"action": "look_now", "_selected_action": [str(source.pk)]}).status_code in (200, 302)
    assert not LogEntry.objects.exists()
