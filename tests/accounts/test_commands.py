"""adddomain and addaccount: what an operator types."""

import getpass
import io
import sys

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Domain, User

pytestmark = pytest.mark.django_db


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


def test_a_password_that_is_typed_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    call_command("adddomain", "jules.maison.mrs", stdout=io.StringIO())
    answers = iter(["secret", "secert", "secret", "secret", "", ""])
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    with pytest.raises(CommandError, match="differ"):
        call_command("addaccount", "jules")
    call_command("addaccount", "jules", stdout=io.StringIO())
    assert User.objects.get(username="jules").check_password("secret")
    with pytest.raises(CommandError, match="empty"):
        call_command("addaccount", "alfred")


def test_what_cannot_be_added_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="no domain yet"):
        call_command("addaccount", "jules", password_stdin=True)
    call_command("adddomain", "jules.maison.mrs", stdout=io.StringIO())
    with pytest.raises(CommandError, match="already exists"):
        call_command("adddomain", "jules.maison.mrs")
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
    with pytest.raises(CommandError, match="cannot be the name of a mailbox"):
        call_command("addaccount", "jules jules", password_stdin=True)
