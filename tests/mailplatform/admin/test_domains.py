"""The admin's pages of domains: one of them is the default, a name never changes, and one with mailboxes stays."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import Domain, Mailbox
from accounts.services import create_alias, create_domain
from tests.mailplatform.admin.people import browser_of, make_many, staff, superuser, text_of

LIST = "/admin/accounts/domain/"
MAY = ("accounts.view_domain", "accounts.add_domain", "accounts.change_domain", "accounts.delete_domain")


def act(browser: Client, action: str, *domains: Domain, **more: str) -> str:
    data = {"action": action, "_selected_action": [domain.pk for domain in domains], **more}
    return text_of(browser.post(LIST, data, follow=True).content)


def default() -> str:
    return Domain.objects.get(is_default=True).name


def test_the_first_domain_is_the_default_whatever_is_ticked(db: None) -> None:
    browser = browser_of(superuser())
    assert "disabled" in str(browser.get(f"{LIST}add/").context["adminform"].form["make_default"])
    assert browser.post(f"{LIST}add/", {"name": "Jules.Maison.MRS"}).status_code == 302
    assert default() == "jules.maison.mrs"
    assert browser.post(f"{LIST}add/", {"name": "alfred.maison.mrs"}).status_code == 302
    assert default() == "jules.maison.mrs"
    assert browser.post(f"{LIST}add/", {"name": "third.org", "make_default": "on"}).status_code == 302
    assert default() == "third.org"
    assert LogEntry.objects.count() == 3


@pytest.mark.parametrize(
    "name", ["", "a b", "x@y", "-a.org", "MAISON.MRS", "<script>alert(1)</script>", "x" * 256, "a..b", "é .fr"]
)
def test_a_name_that_is_none_or_taken_is_refused(browser: Client, name: str) -> None:
    response = browser.post(f"{LIST}add/", {"name": name})
    assert response.status_code == 200
    assert response.context["adminform"].form.errors["name"]
    assert b"<script>alert(1)" not in response.content
    assert Domain.objects.count() == 1


def test_a_name_never_changes_and_another_becomes_the_default(browser: Client, domain: Domain) -> None:
    second = create_domain(name="second.org")
    url = f"{LIST}{second.pk}/change/"
    assert "name" not in browser.get(url).context["adminform"].form.fields
    assert browser.post(url, {"name": "other.org", "make_default": "on"}).status_code == 302
    assert (default(), Domain.objects.count()) == ("second.org", 2)
    # The default itself cannot be unticked: another takes over.
    browser.post(url, {})
    assert default() == "second.org"


def test_the_list_counts_mailboxes_and_leads_to_them(
    browser: Client, domain: Domain, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    second = create_domain(name="second.org")
    make_many(3)
    page = browser.get(LIST)
    assert "maison.mrs 4 default" in text_of(page.content)
    assert "second.org 0" in text_of(page.content)
    assert f"/admin/accounts/mailbox/?domain__id__exact={second.pk}" in page.content.decode()
    assert [row.name for row in browser.get(LIST, {"o": "-2"}).context["cl"].result_list] == [
        "maison.mrs",
        "second.org",
    ]
    for number in range(20):
        create_domain(name=f"d{number}.org")
    with django_assert_num_queries(4):  # the session, its user, the number of domains, the page
        browser.get(LIST)


def test_one_chosen_domain_becomes_the_default(browser: Client, domain: Domain) -> None:
    second = create_domain(name="second.org")
    assert "Select the one domain" in act(browser, "make_default", domain, second)
    assert default() == "maison.mrs"
    assert "second.org is the default domain now." in act(browser, "make_default", second)
    assert default() == "second.org"
    assert LogEntry.objects.get().get_change_message() == "Made the default domain."


def test_a_domain_with_mailboxes_stays(browser: Client, domain: Domain) -> None:
    url = f"{LIST}{domain.pk}/delete/"
    create_alias(domain=domain, local_part="info", targets="anna@maison.mrs")
    shown = browser.get(url).content
    assert "maison.mrs has 1 alias maison.mrs has 1 mailbox" in text_of(shown)
    for model in ("alias", "mailbox"):
        assert f'href="/admin/accounts/{model}/?domain__id__exact={domain.pk}"'.encode() in shown
    browser.post(url, {"post": "yes"})
    act(browser, "delete_selected", domain, post="yes")
    assert Domain.objects.exists()
    assert Mailbox.objects.exists()


def test_an_empty_domain_is_deleted(browser: Client, domain: Domain) -> None:
    second = create_domain(name="second.org")
    assert "second.org" in text_of(browser.get(f"{LIST}{second.pk}/delete/").content)
    assert browser.post(f"{LIST}{second.pk}/delete/", {"post": "yes"}).status_code == 302
    assert Domain.objects.get() == domain


def test_the_default_goes_last(browser: Client, domain: Domain) -> None:
    Mailbox.objects.all().delete()
    second = create_domain(name="second.org")
    url = f"{LIST}{domain.pk}/delete/"
    assert "maison.mrs is the default domain; make another one the default first" in text_of(browser.get(url).content)
    browser.post(url, {"post": "yes"})
    assert default() == "maison.mrs"
    act(browser, "delete_selected", domain, second, post="yes")
    assert not Domain.objects.exists()


def test_each_deed_takes_its_permission(domain: Domain) -> None:
    second = create_domain(name="second.org")
    viewer = browser_of(staff("accounts.view_domain"))
    assert viewer.get(LIST).status_code == 200
    assert viewer.post(f"{LIST}add/", {"name": "third.org"}).status_code == 403
    assert viewer.post(f"{LIST}{second.pk}/change/", {"make_default": "on"}).status_code == 403
    act(viewer, "make_default", second)
    act(viewer, "delete_selected", second, post="yes")
    assert (default(), Domain.objects.count()) == ("maison.mrs", 2)
    able = browser_of(staff(*MAY, name="able"))
    act(able, "make_default", second)
    assert default() == "second.org"


def test_who_may_only_look_sees_which_is_the_default(domain: Domain) -> None:
    page = browser_of(staff("accounts.view_domain")).get(f"{LIST}{domain.pk}/change/")
    assert page.status_code == 200
    assert "maison.mrs Role default" in text_of(page.content)
