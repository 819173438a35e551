"""Which POP3 workers live: a row each, kept fresh by a heartbeat, by which maildrop locks are judged.

A lock is in force as long as its worker's row is there and fresh by the database's clock, the one clock all hosts
share. A worker that ends as it should deletes its row. One that is killed leaves it to the next worker of the same
arbiter, which starts at once and clears it away; where the arbiter died too, the row goes stale. So do all of them
while the database is away: who would take a lock for that reason has a Pulse to know it by.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from pop3service.models import Worker

#: Seconds between heartbeats; several fit into POP3_WORKER_DEAD_SECONDS.
BEAT_SECONDS = 2.0
#: After this time the row of a worker that nobody cleared away is deleted.
FORGET_AFTER = timedelta(days=1)


def register(*, worker: uuid.UUID, arbiter: uuid.UUID) -> None:
    """Begin to live: clear away what dead siblings left, then make the row that locks will name."""
    _clear_dead_siblings(arbiter)
    Worker.objects.filter(beat_at__lt=Now() - FORGET_AFTER).delete()
    _create(worker, arbiter)


def beat(*, worker: uuid.UUID, arbiter: uuid.UUID) -> None:
    """Stay alive. A row that was cleared away, since this process hung for long, is made again: locks that were
    taken meanwhile stay taken, since they name another session now."""
    if not Worker.objects.filter(pk=worker).update(beat_at=Now()):
        _create(worker, arbiter)


def retire(*, worker: uuid.UUID) -> None:
    """End as planned, with every lock freed before."""
    Worker.objects.filter(pk=worker).delete()


def are_dead(workers: Sequence[uuid.UUID]) -> list[bool]:
    """For each worker whether its locks are void. Made for `bridge.gather`."""
    return _are_not_in(Worker.objects.filter(beat_at__gte=Now() - _dead_after()), workers)


def are_gone(workers: Sequence[uuid.UUID]) -> list[bool]:
    """The same, but silence is no sign of death. Made for `bridge.gather`."""
    return _are_not_in(Worker.objects.all(), workers)


class Pulse:
    """How the heartbeats of one worker go: while the database is away from it, it may be from the others too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = self._last = clock()

    def went_through(self) -> None:
        """A heartbeat was written just now."""
        now = self._clock()
        if self._has_paused(now):
            self._since = now
        self._last = now

    def is_steady(self) -> bool:
        """Whether the database has been there for so long that a worker which lives has beaten: silence is death."""
        now = self._clock()
        return not self._has_paused(now) and now - self._since >= _dead_after().total_seconds()

    def _has_paused(self, now: float) -> bool:
        """Well before others' rows are stale: theirs may have been older when the database went."""
        return now - self._last > _dead_after().total_seconds() / 2


def _are_not_in(living: QuerySet[Worker], workers: Sequence[uuid.UUID]) -> list[bool]:
    rows = living.filter(pk__in=set(workers)).values_list("id", "host", "pid")
    alive = {worker for worker, host, pid in rows if not _is_gone(host, pid)}
    return [worker not in alive for worker in workers]


def _create(worker: uuid.UUID, arbiter: uuid.UUID) -> None:
    Worker.objects.create(id=worker, arbiter=arbiter, host=_place(), pid=os.getpid())


def _clear_dead_siblings(arbiter: uuid.UUID) -> None:
    siblings = Worker.objects.filter(arbiter=arbiter).values_list("id", "host", "pid")
    # A row with this process's own number is of a predecessor: this worker has none yet.
    dead = [worker for worker, host, pid in siblings if pid == os.getpid() or _is_gone(host, pid)]
    Worker.objects.filter(pk__in=dead).delete()


def _dead_after() -> timedelta:
    return timedelta(seconds=settings.POP3_WORKER_DEAD_SECONDS)


def _place() -> str:
    """Where a process number means something: the host and, in containers that share its name, the namespace."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()[:200]} {namespace}".strip()


def _is_gone(host: str, pid: int) -> bool:
    """Whether the process is known to be no more; of other hosts nothing is known."""
    if host != _place():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
