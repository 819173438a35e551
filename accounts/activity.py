"""Counts of what happens each day, for the admin's start page.

`count` adds in memory; `flush` writes what has gathered, one statement per name. Servers flush every few seconds, so
that no login or delivery waits for a row that every worker wants. What a killed process had not flushed is lost: these
are figures for a plot, nothing else reads them.
"""

import threading
from collections import Counter

from django.db.models import F
from django.utils import timezone

from accounts.models import DayCount

_lock = threading.Lock()
_gathered: Counter[str] = Counter()


def count(name: str, times: int = 1) -> None:
    """Add `times` to today's count of `name`: "logins" or "deliveries"."""
    with _lock:
        _gathered[name] += times


def flush() -> None:
    """Write what was counted since the last flush; on an error it stays for the next one."""
    with _lock:
        taken = dict(_gathered)
        _gathered.clear()
    today = timezone.localdate()
    try:
        for name, times in taken.items():
            DayCount.objects.bulk_create([DayCount(day=today, name=name)], ignore_conflicts=True)
            DayCount.objects.filter(day=today, name=name).update(times=F("times") + times)
    except Exception:
        with _lock:
            _gathered.update(taken)
        raise
