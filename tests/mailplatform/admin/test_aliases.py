"""The admin's pages of aliases: made, changed, refused where mail would go in a loop, and where it ends."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import Alias, Domain, Mailbox
from accounts.services import create_alias, create_domain
from tests.mailplatform.admin.people import browser_of, filled_in, make_mailbox, staff, superuser, text_of

LIST = "/admin/accounts/alias/"


def add(browser: Client, domain: Domain, local_part: str, *targets: str, **more: str) -> dict[str, list[str]]:
    """Fill in the form; answers the errors that are shown."""
    data = {"local_part": local_part, "domain": str(domain.pk), "targets": "\r\n".join(targets), "is_active": "on"}
    response = browser.post(f"{LIST}add/", data | more)
    return {} if response.status_code == 302 else dict(response.context["adminform"].form.errors)


def test_an_alias_is_made_changed_and_deleted(browser: Client, domain: Domain, mailbox: Mailbox) -> None:
    assert add(browser, domain, "Info", "anna@maison.mrs", "Bert@Elsewhere.ORG", note="front desk") == {}
    alias = Alias.objects.get()
    assert (alias.address, alias.targets) == ("info@maison.mrs", "anna@maison.mrs\nBert@elsewhere.org")
    assert not alias.may_send
    url = f"{LIST}{alias.pk}/change/"
    page = text_of(browser.get(url).content)
    assert "anna@maison.mrs Bert@elsewhere.org elsewhere" in page
    form = filled_in(browser, url, "alias_form")
    assert browser.post(url, form | {"targets": "bert@elsewhere.org", "may_send": "on"}).status_code == 302
    alias.refresh_from_db()
    assert (alias.targets, alias.may_send, alias.note) == ("bert@elsewhere.org", True, "front desk")
    assert browser.post(f"{LIST}{alias.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Alias.objects.exists()
    assert LogEntry.objects.count() == 3


def test_what_will_not_do_is_said_beside_its_field(browser: Client, domain: Domain, mailbox: Mailbox) -> None:
    create_alias(domain=domain, local_part="a", targets="b@maison.mrs")
    assert "loop" in str(add(browser, domain, "b", "a@maison.mrs")["targets"])
    assert "mailbox" in str(add(browser, domain, "anna", "x@elsewhere.org")["local_part"])
    assert "“nobody” is not an address" in str(add(browser, domain, "c", "nobody")["targets"])
    assert "letters" in str(add(browser, domain, "a b", "x@elsewhere.org")["local_part"])
    assert "stand for" in str(add(browser, domain, "c", "*@elsewhere.org")["targets"])
    assert add(browser, domain, "c", "")["targets"]
    assert add(browser, domain, "A", "x@elsewhere.org")  # it is there already
    assert Alias.objects.count() == 1


def test_the_page_says_where_mail_ends(browser: Client, domain: Domain, mailbox: Mailbox) -> None:
    create_alias(domain=domain, local_part="staff", targets="anna@maison.mrs\nx@elsewhere.org")
    alias = create_alias(domain=domain, local_part="*", targets="staff@maison.mrs\n*+x@elsewhere.org")
    Mailbox.objects.filter(pk=make_mailbox("bert").pk).update(is_active=False)
    page = browser.get(f"{LIST}{alias.pk}/change/").content
    assert "staff@maison.mrs → anna@maison.mrs , x@elsewhere.org" in text_of(page)
    assert "*+x@elsewhere.org whatever * stands for" in text_of(page)
    assert f"/admin/accounts/mailbox/{mailbox.pk}/change/".encode() in page
    alias = create_alias(domain=domain, local_part="dead", targets="bert@maison.mrs\ngone@villa.mrs", is_active=False)
    assert "mail is refused" in text_of(browser.get(f"{LIST}{alias.pk}/change/").content)
    Alias.objects.filter(pk=alias.pk).update(is_active=True)
    assert "bert@maison.mrs suspended gone@villa.mrs elsewhere" in text_of(
        browser.get(f"{LIST}{alias.pk}/change/").content
    )


def test_the_list_finds_by_address_and_by_target(
    browser: Client, domain: Domain, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    create_alias(domain=domain, local_part="info", targets="a@x.org\nb@x.org\nc@x.org\nd@x.org")
    for number in range(20):
        create_alias(domain=domain, local_part=f"a{number}", targets="z@x.org")
    page = text_of(browser.get(LIST, {"q": "c@x.org"}).content)
    assert "info@maison.mrs a@x.org, b@x.org and 2 more" in page
    assert "a1@maison.mrs" not in page
    with django_assert_num_queries(4):  # the session, its user, the number of aliases, the page
        browser.get(LIST)


def test_many_are_activated_and_deactivated_together(browser: Client, domain: Domain) -> None:
    made = [create_alias(domain=domain, local_part=f"a{number}", targets="z@x.org") for number in range(3)]
    data = {"action": "deactivate", "_selected_action": [alias.pk for alias in made[:2]]}
    assert "2 aliases deactivated" in text_of(browser.post(LIST, data, follow=True).content)
    assert Alias.objects.filter(is_active=True).count() == 1
    data = {"action": "activate", "_selected_action": [alias.pk for alias in made]}
    assert "2 aliases activated" in text_of(browser.post(LIST, data, follow=True).content)
    assert LogEntry.objects.count() == 4


def test_a_domain_with_aliases_stays(browser: Client, domain: Domain) -> None:
    second = create_domain(name="villa.mrs")
    create_alias(domain=second, local_part="info", targets="x@elsewhere.org")
    page = browser.get(f"/admin/accounts/domain/{second.pk}/delete/")
    assert "villa.mrs has 1 alias" in text_of(page.content)
    browser.post(f"/admin/accounts/domain/{second.pk}/delete/", {"post": "yes"})
    assert Domain.objects.filter(pk=second.pk).exists()


# --- Forwarding, on the mailbox's page ------------------------------------------------------------------------------


def test_a_mailbox_is_forwarded_on_its_page(browser: Client, domain: Domain, mailbox: Mailbox) -> None:
    url = f"/admin/accounts/mailbox/{mailbox.pk}/change/"
    form = filled_in(browser, url, "mailbox_form")
    assert form["keep_copy"] == "on"
    assert browser.post(url, form | {"forward_to": "Anna@Elsewhere.org\r\nb@x.org"}).status_code == 302
    mailbox.refresh_from_db()
    assert (mailbox.forward_to, mailbox.keep_copy) == ("Anna@elsewhere.org\nb@x.org", True)
    assert "Mail is forwarded to Anna@elsewhere.org, b@x.org; a copy is kept" in text_of(browser.get(url).content)
    del form["keep_copy"]
    browser.post(url, form | {"forward_to": "b@x.org"})
    assert "no copy is kept" in text_of(browser.get(url).content)
    create_alias(domain=domain, local_part="info", targets="anna@maison.mrs")
    page = browser.get(url).content
    assert "Mail for info@maison.mrs comes here too. Open the aliases" in text_of(page)
    response = browser.post(url, form | {"forward_to": "info@maison.mrs"})
    assert "loop" in str(response.context["adminform"].form.errors["forward_to"])
    response = browser.post(url, form | {"forward_to": "nobody"})
    assert "not an address" in str(response.context["adminform"].form.errors["forward_to"])


def test_what_was_not_taken_is_not_told_as_so(browser: Client, mailbox: Mailbox) -> None:
    url = f"/admin/accounts/mailbox/{mailbox.pk}/change/"
    data = filled_in(browser, url, "mailbox_form") | {"forward_to": "no address"}
    page = browser.post(url, data)
    assert page.status_code == 200
    text = text_of(page.content)
    assert "is not an address" in text
    assert "Mail is forwarded" not in text
    assert text.index("Please correct the error") < text.index("Local part")
    assert "Last sessions" not in text, "the errors come before anything else"


def test_a_new_address_is_of_the_default_domain_unless_another_is_chosen(browser: Client, domain: Domain) -> None:
    second = create_domain(name="second.org")
    for model in ("alias", "mailbox"):
        url = f"/admin/accounts/{model}/add/"
        assert filled_in(browser, url, f"{model}_form")["domain"] == str(domain.pk)
        assert filled_in(browser, f"{url}?domain={second.pk}", f"{model}_form")["domain"] == str(second.pk)


def test_who_may_see_mailboxes_alone_gets_no_link_to_aliases(domain: Domain, mailbox: Mailbox) -> None:
    create_alias(domain=domain, local_part="info", targets="anna@maison.mrs")
    page = browser_of(staff("accounts.view_mailbox")).get(f"/admin/accounts/mailbox/{mailbox.pk}/change/")
    assert "comes here too" in text_of(page.content)
    assert b"/admin/accounts/alias/" not in page.content


@pytest.mark.parametrize("may", ["view", "change"])
def test_rights(domain: Domain, may: str) -> None:
    alias = create_alias(domain=domain, local_part="info", targets="x@elsewhere.org")
    browser = browser_of(
        staff("accounts.view_alias", f"accounts.{may}_alias") if may != "view" else staff("accounts.view_alias")
    )
    url = f"{LIST}{alias.pk}/change/"
    assert browser.get(url).status_code == 200
    assert browser.post(url, {"local_part": "info", "domain": domain.pk, "targets": "y@x.org"}).status_code == (
        403 if may == "view" else 302
    )


def test_without_a_domain_the_form_of_an_address_is_empty(db: None) -> None:
    assert browser_of(superuser()).get(f"{LIST}add/").status_code == 200
