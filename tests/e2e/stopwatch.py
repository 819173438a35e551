"""Time as it passes on a machine that has nothing else to do.

A limit in seconds is promised for such a machine, and tests share theirs with others. What the threads of the processes
in question waited for a processor, ready to run, is somebody else's time, and Linux says how much it was.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.e2e.database import query
from tests.e2e.running import Platform, Server


def seconds(work: Callable[[], object], processes: Iterable[int]) -> float:
    """How long it takes, without what it has to wait for a processor in this process and in those."""
    involved = [os.getpid(), *processes]
    waited, began = _waited(involved), time.perf_counter()
    work()
    return time.perf_counter() - began - (_waited(involved) - waited)


def involved(server: Server, platform: Platform) -> set[int]:
    """The server's workers, and the database's processes that work for them."""
    if not platform.database_url.startswith("postgres"):
        return server.workers()
    backends = query(platform, "SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    return server.workers() | {int(pid) for (pid,) in backends}


def _waited(processes: Iterable[int]) -> float:
    """Seconds that the threads of these processes were ready and another thread had the processor."""
    nanoseconds = 0
    for process in processes:
        with contextlib.suppress(FileNotFoundError):  # the process has ended
            for statistics in Path(f"/proc/{process}/task").glob("*/schedstat"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has
                    nanoseconds += int(statistics.read_text().split()[1])
    return nanoseconds / 1e9
