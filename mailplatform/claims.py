"""Tasks in a table that workers on several hosts share: a worker claims a row for a while, renews the claim for as long
as it works at it, and writes down what came of it.

A worker that died lets go of its claims by that alone. What is here is the same for every such table, whose rows have
`claimed_until`; it knows no app. The relay and collecting say what is due, and what becomes of a claim that is lost.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Model, Q, QuerySet

logger = logging.getLogger(__name__)

Row = TypeVar("Row", bound=Model)
Written = TypeVar("Written")

#: Seconds between two tries to write down an outcome.
RECORD_SECONDS = 1.0


def is_free(now: datetime) -> Q:
    """Rows that nobody works at."""
    return Q(claimed_until__isnull=True) | Q(claimed_until__lte=now)


def claimable(rows: QuerySet[Row]) -> QuerySet[Row]:
    """The rows, locked. PostgreSQL passes over what another worker is claiming; on SQLite one claims at a time."""
    if connection.features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True, of=("self",))
    return rows


async def renew_for_ever(
    renew: Callable[[datetime], Awaitable[None]],
    break_off: Callable[[], None],
    *,
    clock: Callable[[], datetime],
    seconds: float,
    lease: timedelta,
) -> None:
    """Have claims that are good for `lease` renewed every so many seconds.

    Where that fails for too long others may have them soon, and what is done for them is to be broken off.
    """
    renewed = clock()
    while True:
        await asyncio.sleep(seconds)
        now = clock()
        try:
            await renew(now)
            renewed = now
        except Exception:
            logger.exception("claims were not renewed")
            if now - renewed > lease - timedelta(seconds=2 * seconds):
                break_off()


async def write_down(
    write: Callable[[], Awaitable[Written]], *, gives_up: Callable[[], bool] = lambda: False
) -> Written | None:
    """Write an outcome, for as long as it takes where the database is away; None where it `gives_up` before."""
    while True:
        try:
            return await write()
        except (OperationalError, InterfaceError):
            logger.exception("outcomes were not written down; trying again")
        if gives_up():
            return None
        await asyncio.sleep(RECORD_SECONDS)
