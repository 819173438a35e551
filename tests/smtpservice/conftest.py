"""What every test of the intake's connections is watched by."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from mailstore.delivery import Body
from smtpservice import server


@pytest.fixture(autouse=True)
def quick_hashes(settings: Settings) -> None:
    """Passwords are not the matter here: what their hashes cost is accounts'."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SCRAM_MECHANISMS = []


@pytest.fixture(autouse=True)
def no_spool_is_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever becomes of a message, its temporary file is closed."""
    open_bodies: set[Body] = set()

    class Counted(Body):
        def __init__(self, *, spool_octets: int) -> None:
            super().__init__(spool_octets=spool_octets)
            open_bodies.add(self)

        def close(self) -> None:
            super().close()
            open_bodies.discard(self)

    monkeypatch.setattr(server, "Body", Counted)
    yield
    assert not open_bodies
