"""What is stored of a password is brought up to date when it is known to be right."""

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher, identify_hasher, make_password
from django.db import DatabaseError
from pytest_django import Settings

from accounts import renewal
from accounts.hashing import TooBusyError
from accounts.lookup import Credential
from accounts.models import User
from accounts.scram import are_current
from accounts.services import set_password
from tests.accounts.house import RIGHT, WRONG, House


def jules() -> User:
    return User.objects.get(username="jules")


def old_hash() -> str:
    return make_password(RIGHT, hasher="argon2")


def test_a_hash_of_another_kind_is_renewed_with_its_verifiers(house: House) -> None:
    User.objects.filter(username="jules").update(password=old_hash(), scram="")
    assert house.refusal(password=WRONG)
    house.settle()
    assert jules().scram == ""
    house.admit()
    house.settle()
    assert identify_hasher(jules().password).algorithm == MD5PasswordHasher.algorithm
    assert are_current(jules().scram, jules().password)
    assert house.admit()
    assert house.scram()


def test_verifiers_that_are_missing_or_old_are_made_and_the_hash_stays(house: House, settings: Settings) -> None:
    encoded = jules().password
    User.objects.filter(username="jules").update(scram="")
    house.admit()
    house.settle()
    assert house.scram()
    settings.SCRAM_ITERATIONS = 5000
    later = House()
    later.admit()
    later.settle()
    assert "$5000:" in jules().scram
    assert jules().password == encoded


def test_what_is_up_to_date_is_left_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "_make_anew", None)
    monkeypatch.setattr(renewal, "_store", None)
    house.admit()
    house.settle()


def test_a_password_that_was_changed_meanwhile_stays_changed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.filter(username="jules").update(password=old_hash(), scram="")
    store = renewal._store

    def late(credential: Credential, encoded: str, scram: str) -> None:
        set_password(user=jules(), password="new")
        store(credential, encoded, scram)

    monkeypatch.setattr(renewal, "_store", late)
    house.admit()
    house.settle()
    assert house.refusal()
    assert house.admit(password="new")
    assert house.scram(password="new")


@pytest.mark.parametrize("error", [DatabaseError("away"), TooBusyError()])
def test_a_renewal_that_fails_is_logged_and_the_login_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    caplog.set_level("INFO")
    User.objects.filter(username="jules").update(scram="")

    def fail(encoded: str, password: str) -> tuple[str, str]:
        raise error

    monkeypatch.setattr(renewal, "_make_anew", fail)
    assert house.admit()
    house.settle()
    assert "renew" in caplog.text
    assert RIGHT not in caplog.text
    assert jules().scram == ""
