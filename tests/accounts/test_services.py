"""Accounts are made whole: a user, its mailboxes, one default domain."""

import io
import sys

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from accounts.lookup import find_credentials, find_local_domains, find_mailboxes
from accounts.models import Domain, User
from accounts.passwords import PasswordChecker
from accounts.services import create_account, create_domain, create_mailbox

pytestmark = pytest.mark.django_db


def test_the_first_domain_is_the_default_until_another_is_made_so() -> None:
    first = create_domain(name="jules.maison.mrs")
    second = create_domain(name="alfred.maison.mrs", default=True)
    first.refresh_from_db()
    assert (first.is_default, second.is_default) == (False, True)


@pytest.mark.parametrize("name", ["", "a b", "-a.org", "x" * 300, "a..b"])
def test_a_name_that_is_no_domain_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        create_domain(name=name)


def test_a_user_made_on_any_path_has_a_mailbox_in_the_default_domain() -> None:
    create_domain(name="jules.maison.mrs")
    for user in (
        User.objects.create_user("Anna", password="x"),
        User.objects.create_superuser("root", password="x"),
        create_account(username="bert", password="x"),
    ):
        assert [m.address for m in user.mailboxes.all()] == [f"{user.username}@jules.maison.mrs"]


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


def test_the_password_check_remembers_only_what_was_right() -> None:
    create_domain(name="jules.maison.mrs")
    encoded = create_account(username="jules", password="right").password
    checker = PasswordChecker(60)
    assert encoded.startswith("argon2$")
    assert not checker.verify(encoded, "wrong")
    assert not checker.recall(encoded, "wrong")
    assert not checker.recall(encoded, "right")
    assert checker.verify(encoded, "right")
    assert checker.recall(encoded, "right")
    assert not checker.recall(encoded + "changed", "right")
    assert not checker.verify(None, "right")


def test_the_commands_make_domains_and_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    call_command("adddomain", "jules.maison.mrs", stdout=io.StringIO())
    call_command("adddomain", "alfred.maison.mrs", default=True, stdout=io.StringIO())
    monkeypatch.setattr(sys, "stdin", io.StringIO("a pass word \n"))
    out = io.StringIO()
    call_command("addaccount", "alfred", password_stdin=True, stdout=out)
    assert out.getvalue() == "alfred added: alfred@alfred.maison.mrs\n"
    assert User.objects.get(username="alfred").check_password("a pass word ")
    with pytest.raises(CommandError, match=r"no such domain: example\.org"):
        call_command("addaccount", "jules", domain=["example.org"], password_stdin=True)
    assert Domain.objects.get(is_default=True).name == "alfred.maison.mrs"
