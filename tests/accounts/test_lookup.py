"""Logins and addresses lead to the one mailbox they mean."""

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import (
    find_combined,
    find_credentials,
    find_delegated,
    find_local_domains,
    find_mailboxes,
    find_postmaster,
)
from accounts.models import Domain, Mailbox, User
from accounts.services import create_account, create_domain, create_mailbox

pytestmark = pytest.mark.django_db


def test_bare_name_address_and_percent_all_find_the_mailbox() -> None:
    default = create_domain(name="jules.maison.mrs")
    other = create_domain(name="alfred.maison.mrs")
    create_account(username="charles", password="x", domains=[default, other])
    logins = [
        "charles",
        "CHARLES@jules.maison.mrs",
        "charles%jules.maison.mrs",
        "charles%alfred.maison.mrs",
        "nobody",
    ]
    found = [credential and credential.address for credential in find_credentials(logins)]
    assert found == ["charles@jules.maison.mrs"] * 3 + ["charles@alfred.maison.mrs", None]


def test_a_bare_name_prefers_the_mailbox_called_like_its_user() -> None:
    domain = create_domain(name="jules.maison.mrs")
    user = create_account(username="charles", password="x")
    create_mailbox(user=user, domain=domain, local_part="sales")
    (credential,) = find_credentials(["charles"])
    assert credential is not None
    assert credential.address == "charles@jules.maison.mrs"


def test_addresses_and_domains_are_found_in_any_case() -> None:
    create_domain(name="jules.maison.mrs")
    create_account(username="jules", password="x")
    found, missing = find_mailboxes(["Jules@JULES.maison.mrs", "x@jules.maison.mrs"])
    assert found is not None
    assert found.address == "jules@jules.maison.mrs"
    assert missing is None
    assert find_local_domains(["Jules.Maison.mrs", "example.org"]) == [True, False]


def test_a_suspended_mailbox_or_user_is_said_to_be_inactive() -> None:
    create_domain(name="jules.maison.mrs")
    user = create_account(username="jules", password="x")
    user.is_active = False
    user.save()
    (credential,) = find_credentials(["jules"])
    assert credential is not None
    assert not credential.is_active


def test_rfc_5321_4_5_1_postmaster_is_a_mailbox_of_the_default_domain_or_an_admin() -> None:
    create_domain(name="jules.maison.mrs")
    other = create_domain(name="alfred.maison.mrs")
    create_account(username="jules", password="x")
    create_account(username="postmaster", password="x", domains=[other])
    assert find_postmaster() is None
    User.objects.create_superuser("chief", password="x")
    User.objects.create_superuser("second", password="x")
    assert found_postmaster() == "chief@jules.maison.mrs"
    User.objects.filter(username="chief").update(is_active=False)
    assert found_postmaster() == "second@jules.maison.mrs"
    postmaster = create_account(username="postmaster.jules", password="x")
    Mailbox.objects.create(user=postmaster, domain=Domain.objects.get(is_default=True), local_part="postmaster")
    assert found_postmaster() == "postmaster@jules.maison.mrs"
    Mailbox.objects.filter(address="postmaster@jules.maison.mrs").update(is_active=False)
    assert found_postmaster() == "second@jules.maison.mrs"


def test_an_admin_whose_mailbox_is_in_another_domain_is_postmaster_too() -> None:
    default, other = create_domain(name="jules.maison.mrs"), create_domain(name="alfred.maison.mrs")
    chief = create_account(username="chief", password="x", domains=[other])
    User.objects.update(is_superuser=True)
    assert found_postmaster() == "chief@alfred.maison.mrs"
    create_mailbox(user=chief, domain=default)
    assert found_postmaster() == "chief@jules.maison.mrs"


def found_postmaster() -> str | None:
    found = find_postmaster()
    return found and found.address


def test_a_batch_of_logins_is_two_statements(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    create_domain(name="jules.maison.mrs")
    for name in ("jules", "alfred", "charles"):
        create_account(username=name, password="x")
    with django_assert_num_queries(2):
        found = find_credentials(["jules", "alfred@jules.maison.mrs", "charles%jules.maison.mrs", "nobody"])
    assert [credential is not None for credential in found] == [True, True, True, False]


def test_a_credential_says_whether_the_password_opens_mail() -> None:
    create_domain(name="jules.maison.mrs")
    create_account(username="jules", password="x")
    for two_factor in (True, False):
        User.objects.update(two_factor=two_factor)
        found = find_credentials(["jules", "jules@jules.maison.mrs"])
        assert [credential and credential.two_factor for credential in found] == [two_factor] * 2


def test_a_user_opens_his_own_mailboxes_and_those_entrusted_to_him() -> None:
    first, second = create_domain(name="jules.maison.mrs"), create_domain(name="alfred.maison.mrs")
    jules = create_account(username="jules", password="x", domains=[first, second])
    alfred = create_account(username="alfred", password="x")
    jules.mailboxes.get(domain=second).delegates.add(alfred)
    wishes = [
        (jules.pk, "jules"), (jules.pk, "Jules%alfred.maison.mrs"), (alfred.pk, "jules@alfred.maison.mrs"),
        (alfred.pk, "jules"), (jules.pk, "alfred"), (alfred.pk, "nobody"),
    ]  # fmt: skip
    found = [credential and credential.address for credential in find_delegated(wishes)]
    assert found == ["jules@jules.maison.mrs", "jules@alfred.maison.mrs", "jules@alfred.maison.mrs", None, None, None]


def test_to_ask_for_a_mailbox_that_is_not_there_costs_the_same(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    create_domain(name="jules.maison.mrs")
    jules, alfred = (create_account(username=name, password="x") for name in ("jules", "alfred"))
    for wish in ("alfred@jules.maison.mrs", "nobody@jules.maison.mrs"):
        with django_assert_num_queries(2):
            assert find_delegated([(jules.pk, wish)]) == [None]
    assert alfred.delegated_mailboxes.count() == 0


def test_rfc_6531_an_address_in_any_script_is_found_in_every_spelling() -> None:
    create_account(username="Zoë", password="x", domains=[create_domain(name="München.example")])
    spellings = ["ZOË@münchen.example", "zoe\u0308@xn--mnchen-3ya.example", "zoë@MU\u0308NCHEN.example"]
    for found in (*find_mailboxes(spellings), *find_credentials([*spellings, "zoë", "zoë%münchen.example"])):
        assert found is not None
        assert found.address == "zoë@xn--mnchen-3ya.example"
    assert find_local_domains(["münchen.example", "XN--MNCHEN-3YA.example"]) == [True, True]


# --- The combined maildrop ---------------------------------------------------------------------------------------------


def two_mailboxes(*, combined: bool = True) -> User:
    """charles, with a mailbox in the default domain and one in another."""
    domains = [create_domain(name="jules.maison.mrs"), create_domain(name="alfred.maison.mrs")]
    user = create_account(username="charles", password="x", domains=domains)
    User.objects.update(combined=combined)
    return user


@pytest.mark.parametrize("combined", [False, True])
def test_a_credential_says_whether_the_bare_name_opens_all(combined: bool) -> None:
    two_mailboxes(combined=combined)
    found = find_credentials(["charles", "charles@alfred.maison.mrs"])
    assert [credential and credential.combined for credential in found] == [combined] * 2


@pytest.mark.parametrize("combined", [False, True])
def test_a_mailbox_that_is_active_stands_for_all(combined: bool) -> None:
    """That of the default domain where it can be opened; without the switch it is that one or none."""
    two_mailboxes(combined=combined)
    found = [find_credentials(["charles"])[0]]
    for change in ({"is_active": False}, {"domain": create_domain(name="maison.mrs"), "local_part": "c"}):
        Mailbox.objects.filter(address="charles@jules.maison.mrs").update(**change)
        found.append(find_credentials(["charles"])[0])
    said = [credential and (credential.address.partition("@")[2], credential.is_active) for credential in found]
    here, there = ("jules.maison.mrs", True), ("alfred.maison.mrs", True)
    assert said == ([here, there, there] if combined else [here, ("jules.maison.mrs", False), None])


def test_what_the_bare_name_opens(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    charles = two_mailboxes()
    jules = create_account(username="jules", password="x")
    charles.delegated_mailboxes.add(jules.mailboxes.get())
    Mailbox.objects.filter(address="charles@jules.maison.mrs").update(expire_days=7)
    here, there = charles.mailboxes.order_by("pk")
    with django_assert_num_queries(1):
        found, other, nobody = find_combined([charles.pk, jules.pk, 2**40])
    assert [(each.mailbox_id, each.policy.expire_days) for each in found] == [(here.pk, 7), (there.pk, 0)]
    assert [each.mailbox_id for each in other] == [jules.mailboxes.get().pk]
    assert nobody == []
    charles.mailboxes.update(is_active=False)
    assert find_combined([charles.pk]) == [[]]
