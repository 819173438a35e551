"""What the tests of the door share."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from pytest_django import Settings

from accounts.services import create_domain
from tests.accounts.house import House, person


@pytest.fixture
def cheap(settings: Settings) -> None:
    """Hashes that cost next to nothing, for tests that make many."""
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "accounts.hashers.Argon2Hasher",
    ]
    settings.SCRAM_ITERATIONS = 4096


@pytest.fixture
def house(cheap: None, db: None) -> Iterator[House]:
    """A house where jules and alfred live."""
    create_domain(name="maison.mrs")
    for name in ("jules", "alfred"):
        person(name)
    yield House()
    House.close_all()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many slow hashes were computed since the last time it was asked."""
    computed: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **more: Any) -> Any:
            computed.append(name)
            return function(*args, **more)

        return count

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted("md5", MD5PasswordHasher.encode))
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted("pbkdf2", hashlib.pbkdf2_hmac))

    def taken() -> int:
        number = len(computed)
        computed.clear()
        return number

    return taken
