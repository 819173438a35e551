"""Which POP3 workers live: a row each, kept fresh by a heartbeat, by which maildrop locks are judged.

A lock is in force as long as its worker's row is there and fresh by the database's clock, the one clock all hosts
share. A worker that ends as it should deletes its row. One that is killed leaves it to the next worker of the same
arbiter, which starts at once and clears it away; where the arbiter died too, the row goes stale.
"""

import os
import socket
import uuid
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
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
    rows = Worker.objects.filter(pk__in=set(workers), beat_at__gte=Now() - _dead_after())
    alive = {worker for worker, host, pid in rows.values_list("id", "host", "pid") if not _is_gone(host, pid)}
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
