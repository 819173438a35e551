"""Which processors of the machine run what: a server here, the load generator there."""

import contextlib
import os
from collections.abc import Collection, Iterator

#: Those that this process may use, as it was started.
ALL = sorted(os.sched_getaffinity(0))


def for_load(servers: int = 1) -> list[int]:
    """The processors beside those of a server on so many; the last one where there are no others."""
    return ALL[servers:] or ALL[-1:]


@contextlib.contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """What this process starts within the block runs on these processors, and so does it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
