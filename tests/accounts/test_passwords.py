"""A right password is remembered for a while, a wrong one never, and a changed one fails at once."""

import time

import pytest
from django.contrib.auth.hashers import BasePasswordHasher, get_hashers, make_password
from django.core.exceptions import ValidationError
from django.test import override_settings

from accounts import passwords
from accounts.passwords import OpaqueStringValidator, PasswordChecker, prepare_password

ENCODED = make_password("right")


def test_only_what_was_right_is_remembered() -> None:
    checker = PasswordChecker(60)
    assert not checker.verify(ENCODED, "wrong")
    assert not checker.recall(ENCODED, "wrong")
    assert not checker.recall(ENCODED, "right")
    assert checker.verify(ENCODED, "right")
    assert checker.recall(ENCODED, "right")
    assert not checker.recall(make_password("right"), "right")


@pytest.mark.parametrize("hasher", get_hashers(), ids=lambda hasher: hasher.algorithm)
def test_what_is_hashed_in_any_way_of_the_settings_is_verified(hasher: BasePasswordHasher) -> None:
    encoded = hasher.encode("right", hasher.salt())
    assert PasswordChecker(60).verify(encoded, "right")
    assert not PasswordChecker(60).verify(encoded, "wrong")


def test_nobody_has_a_password() -> None:
    assert not PasswordChecker(60).verify(None, "right")


def test_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    checker = PasswordChecker(60)
    checker.verify(ENCODED, "right")
    later = time.monotonic() + 61
    monkeypatch.setattr(passwords.time, "monotonic", lambda: later)
    assert not checker.recall(ENCODED, "right")


def test_memory_can_be_switched_off() -> None:
    checker = PasswordChecker(0)
    assert checker.verify(ENCODED, "right")
    assert not checker.recall(ENCODED, "right")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "REMEMBERED", 1)
    checker = PasswordChecker(60)
    other = make_password("right")
    checker.verify(ENCODED, "right")
    checker.verify(other, "right")
    assert (checker.recall(ENCODED, "right"), checker.recall(other, "right")) == (False, True)


@pytest.mark.parametrize("hasher", ["pbkdf2_sha256", "scrypt"])
def test_other_hashes_verify_too(hasher: str) -> None:
    assert PasswordChecker(60).verify(make_password("right", hasher=hasher), "right")


def test_argon2_is_used_first_and_within_bounds() -> None:
    algorithm, variety, version, costs, *_ = ENCODED.split("$")
    assert (algorithm, variety, version, costs) == ("argon2", "argon2id", "v=19", "m=19456,t=2,p=1")


def test_a_hash_that_is_none_is_no_password() -> None:
    with override_settings(PASSWORD_HASHERS=["accounts.hashers.Argon2Hasher"]):
        assert not PasswordChecker(60).verify("!unusable", "right")


@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        (" pass word ", " pass word "),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("a\u00a0b\u3000c", "a b c"),
        ("\uff41", "\uff41"),
        ("\u0007", "\u0007"),
        ("\u0007e\u0301", "\u0007e\u0301"),
        ("\ud800", "?"),
    ],
)
def test_a_password_is_the_same_however_its_signs_are_composed(typed: str, prepared: str) -> None:
    """RFC 8265, 4.2.2: NFC and one kind of blank, while width and case are kept."""
    assert prepare_password(typed) == prepared
    assert prepare_password(prepared) == prepared


@pytest.mark.parametrize("password", ["a\tb", "a\0", "\u0080", "é\ud800", "\u200d"])
def test_rfc_8265_4_2_signs_that_no_mail_program_sends_are_not_set(password: str) -> None:
    with pytest.raises(ValidationError, match="position"):
        OpaqueStringValidator().validate(password)


@pytest.mark.parametrize("password", ["", " correct horse ", "señor Zoë", "パスワード", "\uff46\uff55", "¹½", "🐟"])
def test_rfc_8265_4_2_all_others_are(password: str) -> None:
    OpaqueStringValidator().validate(password)
