"""Mailboxes that collect, from servers on this machine."""

import pytest
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from tests.mailstore.mailboxes import make_mailbox


@pytest.fixture(autouse=True)
def _from_this_machine(settings: Settings) -> None:
    settings.COLLECT_NETWORKS = ["127.0.0.0/8"]
    settings.COLLECT_KEYS = ["k" * 44]
    settings.RELAY_NAME_SERVERS = []
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SCRAM_MECHANISMS = []


@pytest.fixture
def mailbox(db: None) -> FoundMailbox:
    """charles@maison.mrs, empty."""
    return make_mailbox("charles")
