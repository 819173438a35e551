"""From which networks each login succeeded lately: there, others' failures do not count against it.

A success is written once a day for each login and network, in batches, so a client that polls every minute costs
nothing. The database is asked only where somebody else's failures would make a caller wait.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from accounts.models import KnownAddress
from accounts.pruning import delete_rows
from mailplatform.bridge import Bridge

#: Days for which a success makes a network known, and seconds between two writings of it.
KNOWN_DAYS = 60
WRITTEN_EVERY = 86_400.0
#: Seconds for which it is remembered that a network is not known: a flood of guesses is no flood of questions.
UNKNOWN_SECONDS = 10.0
#: Pairs of login and network in the memory of a process, and in the database.
MOST_REMEMBERED = 100_000
MOST_ROWS = 2_000_000
#: Rows of one statement.
_AT_ONCE = 500

Pair = tuple[str, str]


class KnownAddresses:
    """What one process knows of it. Used from its event loop alone; logins as `throttling.Place` has them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: When a pair was last noted to be written; when one was seen not to be there.
        self._known: OrderedDict[Pair, float] = OrderedDict()
        self._unknown: OrderedDict[Pair, float] = OrderedDict()
        self._unwritten: dict[Pair, float] = {}

    def note(self, login: str, network: str) -> None:
        """The login succeeded from there."""
        now, pair = self._clock(), (login, network)
        if not network or 0 <= now - self._known.get(pair, -WRITTEN_EVERY) < WRITTEN_EVERY:
            return
        if len(self._unwritten) < MOST_REMEMBERED:
            self._unwritten[pair] = now
        self._unknown.pop(pair, None)
        self._remember(self._known, pair)

    async def are_known(self, login: str, network: str, bridge: Bridge) -> bool:
        """Whether the login succeeded from there lately."""
        pair = (login, network)
        if not network:
            return False
        if pair in self._known:
            return True
        if 0 <= self._clock() - self._unknown.get(pair, -UNKNOWN_SECONDS) < UNKNOWN_SECONDS:
            return False
        # A known one is not remembered as seen now: it may not have been for days, and nothing has succeeded yet.
        known = await bridge.gather(find_known, pair)
        if not known and pair not in self._known:
            self._remember(self._unknown, pair)
        return known or pair in self._known

    async def flush(self, bridge: Bridge) -> None:
        """Write what is new. Where that fails it waits on. One at a time, and never cancelled."""
        if not self._unwritten:
            return
        taken, self._unwritten = self._unwritten, {}
        try:
            await bridge.run(_write, taken)
        except BaseException:
            self._unwritten = taken | self._unwritten
            raise

    def _remember(self, pairs: OrderedDict[Pair, float], pair: Pair) -> None:
        pairs[pair] = self._clock()
        pairs.move_to_end(pair)
        if len(pairs) > MOST_REMEMBERED:
            pairs.popitem(last=False)


def find_known(pairs: Sequence[Pair]) -> list[bool]:
    """For each login and network whether it is known. Made for `bridge.gather`."""
    wanted = Q()
    for login, network in set(pairs):
        wanted |= Q(login=login, network=network)
    recent = KnownAddress.objects.filter(wanted, seen_at__gt=_oldest())
    found = set(recent.values_list("login", "network"))
    return [pair in found for pair in pairs]


def write_known(login: str, network: str) -> None:
    """A login succeeded from there just now."""
    if network:
        _write({(login, network): time.time()})


def prune() -> int:
    """Delete what was not seen for long, and where there are too many rows those not seen for longest."""
    deleted = delete_rows(KnownAddress.objects.filter(seen_at__lte=_oldest()).order_by("seen_at"))
    too_many = KnownAddress.objects.count() - MOST_ROWS
    return deleted + delete_rows(KnownAddress.objects.order_by("seen_at"), most=too_many)


def _oldest() -> datetime:
    return timezone.now() - timedelta(days=KNOWN_DAYS)


def _write(pairs: dict[Pair, float]) -> None:
    # In ascending order, so that no two writers wait in a circle.
    rows = [
        KnownAddress(login=login, network=network, seen_at=datetime.fromtimestamp(seconds, UTC))
        for (login, network), seconds in sorted(pairs.items())
    ]
    for start in range(0, len(rows), _AT_ONCE):
        KnownAddress.objects.bulk_create(
            rows[start : start + _AT_ONCE],
            update_conflicts=True,
            unique_fields=["login", "network"],
            update_fields=["seen_at"],
        )
