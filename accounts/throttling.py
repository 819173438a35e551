"""Guessing passwords gets slower and slower, across all workers and hosts; good logins are not in its way.

Failures are counted for four things at once: a login from one address, an address, the range of addresses around it,
and a login from anywhere. Each has a row of `RULES`. The longest wait that one of them asks for is the caller's. A
short one is slept out before the password is looked at; a long one is a refusal that says how long it is, and such a
try is neither looked at nor counted.

- **Good logins.** An address from which a login succeeded lately (accounts.known_addresses) waits only for its own
  failures with that login: whoever guesses from elsewhere, or guesses other logins from the same address or range,
  is not in its way. A success changes no count, so nobody guesses in the shadow of somebody else's successes; it
  need not, since a wait begins with a failure and success is none.
- **Old passwords.** The same password for the same login again is no further guess (`Guesses`), and costs no hash.
- **Unknown logins** are counted by their names, as existing ones are: waiting tells nothing. All spellings of a name
  are one, and a bare name is that in the default domain. Other addresses of the same user count by themselves: it
  would tell that they are here, and belong together.

Each process keeps what counts in memory, its own failures at once; `exchange`, about once a second, adds them to the
database and learns those of others. No login asks the database. Clocks of hosts may differ by some seconds.
"""

import functools
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.addresses import LOGIN_SIGNS, full_login, kept_login
from accounts.lookup import find_default_domain
from accounts.models import LoginResult, Throttle
from accounts.networks import lies_in, narrow_and_wide
from accounts.pruning import delete_rows
from mailplatform.bridge import Bridge


@dataclass(frozen=True, slots=True)
class Rule:
    """After `free` failures each one doubles the wait, from 1 s up to `longest`; one is forgotten each `forgets` s."""

    free: int
    longest: float
    forgets: float

    def wait(self, failures: float) -> float:
        """Seconds from the last failure to the next try."""
        over = failures - self.free
        return min(self.longest, 2.0 ** min(over - 1, 30)) if over > 0 else 0.0


#: In the long run a guesser gets one try for each `forgets`, or each `longest` where that is more.
RULES = {
    # Somebody who tries to remember: three for nothing, some slow ones, then one in a quarter of an hour: 96 a day.
    "login here": Rule(free=3, longest=900, forgets=900),
    # One who tries a password or two with many logins; or an office behind one address, most of which is known.
    "address": Rule(free=10, longest=300, forgets=300),
    # The same from a rented range. Neighbours that are strangers wait a minute at most.
    "range": Rule(free=50, longest=60, forgets=60),
    # Many addresses against one login. Its owner waits only at an address that is new.
    "login": Rule(free=30, longest=300, forgets=300),
}

#: A wait up to this is slept out while the client waits for its answer, which none gives up so soon.
HELD_SECONDS = 10.0
#: Counts in the memory of a process, and rows that stay in the database; those forgotten soonest go first.
MOST_COUNTS = 20_000
MOST_ROWS = 200_000
#: Guesses that are remembered in order not to count them twice.
MOST_GUESSES = 50_000
#: Counts that are added in one transaction, and in one exchange.
_AT_ONCE = 500
_MOST_ADDED = 4000
#: What another transaction stamped before this long is surely committed.
_OVERLAP_SECONDS = 3.0
#: Seconds between two looks for counts that are forgotten, and for another default domain.
_FORGET_EVERY = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a try counts: the key of its login from its address, and the keys of what it shares with others.

    `network` is the address's own, empty where there is no address.
    """

    login: str
    network: str
    own: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """So many failures at the time of the last one, in seconds since the epoch."""

    failures: float
    at: float

    def after(self, rule: Rule, now: float) -> float:
        """How many of them count still."""
        return max(0.0, self.failures - max(0.0, now - self.at) / rule.forgets)

    def plus(self, number: float, rule: Rule, now: float) -> "Count":
        return Count(self.after(rule, now) + number, max(now, self.at))

    def forgotten_at(self, rule: Rule) -> float:
        return self.at + self.failures * rule.forgets

    def seconds(self, rule: Rule, now: float) -> float:
        """How long to wait from now on."""
        wait = rule.wait(self.failures)
        return max(0.0, min(wait, self.at + wait - now))


class Throttles:
    """The counts as one process knows them. Used from its event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.time, default_domain: str = "") -> None:
        """`default_domain` is learned with the first exchange."""
        self._clock = clock
        self._default_domain = default_domain
        self._places = functools.lru_cache(maxsize=16_384)(_find_place)
        self._counts: dict[str, Count] = {}
        self._unsent: dict[str, int] = {}
        self._exchanged_at: float | None = None
        self._forgot_at = 0.0

    def place(self, address: str, login: str) -> Place:
        """Where a try of a login from an address counts; of one that is too long to exist its beginning."""
        return self._places(address, login[:LOGIN_SIGNS], self._default_domain)

    def waits(self, place: Place) -> tuple[float, float]:
        """Seconds to wait for this login's own failures at this address, and for all others."""
        if not self._counts:
            return 0.0, 0.0
        return self._wait(place.own), max(map(self._wait, place.others), default=0.0)

    def failed(self, place: Place) -> None:
        """Count a failure: at once here, with the next exchange everywhere."""
        now = self._clock()
        for key in (place.own, *place.others):
            self._counts[key] = self._counts.get(key, Count(0.0, now)).plus(1, _rule(key), now)
            self._unsent[key] = self._unsent.get(key, 0) + 1
        if len(self._counts) > MOST_COUNTS:
            self._forget()

    async def exchange(self, bridge: Bridge) -> None:
        """Tell the others what failed here, and learn what failed there. One at a time, and never cancelled."""
        now = self._clock()
        taken = {key: self._unsent.pop(key) for key in list(self._unsent)[:_MOST_ADDED]}
        began = time.monotonic()
        window = None if self._exchanged_at is None else began - self._exchanged_at + _OVERLAP_SECONDS
        try:
            rows = await bridge.run(_exchange, taken, now, window)
        except BaseException:
            for key, number in taken.items():
                self._unsent[key] = self._unsent.get(key, 0) + number
            raise
        self._exchanged_at = began
        now = self._clock()
        for key, count in rows:
            # What failed here while the database was asked is not in its answer.
            self._counts[key] = count.plus(self._unsent[key], _rule(key), now) if key in self._unsent else count
        if began - self._forgot_at >= _FORGET_EVERY or len(self._counts) > MOST_COUNTS:
            self._forgot_at = began
            self._forget()
            self._default_domain = await bridge.run(find_default_domain)

    def _wait(self, key: str) -> float:
        count = self._counts.get(key)
        return 0.0 if count is None else count.seconds(_rule(key), self._clock())

    def _forget(self) -> None:
        """Let go of what counts no more, and of what soon will not where there is too much."""
        now = self._clock()
        kept = {key: count for key, count in self._counts.items() if count.after(_rule(key), now) > 0}
        if len(kept) > MOST_COUNTS:
            longest_first = sorted(kept, key=lambda key: kept[key].forgotten_at(_rule(key)), reverse=True)
            kept = {key: kept[key] for key in longest_first[: MOST_COUNTS * 9 // 10]}
        self._counts = kept
        self._unsent = {key: number for key, number in self._unsent.items() if key in kept}


class Guesses:
    """What became of a guess, under a keyed digest; those not seen for longest are forgotten."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._seen: OrderedDict[bytes, LoginResult] = OrderedDict()

    def result_of(self, *guess: str) -> LoginResult | None:
        """Why this very guess was refused before; None where it was not."""
        digest = self._digest(guess)
        result = self._seen.get(digest)
        if result is not None:
            self._seen.move_to_end(digest)
        return result

    def refused(self, result: LoginResult, *guess: str) -> None:
        """Remember a refused guess."""
        self._seen[self._digest(guess)] = result
        if len(self._seen) > MOST_GUESSES:
            self._seen.popitem(last=False)

    def _digest(self, guess: Sequence[str]) -> bytes:
        text = "\0".join(guess).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256)[:16]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is counted under a key of `Throttle`, and how many seconds the next try has to wait for it."""

    key: str
    failures: float
    seconds: float


def find_waiting(pairs: Sequence[tuple[str, str]], now: float | None = None) -> list[Waiting]:
    """What makes tries of these logins from these addresses wait, the longest wait first; empty where nothing does."""
    moment = time.time() if now is None else now
    throttles = throttles_now()
    places = [throttles.place(address, login) for login, address in pairs]
    keys = {key for place in places for key in (place.own, *place.others)}
    counts = _counts(Throttle.objects.filter(key__in=keys)) if keys else ()
    found = [Waiting(key, count.after(_rule(key), moment), count.seconds(_rule(key), moment)) for key, count in counts]
    return sorted((each for each in found if each.seconds > 0), key=lambda each: -each.seconds)


def throttles_now() -> Throttles:
    """For a process without a door: they know where tries count, and not what was counted."""
    return Throttles(default_domain=find_default_domain())


def count_failure(place: Place) -> None:
    """Count a failure in the database, from where all processes learn of it within seconds."""
    _add(dict.fromkeys(sorted((place.own, *place.others)), 1), time.time())


def forgive(keys: Sequence[str]) -> int:
    """Forget these failures, in all processes within seconds; answers how many counts there were."""
    now = timezone.now()
    return Throttle.objects.filter(key__in=keys).update(failures=0, failed_at=now, forgotten_at=now, changed_at=Now())


def prune(now: float | None = None) -> int:
    """Delete what is forgotten, and what soon will be where there are too many rows; answers how many."""
    moment = timezone.now() if now is None else datetime.fromtimestamp(now, UTC)
    rows = Throttle.objects.order_by("forgotten_at")
    deleted = delete_rows(rows.filter(forgotten_at__lte=moment))
    return deleted + delete_rows(rows, most=Throttle.objects.count() - MOST_ROWS)


def _rule(key: str) -> Rule:
    login, _, network = key.rpartition("|")
    if login:
        return RULES["login here"] if network else RULES["login"]
    return RULES["address"] if network.endswith(("/32", "/64")) else RULES["range"]


def _find_place(address: str, login: str, default_domain: str) -> Place:
    name = kept_login(full_login(login, default_domain))
    narrow, wide = narrow_and_wide(address)
    # No login, as with a token that says itself whose it is, is nobody's whom others could attack.
    others = [f"{name}|"] if name else []
    if narrow and not any(lies_in(address, network) for network in settings.THROTTLE_EXEMPT_NETWORKS):
        others += [f"|{narrow}", f"|{wide}"]
    return Place(name, narrow, f"{name or '-'}|{narrow or '-'}", tuple(others))


def _exchange(failed: Mapping[str, int], now: float, window: float | None) -> list[tuple[str, Count]]:
    """Add these failures, then read what changed within `window` seconds; None: all that counts."""
    keys = sorted(failed)
    for start in range(0, len(keys), _AT_ONCE):
        _add({key: failed[key] for key in keys[start : start + _AT_ONCE]}, now)
    rows = Throttle.objects.order_by("-forgotten_at")
    if window is None:
        rows = rows.filter(forgotten_at__gt=datetime.fromtimestamp(now, UTC))
    else:
        rows = rows.filter(changed_at__gt=Now() - timedelta(seconds=window))
    return list(_counts(rows[:MOST_COUNTS]))


@transaction.atomic
def _add(failed: Mapping[str, int], now: float) -> None:
    """Add to the rows of these keys, which are in ascending order: so no two transactions wait in a circle."""
    Throttle.objects.bulk_create((_row(key, Count(0.0, now)) for key in failed), ignore_conflicts=True)
    locked = Throttle.objects.select_for_update().filter(key__in=list(failed)).order_by("key")
    counts = ((key, count.plus(failed[key], _rule(key), now)) for key, count in _counts(locked))
    Throttle.objects.bulk_create(
        [_row(key, count) for key, count in counts],
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=["failures", "failed_at", "forgotten_at", "changed_at"],
    )


def _counts(rows: QuerySet[Throttle]) -> Iterator[tuple[str, Count]]:
    for key, failures, failed_at in rows.values_list("key", "failures", "failed_at"):
        yield key, Count(failures, failed_at.timestamp())


def _row(key: str, count: Count) -> Throttle:
    failed_at, forgotten_at = (
        datetime.fromtimestamp(seconds, UTC) for seconds in (count.at, count.forgotten_at(_rule(key)))
    )
    return Throttle(key=key, failures=count.failures, failed_at=failed_at, forgotten_at=forgotten_at)
