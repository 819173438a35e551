"""Lists offer to show all rows where they do not, and count nothing that nobody asked for."""

import pytest
from django.contrib import admin
from django.test import Client

from accounts.models import Domain, Mailbox, User
from accounts.services import create_account, create_alias, create_domain
from mailplatform.admin.lists import ListAdmin, spellings
from tests.mailplatform.admin.people import text_of


def test_every_list_of_ours_is_such_a_list() -> None:
    ours = [each for each in admin.site._registry.values() if type(each).__module__.startswith("mailplatform.")]
    assert len(ours) >= 5
    assert [each for each in ours if not isinstance(each, ListAdmin)] == []


@pytest.mark.parametrize("model", ["mailbox", "user"])
def test_all_rows_are_offered_where_some_are_left_out(browser: Client, mailbox: Mailbox, model: str) -> None:
    url = f"/admin/accounts/{model}/"
    assert "results (" not in text_of(browser.get(url).content)
    shown = text_of(browser.get(url, {"q": "anna"}).content)
    assert "1 result ( Show all )" in shown
    assert User.objects.count() == 2


@pytest.mark.parametrize("term", ["", "anna", "Anna  Martin", "anna@maison.mrs", "50", "a b c"])
def test_a_search_in_ascii_is_one_search(term: str) -> None:
    assert spellings(term) == [term]


def test_a_search_in_another_script_is_one_of_names_and_one_of_what_is_stored_too() -> None:
    assert spellings("München") == ["München", "münchen", "xn--mnchen-3ya"]
    assert spellings("ZOË@München.example") == ["ZOË@München.example", "zoë@xn--mnchen-3ya.example"]


@pytest.mark.parametrize(
    ("model", "term", "found"),
    [
        ("mailbox", "zoë@münchen.example", "zoë@xn--mnchen-3ya.example"),
        ("mailbox", "ZOË", "zoë@xn--mnchen-3ya.example"),
        ("mailbox", "zoe\u0308@MÜNCHEN.example", "zoë@xn--mnchen-3ya.example"),
        ("mailbox", "Müller", "zoë@xn--mnchen-3ya.example"),
        ("user", "zoë@münchen.example", "zoë"),
        ("user", "münchen", "zoë"),
        ("domain", "münchen", "xn--mnchen-3ya.example"),
        ("alias", "info@münchen.example", "info@xn--mnchen-3ya.example"),
    ],
)
def test_an_address_is_found_as_people_write_it(browser: Client, model: str, term: str, found: str) -> None:
    domain = create_domain(name="münchen.example")
    user = create_account(username="zoë", password="korrekt pferd 17", domains=[domain])
    User.objects.filter(pk=user.pk).update(last_name="Müller")
    create_alias(domain=domain, local_part="info", targets="zoë@münchen.example")
    page = browser.get(f"/admin/accounts/{model}/", {"q": term})
    assert page.context["cl"].result_count == 1
    assert found in text_of(page.content)
    assert browser.get(f"/admin/accounts/{model}/", {"q": "münster"}).context["cl"].result_count == 0


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("accounts/user", "password"),
        ("accounts/user", "scram"),
        ("accounts/user", "app_passwords__digest"),
        ("accounts/mailbox", "user__scram"),
        ("accounts/mailbox", "delegates__scram"),
        ("accounts/loginrecord", "mailbox__user__scram"),
        ("admin/logentry", "user__scram"),
        ("collecting/source", "secret"),
        ("auth/group", "user__scram"),
    ],
)
def test_no_list_tells_by_a_filter_what_no_page_shows(browser: Client, domain: Domain, model: str, field: str) -> None:
    """One sign after the other could be found out, of what a password is guessed by."""
    jules = create_account(username="jules", password="right horse 7")
    assert jules.scram
    for asked in (f"{field}__startswith", f"{field}__lt", field):
        assert browser.get(f"/admin/{model}/", {asked: jules.scram[:20]}).status_code == 400
