"""Looks that are under way: their claims are renewed, whoever claimed, and are broken off where that fails too long."""

from datetime import datetime
from functools import partial
from uuid import UUID

import pytest
from django.db import OperationalError

from accounts.lookup import FoundMailbox
from collecting import errands
from collecting.claims import LEASE, claim, claim_one
from collecting.errands import Errands
from collecting.models import Source
from tests.collecting.sources import make_source, take_due
from tests.mailstore.pop3_server import SILENCE, ScriptedPop3
from tests.smtpservice.relay.relaying import Clock, database, run, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _renewed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "RENEW_SECONDS", 0.02)


def test_a_claim_is_renewed_for_as_long_as_the_look_takes(mailbox: FoundMailbox) -> None:
    clock = Clock()

    async def wait() -> None:
        under_way = Errands(limit=1, clock=clock)
        under_way.start()
        task = await under_way.begin(partial(claim_one, source.pk))
        assert task is not None
        assert not under_way.has_room
        for _ in range(3):
            clock.forward(seconds=LEASE.total_seconds() * 0.7)
            await until(lambda: Source.objects.filter(claimed_until=clock() + LEASE).exists())
        assert await database(lambda: take_due(clock())) is None
        await under_way.stop()
        assert (await task)[0].broken_off

    with ScriptedPop3(script={"": SILENCE}).serving() as other:
        source = make_source(mailbox, other, interval_minutes=1)
        run(wait())
    source.refresh_from_db()
    assert (source.claimed_by, source.failures) == (None, 0)


def test_what_cannot_be_renewed_is_broken_off(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(workers: object, now: datetime) -> None:
        clock.forward(seconds=LEASE.total_seconds() / 2)
        raise OperationalError("away")

    async def wait() -> None:
        under_way = Errands(limit=1, clock=clock)
        under_way.start()
        task = await under_way.begin(claim)
        assert (await task)[0].broken_off
        await under_way.stop()

    clock = Clock()
    monkeypatch.setattr(errands, "renew", away)
    with ScriptedPop3(script={"": SILENCE}).serving() as other:
        make_source(mailbox, other)
        clock.forward(seconds=1)
        run(wait())


def test_nothing_begins_where_nothing_was_claimed(mailbox: FoundMailbox) -> None:
    def nothing(worker: UUID, now: datetime) -> None:
        return None

    async def ask() -> None:
        under_way = Errands(limit=1)
        under_way.start()
        assert await under_way.begin(nothing) is None
        assert under_way.has_room
        await under_way.stop()
        assert not under_way.has_room

    run(ask())
