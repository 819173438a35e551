"""Claims are renewed for as long as somebody works, and outcomes written down however long the database is away."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError

from mailplatform import claims
from mailplatform.claims import renew_for_ever, write_down


class BrokenOffError(Exception):
    """What is being done for the claims has to end."""


class Worker:
    """Whose clock goes a second further with each renewal that it tries."""

    def __init__(self, fails_from: int) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.fails_from = fails_from
        self.renewals = 0

    async def renew(self, now: datetime) -> None:
        self.renewals += 1
        self.now += timedelta(seconds=1)
        if self.renewals >= self.fails_from:
            raise OperationalError("away")

    def break_off(self) -> None:
        raise BrokenOffError


def test_what_is_not_renewed_for_too_long_is_broken_off_before_the_claim_ends() -> None:
    worker, lease = Worker(fails_from=3), timedelta(seconds=10)
    renewing = renew_for_ever(worker.renew, worker.break_off, clock=lambda: worker.now, seconds=0.0, lease=lease)
    with pytest.raises(BrokenOffError):
        asyncio.run(renewing)
    assert worker.renewals == 2 + 11  # more than ten seconds behind the second, which went well


@pytest.mark.parametrize(("gives_up", "written"), [(False, "written"), (True, None)])
def test_an_outcome_is_written_down_when_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch, gives_up: bool, written: str | None
) -> None:
    monkeypatch.setattr(claims, "RECORD_SECONDS", 0.0)
    away = iter(range(3))

    async def write() -> str:
        if next(away, None) is not None:
            raise OperationalError("away")
        return "written"

    assert asyncio.run(write_down(write, gives_up=lambda: gives_up)) == written


def test_another_error_is_the_callers() -> None:
    async def write() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(write_down(write))
