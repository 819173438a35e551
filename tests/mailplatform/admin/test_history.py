"""The history: who did what to whom, to be read and searched, with each look into somebody's mail standing out."""

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import Mailbox, User
from tests.mailplatform.admin.people import browser_of, make_mailbox, staff, text_of
from tests.mailstore.mailboxes import fill

LIST = "/admin/admin/logentry/"


def wrote(user: User, mailbox: Mailbox, flag: int, text: str, name: str = "") -> LogEntry:
    kind = ContentType.objects.get_for_model(Mailbox)
    columns = {"user": user, "content_type": kind, "object_id": str(mailbox.pk), "action_flag": flag}
    return LogEntry.objects.create(object_repr=name or mailbox.address, change_message=text, **columns)


def test_what_was_done_is_listed_newest_first(admin: User, browser: Client, mailbox: Mailbox) -> None:
    wrote(admin, mailbox, ADDITION, '[{"added": {}}]')
    wrote(admin, mailbox, CHANGE, '[{"changed": {"fields": ["active"]}}]')
    fill(mailbox.pk, b"Subject: x\r\n\r\n")
    browser.get(f"/admin/accounts/mailbox/{mailbox.pk}/messages/1/")
    wrote(admin, mailbox, DELETION, "", name="bert@maison.mrs")
    shown = text_of(browser.get(LIST).content)
    order = [
        "root deleted bert@maison.mrs",
        "root read anna@maison.mrs Read message 1",
        "root changed anna@maison.mrs Changed active.",
        "root added anna@maison.mrs Added.",
    ]
    places = [shown.find(line) for line in order]
    assert -1 not in places, shown
    assert places == sorted(places)


def test_an_entry_leads_to_what_it_is_about_unless_it_is_gone(admin: User, browser: Client, mailbox: Mailbox) -> None:
    wrote(admin, mailbox, CHANGE, "Suspended.")
    wrote(admin, mailbox, DELETION, "", name="<b>bert</b>")
    page = browser.get(LIST).content.decode()
    assert f'<a class="mp-link" href="/admin/accounts/mailbox/{mailbox.pk}/change/">anna@maison.mrs</a>' in page
    assert "&lt;b&gt;bert&lt;/b&gt;" in page
    assert "<b>bert" not in page


def test_it_is_searched_by_who_and_what(admin: User, browser: Client, mailbox: Mailbox) -> None:
    other = staff(name="helper")
    wrote(admin, mailbox, CHANGE, "Suspended.")
    wrote(other, make_mailbox("bert"), CHANGE, "Activated.")

    def found(words: str) -> list[str]:
        return [entry.change_message for entry in browser.get(LIST, {"q": words}).context["cl"].result_list]

    assert found("helper") == found("bert") == found("activated") == ["Activated."]
    assert found("anna") == ["Suspended."]
    assert found("zebra") == []


def test_it_is_for_whom_may_see_it(mailbox: Mailbox) -> None:
    assert browser_of(staff("accounts.view_mailbox", "accounts.read_mail")).get(LIST).status_code == 403
    assert browser_of(staff("admin.view_logentry", name="auditor")).get(LIST).status_code == 200


def test_a_full_page_takes_as_many_queries_as_a_line(
    admin: User, browser: Client, mailbox: Mailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    wrote(admin, mailbox, CHANGE, "Suspended.")
    browser.get(LIST)
    queries = 4  # the session, its user, the number of entries, the page
    with django_assert_num_queries(queries):
        browser.get(LIST)
    for number in range(10):
        wrote(staff(name=f"helper{number}"), mailbox, CHANGE, "Activated.")
    with django_assert_num_queries(queries):
        browser.get(LIST)


def test_the_history_of_a_mailbox_is_its_own(admin: User, browser: Client, mailbox: Mailbox) -> None:
    other = make_mailbox("bert")
    wrote(admin, mailbox, CHANGE, "Suspended.")
    wrote(admin, other, CHANGE, "Activated.")
    shown = text_of(browser.get(f"/admin/accounts/mailbox/{mailbox.pk}/history/").content)
    assert "Suspended." in shown
    assert "Activated." not in shown
