"""A mailbox to put mail into."""

import pytest
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from tests.mailstore.mailboxes import make_mailbox


@pytest.fixture(autouse=True)
def quick_hashes(settings: Settings) -> None:
    """Passwords are not the matter here: what their hashes cost is accounts'."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SCRAM_MECHANISMS = []


@pytest.fixture
def mailbox(db: None) -> FoundMailbox:
    return make_mailbox("jules")
