"""How much processor time servers use: what their speed is worth where other work takes part of the core."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds_used(roots: Iterable[int]) -> float:
    """Processor time of these processes and all below them, of those that have ended too."""
    # utime, stime, and those of children that were waited for (proc_pid_stat(5), 14 to 17)
    return sum(sum(map(int, fields[11:15])) / _TICKS for fields in all_below(roots).values())


def idle_seconds(core: int) -> float:
    """How long a processor has stood idle since the machine started, waiting for a disk included (proc(5))."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            return (int(ticks[3]) + int(ticks[4])) / _TICKS
    raise ValueError(f"there is no processor {core}")


def all_below(roots: Iterable[int]) -> dict[int, list[str]]:
    """These processes and all below them, with what /proc/PID/stat says behind their names."""
    found: dict[int, list[str]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(file.parent.name)] = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
    parents = {process: int(fields[1]) for process, fields in found.items()}
    wanted = set(roots)
    return {process: fields for process, fields in found.items() if _is_below(process, wanted, parents)}


def _is_below(process: int, roots: set[int], parents: dict[int, int]) -> bool:
    while process and process not in roots:
        process = parents.get(process, 0)
    return bool(process)
