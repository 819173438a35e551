"""A record of every try to log in, over any protocol: gathered in memory, written in batches, pruned.

Tries that are alike in all but the moment are one record, which counts them: refused ones for a minute, so that a
client with an old password, or a guesser who repeats himself, is one row a minute and not thousands; others for an
hour, so that a client that polls costs next to nothing. Of those the first is written at once, and how many more came
once a minute. No login waits for a record: what does not fit in memory while the database is slow or away is dropped,
counted and said in the log; what a killed process had not written is lost.

Neither a record nor the log ever holds a password, a token, or a digest of one.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from accounts.addresses import kept_login
from accounts.callers import Caller
from accounts.models import LoginRecord, LoginResult
from accounts.pruning import delete_rows
from mailplatform.bridge import Bridge

logger = logging.getLogger(__name__)

#: Seconds for which tries that are alike go to one record: where they are refused, and where they are let in.
TOGETHER_SECONDS = {False: 60.0, True: 3600.0}
#: Seconds between two writings of how many more were let in, and how many records are brought up to date at once.
COUNTED_SECONDS = 60.0
MOST_COUNTED = 1000
#: Records that wait to be written, and how many of them may be of failures: a flood of guesses with ever new names
#: does not crowd out what the owners of mailboxes did.
MOST_WAITING = 5000
MOST_FAILURES_WAITING = 500
#: Records of either kind that take further tries; the oldest is closed before its time.
MOST_OPEN = 20_000
#: Rows of one statement: SQLite takes a bounded number of parameters.
_AT_ONCE = 500


class Attempt(NamedTuple):
    """One try. `milliseconds` from the moment the door was asked to its answer."""

    caller: Caller
    login: str
    mechanism: str
    result: LoginResult
    milliseconds: int
    mailbox_id: int | None = None
    app_password: str = ""


class _Entry:
    """A record in the making."""

    __slots__ = ("attempt", "began", "last", "pk", "times")

    def __init__(self, attempt: Attempt, now: float) -> None:
        self.attempt = attempt
        self.began = self.last = now
        self.times = 1
        self.pk: int | None = None


@dataclass(frozen=True, slots=True)
class _Written:
    """An entry as it is being written, while further tries may be added to it."""

    entry: _Entry
    times: int
    last: float


class Records:
    """What one process has to record. Used from its event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: Those that take further tries, oldest first: of refusals, and of admissions.
        self._open: dict[bool, OrderedDict[tuple[object, ...], _Entry]] = {False: OrderedDict(), True: OrderedDict()}
        #: Those that changed since they were written: what is to be written next, and what has time.
        self._waiting: dict[_Entry, None] = {}
        self._counted: dict[_Entry, None] = {}
        self._counted_at = clock()
        self._failures_waiting = 0
        self._dropped = 0

    def add(self, attempt: Attempt) -> None:
        """Record a try."""
        now = self._clock()
        key = attempt[:4] + attempt[5:]  # all but how long it took
        admitted = attempt.result is LoginResult.ADMITTED
        failed = not admitted
        alike = self._open[admitted]
        entry = alike.get(key)
        if entry is not None and now - entry.began < TOGETHER_SECONDS[admitted]:
            entry.times += 1
            entry.last = now
            if admitted and entry.pk is not None:
                self._counted[entry] = None
            else:
                self._waiting[entry] = None
            return
        if len(self._waiting) >= MOST_WAITING or (failed and self._failures_waiting >= MOST_FAILURES_WAITING):
            self._dropped += 1
            return
        entry = alike[key] = _Entry(attempt, now)
        alike.move_to_end(key)
        if len(alike) > MOST_OPEN:
            alike.popitem(last=False)
        self._waiting[entry] = None
        if failed:
            self._failures_waiting += 1
            _say(attempt)

    async def flush(self, bridge: Bridge, *, everything: bool = False) -> None:
        """Write what is due, or everything; where that fails it waits on. One at a time, and never cancelled."""
        self._close_old()
        if self._dropped:
            logger.warning("%d login records were dropped: more tries than could be written", self._dropped)
            self._dropped = 0
        taken = [_Written(entry, entry.times, entry.last) for entry in self._due(everything)]
        if not taken:
            return
        pks = await bridge.run(_write, taken)
        for written, pk in zip(taken, pks, strict=True):
            written.entry.pk = pk
            if written.entry.times == written.times:
                self._waiting.pop(written.entry, None)
                self._counted.pop(written.entry, None)
        self._failures_waiting = sum(
            e.pk is None and e.attempt.result is not LoginResult.ADMITTED for e in self._waiting
        )

    def _due(self, everything: bool) -> list[_Entry]:
        now = self._clock()
        counted = list(self._counted) if everything else []
        if not everything and not 0 <= now - self._counted_at < COUNTED_SECONDS:
            counted = list(islice(self._counted, MOST_COUNTED))
            if len(counted) == len(self._counted):
                self._counted_at = now
        return [*self._waiting, *(entry for entry in counted if entry not in self._waiting)]

    def _close_old(self) -> None:
        now = self._clock()
        for admitted, alike in self._open.items():
            while alike:
                key, entry = next(iter(alike.items()))
                if 0 <= now - entry.began < TOGETHER_SECONDS[admitted]:
                    break
                del alike[key]


def write_attempt(attempt: Attempt) -> None:
    """Write a try that is none of many, at once."""
    now = time.time()
    if attempt.result is not LoginResult.ADMITTED:
        _say(attempt)
    _write([_Written(_Entry(attempt, now), 1, now)])


def prune() -> int:
    """Delete records that are too old or too many, so many at once; answers how many."""
    before = timezone.now() - timedelta(days=settings.LOGIN_RECORD_DAYS)
    newest = LoginRecord.objects.aggregate(newest=Max("pk"))["newest"] or 0
    # Keys are given out in order: so many lie between the newest and the last one to stay, or fewer.
    too_many = LoginRecord.objects.filter(pk__lte=newest - settings.LOGIN_RECORDS_MAX).order_by("pk")
    return delete_rows(LoginRecord.objects.filter(at__lt=before).order_by("at")) + delete_rows(too_many)


@transaction.atomic
def _write(taken: Sequence[_Written]) -> list[int]:
    """Insert what is new and update what was written before; answers the key of each."""
    rows = [(written.entry, _row(written)) for written in taken]
    LoginRecord.objects.bulk_create([row for _, row in rows if row.pk is None], batch_size=_AT_ONCE)
    known = [row for entry, row in rows if entry.pk is not None]
    LoginRecord.objects.bulk_update(known, ["times", "last_at"], batch_size=_AT_ONCE)
    return [row.pk for _, row in rows]


def _row(written: _Written) -> LoginRecord:
    entry, attempt = written.entry, written.entry.attempt
    return LoginRecord(
        pk=entry.pk,
        at=datetime.fromtimestamp(entry.began, UTC),
        last_at=datetime.fromtimestamp(written.last, UTC),
        times=written.times,
        login=kept_login(attempt.login),
        mailbox_id=attempt.mailbox_id,
        protocol=attempt.caller.protocol,
        address=attempt.caller.address[:45],
        tls=attempt.caller.tls[:16],
        mechanism=kept_login(attempt.mechanism)[:20],
        result=attempt.result,
        milliseconds=attempt.milliseconds,
        app_password=attempt.app_password,
    )


def _say(attempt: Attempt) -> None:
    """One line for those who watch the log, such as fail2ban."""
    caller = attempt.caller
    login = ascii(kept_login(attempt.login))
    logger.info("login refused: %s from %s as %s: %s", caller.protocol, caller.address, login, attempt.result.value)
