"""A record of every session that was logged in: gathered in memory, written in batches, pruned.

A poll that takes nothing and changes nothing costs no row of its own: those of one mailbox that are alike in all but
the moment are one record for an hour, which counts them. A session that did something is a record of its own, and so
is one that lasts, which is written while it is open, so that the admin sees who is behind a lock.

No QUIT waits for a record. What does not fit in memory while the database is slow or away is dropped, counted and said
in the log; what a killed process had not written is lost, at most a minute of counts and some seconds of sessions.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from django.conf import settings
from django.db import DataError, IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from accounts.addresses import kept_login
from accounts.callers import Caller
from accounts.pruning import delete_rows
from mailplatform.bridge import Bridge
from mailstore.maildrop import Opened
from pop3service.models import SessionRecord
from pop3service.states import Ending, Tally

logger = logging.getLogger(__name__)

#: Seconds for which idle polls that are alike go to one record.
TOGETHER_SECONDS = 3600.0
#: Seconds between two writings: of records in general, and of one to which only further polls were added.
FLUSH_SECONDS = 2.0
COUNTED_SECONDS = 60.0
#: A session that has been open for so many seconds is written before its end.
LASTS_SECONDS = 4.0
#: Seconds between two prunings.
PRUNE_SECONDS = 600.0
#: Records that wait to be written, and those that take further polls.
MOST_WAITING = 20_000
MOST_COUNTING = 20_000
#: Rows of one statement and transaction.
_AT_ONCE = 200

#: What a record that was written before is brought up to date with.
_CHANGES = (
    "serial", "ended_at", "times", "retrieved", "retrieved_octets", "topped", "topped_octets", "deleted", "left",
    "ending",
)  # fmt: skip
_NOTHING = Tally()


class Entry:
    """A session, or several polls, as the record will say it."""

    __slots__ = (
        "app_password", "began", "caller", "counted", "deleted", "ended", "ending", "login", "mailbox_id", "messages",
        "pk", "serial", "tally", "times", "was_shown",
    )  # fmt: skip

    def __init__(self, opened: Opened, caller: Caller, login: str, app_password: str, now: float) -> None:
        self.mailbox_id = opened.mailbox_id
        self.serial = opened.lock.serial
        self.messages = opened.message_count
        self.caller = caller
        self.login = login
        self.app_password = app_password
        self.began = self.ended = self.counted = now
        self.times = 1
        self.ending: Ending | None = None
        self.tally = _NOTHING
        self.deleted = 0
        self.pk: int | None = None
        self.was_shown = False  # it has a row, or is about to get one, from before its end


class Sessions:
    """The sessions of one process. Used from its event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: Open sessions that have no row yet, oldest first.
        self._open: dict[Entry, None] = {}
        #: Polls that take further ones, oldest first.
        self._counting: OrderedDict[tuple[object, ...], Entry] = OrderedDict()
        #: What is to be written next, and what has time.
        self._waiting: dict[Entry, None] = {}
        self._counted: dict[Entry, None] = {}
        self._dropped = 0

    def begin(self, opened: Opened, caller: Caller, login: str, app_password: str = "") -> Entry:
        """A session is logged in; `end` follows."""
        entry = Entry(opened, caller, login, app_password, self._clock())
        self._open[entry] = None
        return entry

    def end(self, entry: Entry, ending: Ending, tally: Tally, deleted: int = 0) -> None:
        """It has ended, so many messages deleted; `tally` is what it sent."""
        self._open.pop(entry, None)
        entry.ended = now = self._clock()
        entry.ending = ending
        entry.tally = tally
        entry.deleted = deleted
        did_nothing = not (deleted or entry.tally.retrieved or entry.tally.topped)
        if not did_nothing or entry.was_shown or not self._count(entry, now):
            self._put(entry)

    def _count(self, poll: Entry, now: float) -> bool:
        """Add an idle poll to the record of those that are alike; False where it begins a new one."""
        caller = poll.caller
        key = (poll.mailbox_id, caller.address, caller.tls, poll.login, poll.app_password, poll.ending)
        kept = self._counting.get(key)
        if kept is not None and 0 <= now - kept.began < TOGETHER_SECONDS:
            kept.times += 1
            kept.ended = now
            kept.serial = poll.serial
            kept.messages = poll.messages
            if kept not in self._counted:
                kept.counted = now
                self._counted[kept] = None
            return True
        self._counting[key] = poll
        self._counting.move_to_end(key)
        if len(self._counting) > MOST_COUNTING:
            self._counting.popitem(last=False)
        return False

    def _put(self, entry: Entry) -> None:
        if len(self._waiting) < MOST_WAITING or entry.pk is not None:
            self._waiting[entry] = None
        else:
            self._dropped += 1

    async def flush(self, bridge: Bridge, *, everything: bool = False) -> None:
        """Write what is due, or every end and count. One at a time, and never cancelled; what fails waits on."""
        now = self._clock()
        self._close_old(now)
        if self._dropped:
            logger.warning("%d session records were dropped: more than could be written", self._dropped)
            self._dropped = 0
        while self._open and not 0 <= now - (entry := next(iter(self._open))).began < LASTS_SECONDS:
            del self._open[entry]
            entry.was_shown = True
            self._put(entry)
        while self._counted:
            entry = next(iter(self._counted))
            if not everything and 0 <= now - entry.counted < COUNTED_SECONDS:
                break
            del self._counted[entry]
            self._put(entry)
        while self._waiting:
            await self._write_some(bridge)

    async def _write_some(self, bridge: Bridge) -> None:
        taken = list(islice(self._waiting, _AT_ONCE))
        for entry in taken:
            del self._waiting[entry]
        try:
            pks = await bridge.run(_write, [_row(entry) for entry in taken])
        except (DataError, IntegrityError, ValueError, OverflowError):
            # Would fail for ever, and hold up all that come after.
            logger.exception("%d session records are not to be written and are dropped", len(taken))
            return
        except BaseException:
            self._waiting = dict.fromkeys([*taken, *self._waiting])
            raise
        for entry, pk in zip(taken, pks, strict=True):
            entry.pk = pk

    def _close_old(self, now: float) -> None:
        while self._counting:
            key, entry = next(iter(self._counting.items()))
            if 0 <= now - entry.began < TOGETHER_SECONDS:
                return
            del self._counting[key]


def prune() -> int:
    """Delete records that are too old or too many, so many at once; answers how many."""
    before = timezone.now() - timedelta(days=settings.SESSION_RECORD_DAYS)
    newest = SessionRecord.objects.aggregate(newest=Max("pk"))["newest"] or 0
    # Keys are given out in order: so many lie between the newest and the last one to stay, or fewer.
    too_many = SessionRecord.objects.filter(pk__lte=newest - settings.SESSION_RECORDS_MAX).order_by("pk")
    old = SessionRecord.objects.filter(began_at__lt=before).order_by("began_at")
    return delete_rows(old) + delete_rows(too_many)


@transaction.atomic
def _write(rows: Sequence[SessionRecord]) -> list[int]:
    """Insert what is new and bring the others up to date; answers the key of each."""
    known = [row for row in rows if row.pk is not None]
    SessionRecord.objects.bulk_create([row for row in rows if row.pk is None])
    SessionRecord.objects.bulk_create(known, update_conflicts=True, unique_fields=["id"], update_fields=_CHANGES)
    return [row.pk for row in rows]


def _row(entry: Entry) -> SessionRecord:
    caller, tally = entry.caller, entry.tally
    ended = entry.ending is not None
    return SessionRecord(
        pk=entry.pk,
        mailbox_id=entry.mailbox_id,
        serial=entry.serial,
        began_at=datetime.fromtimestamp(entry.began, UTC),
        ended_at=datetime.fromtimestamp(entry.ended, UTC) if ended else None,
        times=entry.times,
        login=kept_login(entry.login),
        app_password=entry.app_password,
        address=caller.address[:45],
        tls=caller.tls[:16],
        retrieved=tally.retrieved,
        retrieved_octets=tally.retrieved_octets,
        topped=tally.topped,
        topped_octets=tally.topped_octets,
        deleted=entry.deleted,
        left=max(0, entry.messages - entry.deleted),
        ending=entry.ending or "",
    )
