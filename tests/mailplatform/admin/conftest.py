"""An admin at a browser, and a mailbox to look after."""

import pytest
from django.test import Client
from pytest_django import Settings

import mailplatform.urls  # noqa: F401 - the pages are there when tests are collected, some of which are made from them
from accounts.models import Domain, Mailbox, User
from tests.mailplatform.admin.people import browser_of, make_domain, make_mailbox, superuser


@pytest.fixture(autouse=True)
def quick_hashes(settings: Settings) -> None:
    """Passwords are not the matter here: what their hashes cost is accounts'."""
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "accounts.hashers.Argon2Hasher",
    ]
    settings.SCRAM_ITERATIONS = 4096


@pytest.fixture
def domain(db: None) -> Domain:
    return make_domain()


@pytest.fixture
def admin(domain: Domain) -> User:
    """Somebody who may do everything."""
    return superuser()


@pytest.fixture
def browser(admin: User) -> Client:
    """The browser of `admin`."""
    return browser_of(admin)


@pytest.fixture
def mailbox(domain: Domain) -> Mailbox:
    """anna@maison.mrs, empty."""
    return make_mailbox("anna")
