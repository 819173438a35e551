"""adddomain and addaccount: what an operator types."""

import getpass
import io
import re
import sys
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Domain, User
from accounts.services import create_account, create_domain, create_mailbox

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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "NAME: This field cannot be blank"),
        ("a b", "a b: “a b” is not a domain name"),
        ("caf é.fr", "caf é.fr: “caf é.fr” is not a domain name"),
        ("example.org.", "example.org.: “example.org.” is not a domain name"),
        ("jules@example.org", "jules@example.org: “jules@example.org” is not a domain name"),
        ("x" * 300, "Ensure this value has at most 255 characters"),
        ("JULES.maison.mrs", "JULES.maison.mrs: Domain with this Name already exists"),
    ],
)
def test_a_domain_that_cannot_be_is_named_with_what_is_wrong(name: str, said: str) -> None:
    call_command("adddomain", "jules.maison.mrs", stdout=io.StringIO())
    with pytest.raises(CommandError, match=re.escape(said)):
        call_command("adddomain", name)
    assert Domain.objects.count() == 1


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Give the command these octets on standard input, as a terminal in UTF-8 does."""

    def give(octets: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets), encoding="utf-8"))

    return give


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "LOCALNAME: This field cannot be blank"),
        ("bob@maison.mrs", "bob@maison.mrs: “bob@maison.mrs” cannot be the name of a mailbox"),
        ("b éa", "b éa: “b éa” cannot be the name of a mailbox"),
        ("a%b", "a%b: “a%b” cannot be the name of a mailbox"),
        ("x" * 65, "cannot be the name of a mailbox"),
        ("JULES", "JULES: A user with that username already exists"),
        ("sales", "sales: Mailbox with this Address already exists"),
    ],
)
def test_an_account_that_cannot_be_is_named_with_what_is_wrong(
    stdin: Callable[[bytes], None], name: str, said: str
) -> None:
    domain = create_domain(name="maison.mrs")
    create_mailbox(user=create_account(username="jules", password="x"), domain=domain, local_part="sales")
    stdin(b"x\n")
    with pytest.raises(CommandError, match=re.escape(said)):
        call_command("addaccount", name, password_stdin=True)
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "the password is empty"),
        (b"\n", "the password is empty"),
        (b"\xe9t\xe9\n", "the password is not text in UTF-8"),
        (b"a\0b\n", "mail programs do not send: position 2"),
    ],
)
def test_a_password_that_nobody_could_log_in_with_is_refused(
    stdin: Callable[[bytes], None], octets: bytes, said: str
) -> None:
    create_domain(name="maison.mrs")
    stdin(octets)
    with pytest.raises(CommandError, match=said):
        call_command("addaccount", "jules", password_stdin=True)
    assert not User.objects.exists()


def test_octets_that_the_locale_lets_through_are_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the C locale Python reads what is not UTF-8 as lone surrogates."""
    create_domain(name="maison.mrs")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\udce9t\udce9\n"))
    with pytest.raises(CommandError, match="not text in UTF-8"):
        call_command("addaccount", "jules", password_stdin=True)


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [(EOFError(), "pipe it in with --password-stdin", 1), (KeyboardInterrupt(), "interrupted; nothing was done", 130)],
)
def test_a_prompt_that_is_left_adds_nothing(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str, code: int
) -> None:
    def leave(prompt: str) -> str:
        raise error

    create_domain(name="maison.mrs")
    monkeypatch.setattr(getpass, "getpass", leave)
    with pytest.raises(CommandError, match=said) as raised:
        call_command("addaccount", "jules")
    assert raised.value.returncode == code
    assert not User.objects.exists()


def test_a_domain_named_twice_is_one_mailbox(stdin: Callable[[bytes], None]) -> None:
    create_domain(name="maison.mrs")
    out = io.StringIO()
    stdin("passé é\n".encode())
    call_command("addaccount", "Jules", domain=["maison.mrs", "MAISON.mrs"], password_stdin=True, stdout=out)
    assert out.getvalue() == "jules added: jules@maison.mrs\n"
    assert User.objects.get(username="jules").check_password("passé é")


def test_rfc_6531_names_and_domains_may_be_in_any_script(stdin: Callable[[bytes], None]) -> None:
    call_command("adddomain", "München.example", stdout=io.StringIO())
    stdin("señor\n".encode())
    said = io.StringIO()
    call_command("addaccount", "Zoë", "--domain", "MÜNCHEN.example", "--password-stdin", stdout=said)
    assert said.getvalue() == "zoë added: zoë@xn--mnchen-3ya.example\n"
    assert str(Domain.objects.get()) == "münchen.example"
    with pytest.raises(CommandError, match="exists"):
        call_command("adddomain", "xn--mnchen-3ya.example")


@pytest.mark.parametrize("options", [[], ["--combined"]])
def test_addaccount_says_what_the_bare_name_opens(monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    create_domain(name="maison.mrs")
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    call_command("addaccount", "charles", *options, "--password-stdin", stdout=io.StringIO())
    assert User.objects.get().combined is bool(options)
