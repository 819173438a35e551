"""How much processor time servers use: what their speed is worth where other work takes part of the core."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds_used(roots: list[int]) -> float:
    """Processor time of these processes and all below them, of those that have ended too."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        process = int(file.parent.name)
        parents[process] = int(fields[1])
        # utime, stime, and those of children that were waited for (proc_pid_stat(5), 14 to 17)
        seconds[process] = sum(map(int, fields[11:15])) / _TICKS
    return sum(used for process, used in seconds.items() if _below(process, roots, parents))


def _below(process: int, roots: list[int], parents: dict[int, int]) -> bool:
    while process and process not in roots:
        process = parents.get(process, 0)
    return bool(process)
