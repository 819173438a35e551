"""SCRAM verifiers: made with every password, worthless with any other, invented for whoever is not here."""

import base64
import io
from collections.abc import Callable

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, SetPasswordForm
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.contrib.auth.management.commands import changepassword
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings
from scramp import ScramClient, ScramException, ScramMechanism

from accounts import importing, models, scram
from accounts.models import User
from accounts.scram import HASH_OCTETS, ScramVerifier, are_current, find_verifier, invented_verifier, make_verifiers
from accounts.services import create_account, set_password

MECHANISMS = list(HASH_OCTETS)
ENCODED = "argon2$whatever"


@pytest.fixture(autouse=True)
def _few_iterations(settings: Settings) -> None:
    settings.SCRAM_ITERATIONS = 4096


def opens(verifier: ScramVerifier | None, password: str) -> bool:
    """Whether scramp's client and server come to an end with this verifier, each convinced of the other."""
    if verifier is None:
        return False
    client = ScramClient([verifier.mechanism], "jules", password)
    server = ScramMechanism(verifier.mechanism).make_server(lambda username: verifier.auth_info())
    server.set_client_first(client.get_client_first())
    client.set_server_first(server.get_server_first())
    try:
        server.set_client_final(client.get_client_final())
    except ScramException:
        return False
    client.set_server_final(server.get_server_final())
    return True


def user_opens(user: User, password: str) -> bool:
    """Whether the user is let in by each mechanism; by all or by none."""
    user = User.objects.get(pk=user.pk)
    (answer,) = {opens(find_verifier(user.scram, user.password, name), password) for name in MECHANISMS}
    return answer


# --- The exchange -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mechanism", "salt", "client_first", "server_nonce", "server_first", "client_final", "server_final"),
    [
        pytest.param(
            "SCRAM-SHA-1",
            "QSXCR+Q6sek8bf92",
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            id="RFC 5802, 5",
        ),
        pytest.param(
            "SCRAM-SHA-256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            id="RFC 7677, 3",
        ),
    ],
)
def test_the_examples_of_the_rfcs(
    monkeypatch: pytest.MonkeyPatch,
    mechanism: str,
    salt: str,
    client_first: str,
    server_nonce: str,
    server_first: str,
    client_final: str,
    server_final: str,
) -> None:
    monkeypatch.setattr(scram.secrets, "token_bytes", lambda size: base64.b64decode(salt))
    verifier = find_verifier(make_verifiers("pencil", ENCODED), ENCODED, mechanism)
    assert verifier is not None
    server = ScramMechanism(mechanism).make_server(lambda username: verifier.auth_info(), s_nonce=server_nonce)
    server.set_client_first(client_first)
    assert server.get_server_first() == server_first
    server.set_client_final(client_final)
    assert server.get_server_final() == server_final


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_right_password_opens_and_no_other(mechanism: str) -> None:
    verifier = find_verifier(make_verifiers("right, =wrong", ENCODED), ENCODED, mechanism)
    assert opens(verifier, "right, =wrong")
    assert not opens(verifier, "right")


@pytest.mark.parametrize(
    ("kept", "typed"), [("I\u00adX", "IX"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")]
)
def test_what_saslprep_makes_equal_is_equal(kept: str, typed: str) -> None:
    """RFC 4013, 3 has these examples."""
    assert opens(find_verifier(make_verifiers(kept, ENCODED), ENCODED, MECHANISMS[0]), typed)


@pytest.mark.parametrize("password", ["\u00ad", "\u0007", "\u0627\u0031", "\U0001f600"])
def test_what_saslprep_refuses_has_no_verifiers_and_is_not_tried_again(password: str) -> None:
    kept = make_verifiers(password, ENCODED)
    assert [find_verifier(kept, ENCODED, name) for name in MECHANISMS] == [None, None]
    assert are_current(kept, ENCODED)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), st.integers(4096, 10**6))
def test_a_verifier_survives_being_written(salt: bytes, key: bytes, iterations: int) -> None:
    verifier = ScramVerifier("SCRAM-SHA-256", salt, key, key[::-1], iterations)
    assert ScramVerifier.parse(str(verifier)) == verifier


def test_a_verifier_is_written_as_rfc_5803_says() -> None:
    verifier = ScramVerifier("SCRAM-SHA-1", b"salt", b"stored", b"server", 4096)
    assert str(verifier) == "SCRAM-SHA-1$4096:c2FsdA==$c3RvcmVk:c2VydmVy"


# --- Kept with the password, on every path that sets one ------------------------------------------------------


def by_service(user: User, password: str) -> None:
    set_password(user=user, password=password)


def by_form(user: User, password: str) -> None:
    form = SetPasswordForm(user, {"new_password1": password, "new_password2": password})
    assert form.is_valid(), form.errors
    form.save()


def by_admin_form(user: User, password: str) -> None:
    form = AdminPasswordChangeForm(user, {"password1": password, "password2": password, "usable_password": "true"})
    assert form.is_valid(), form.errors
    form.save()


def by_command(user: User, password: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changepassword.getpass, "getpass", lambda prompt: password)
        call_command("changepassword", user.username, stdout=io.StringIO())


@pytest.mark.django_db
@pytest.mark.parametrize("change", [by_service, by_form, by_admin_form, by_command])
def test_a_changed_password_changes_the_verifiers(change: Callable[[User, str], None]) -> None:
    user = create_account(username="jules", password="the old password")
    assert user_opens(user, "the old password")
    change(user, "another one, new")
    assert user_opens(user, "another one, new")
    assert not user_opens(user, "the old password")


class NewUserForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("username",)


@pytest.mark.django_db
def test_every_way_to_make_a_user_makes_verifiers() -> None:
    form = NewUserForm(
        {"username": "form", "password1": "one pass word", "password2": "one pass word", "usable_password": "true"}
    )
    checked = importing.check(b"username,password\nfile,one pass word\n")
    importing.store(accounts=checked.accounts)
    assert form.is_valid(), form.errors
    users = [
        create_account(username="service", password="one pass word"),
        User.objects.create_user("manager", password="one pass word"),
        User.objects.create_superuser("root", password="one pass word"),
        User.objects.get(username="file"),
        form.save(),
    ]
    assert [user_opens(user, "one pass word") for user in users] == [True] * len(users)


@pytest.mark.django_db
def test_a_hash_that_is_renewed_at_the_login_takes_its_verifiers_along() -> None:
    old = PBKDF2PasswordHasher().encode("right", "salt", iterations=10)
    user = User(username="jules", password=old)
    user.save()
    assert user.scram == ""
    assert user.check_password("right")
    assert user.password.startswith("argon2$")
    assert user_opens(user, "right")


@pytest.mark.django_db
def test_verifiers_of_another_hash_open_nothing() -> None:
    """Whatever wrote the new hash and left the verifiers as they were."""
    user = create_account(username="jules", password="old")
    User.objects.filter(pk=user.pk).update(password=make_password("new"))
    assert not user_opens(user, "old")
    assert not user_opens(user, "new")


@pytest.mark.django_db
def test_a_password_that_was_set_and_given_up_leaves_nothing_behind() -> None:
    user = create_account(username="jules", password="old")
    user.set_password("new")
    user.refresh_from_db()
    user.save()
    assert not user_opens(user, "new")


@pytest.mark.django_db
def test_without_a_password_there_are_no_verifiers() -> None:
    user = create_account(username="jules", password="old")
    user.set_unusable_password()
    user.save(update_fields=["password"])
    assert User.objects.get(pk=user.pk).scram == ""
    assert User.objects.create_user("nobody").scram == ""


@pytest.mark.django_db
def test_saving_something_else_leaves_the_verifiers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    user = create_account(username="jules", password="old")
    monkeypatch.setattr(models, "make_verifiers", None)
    user.first_name = "Jules"
    user.save()
    user.save(update_fields=["first_name"])
    assert user_opens(user, "old")


@pytest.mark.django_db
def test_a_login_on_the_web_costs_an_unknown_user_no_more_than_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django hashes the password of a user it does not find; making verifiers would tell the two apart."""
    create_account(username="jules", password="right")
    monkeypatch.setattr(models, "make_verifiers", None)
    assert authenticate(username="nobody", password="right") is None
    assert authenticate(username="jules", password="wrong") is None


# --- What is current ------------------------------------------------------------------------------------------


def test_verifiers_are_current_while_the_settings_are_those_they_were_made_with(settings: Settings) -> None:
    kept = make_verifiers("x", ENCODED)
    assert are_current(kept, ENCODED)
    assert not are_current(kept, ENCODED + "!")
    assert not are_current("", ENCODED)
    settings.SCRAM_ITERATIONS = 5000
    assert not are_current(kept, ENCODED)
    settings.SCRAM_ITERATIONS, settings.SCRAM_MECHANISMS = 4096, ["SCRAM-SHA-256"]
    assert not are_current(kept, ENCODED)


def test_scram_can_be_switched_off(settings: Settings) -> None:
    settings.SCRAM_MECHANISMS = []
    kept = make_verifiers("x", ENCODED)
    assert "$" not in kept
    assert are_current(kept, ENCODED)
    assert find_verifier(kept, ENCODED, "SCRAM-SHA-1") is None


# --- Who is not here ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_invented_verifier_looks_like_a_kept_one(mechanism: str) -> None:
    kept = find_verifier(make_verifiers("x", ENCODED), ENCODED, mechanism)
    invented = invented_verifier("nobody@maison.mrs", mechanism)
    assert kept is not None
    assert (invented.mechanism, invented.iterations) == (kept.mechanism, kept.iterations)
    sizes = [(len(one.salt), len(one.stored_key), len(one.server_key)) for one in (invented, kept)]
    assert sizes == [(16, HASH_OCTETS[mechanism], HASH_OCTETS[mechanism])] * 2
    assert not opens(invented, "x")


def test_an_invented_verifier_stays_the_same(settings: Settings) -> None:
    """RFC 5802, 9: an attacker who asks twice sees the same salt twice, as for a user who is here."""
    first = invented_verifier("nobody@maison.mrs", "SCRAM-SHA-256")
    assert invented_verifier("nobody@maison.mrs", "SCRAM-SHA-256") == first
    others = [
        invented_verifier("nobody@maison.mrs", "SCRAM-SHA-1"),
        invented_verifier("other@maison.mrs", "SCRAM-SHA-256"),
    ]
    settings.SECRET_KEY = "another"
    others.append(invented_verifier("nobody@maison.mrs", "SCRAM-SHA-256"))
    assert len({one.salt for one in [first, *others]}) == 4
