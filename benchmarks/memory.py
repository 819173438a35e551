"""How much memory servers use: what processes share is counted once."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.processor import all_below


def used(roots: Sequence[int]) -> int:
    """Octets of memory of these processes and all below them (Pss: a page of two processes counts half for each)."""
    kibibytes = 0
    for process in all_below(roots):
        with suppress(OSError):  # ended meanwhile
            for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    kibibytes += int(line.split()[1])
    return kibibytes * 1024


@contextmanager
def highest(roots: Sequence[int]) -> Iterator[list[int]]:
    """What they used while the block ran, looked at fifty times a second."""
    seen, ended = [used(roots)], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            seen.append(used(roots))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
        seen.append(used(roots))
