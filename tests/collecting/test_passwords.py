"""Passwords at rest: unreadable without a key that is not in the database, and good for nothing else."""

import pytest
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from collecting.models import Source
from collecting.passwords import LostKeyError, decrypt, reencrypt
from tests.collecting.sources import PASSWORD, collect, make_source
from tests.mailstore.pop3_server import ScriptedPop3

OLD, NEW = "k" * 44, "n" * 44


@pytest.fixture
def source(mailbox: FoundMailbox) -> Source:
    return make_source(mailbox, ScriptedPop3(port=1))


def test_what_is_stored_is_not_the_password(source: Source) -> None:
    assert decrypt(source) == PASSWORD
    assert PASSWORD not in str(Source.objects.values().get())


def test_a_password_goes_nowhere_else(source: Source) -> None:
    """Whoever can write rows has no key, and cannot have the password sent to a server of theirs, or in the clear."""
    purpose = ("mailbox_id", "host", "port", "tls", "verify_certificate", "login")
    kept = {name: getattr(source, name) for name in (*purpose, "secret")}
    for name, value in zip(purpose, (0, "evil.example", 2, "tls", False, "x"), strict=True):
        with pytest.raises(LostKeyError, match="another server"):
            decrypt(Source(**kept | {name: value}))
    assert decrypt(Source(**kept)) == PASSWORD


def test_a_key_is_changed_and_one_that_is_lost_is_told_of(source: Source, settings: Settings) -> None:
    settings.COLLECT_KEYS = [NEW, OLD]
    assert reencrypt() == (1, 0)
    settings.COLLECT_KEYS = [NEW]
    source.refresh_from_db()
    assert decrypt(source) == PASSWORD
    settings.COLLECT_KEYS = [OLD]
    assert reencrypt() == (0, 1)
    assert isinstance(collect(source)[1], LostKeyError)
    assert "give it again" in source.last_error
