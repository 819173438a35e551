"""What a person who waits for a long command sees: a bar that moves, and what goes wrong at once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


class Stream(Protocol):
    """Where a command writes its errors: django.core.management.base.OutputWrapper, or a text file."""

    def isatty(self) -> bool: ...

    def write(self, text: str, /) -> object: ...


class Watch:
    """Progress in octets, and lines to read; the bar is drawn only where a person watches."""

    def __init__(
        self, stream: Stream, progress: Progress | None = None, title: str = "", total: int | None = None
    ) -> None:
        self._stream = stream
        self._progress = progress
        self._task = progress.add_task(title, total=total) if progress else None

    def advance(self, octets: int) -> None:
        """So many more octets are done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, octets)

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """`chunks`, each of which is progress."""
        for chunk in chunks:
            self.advance(len(chunk))
            yield chunk

    def say(self, line: str) -> None:
        """Write a line, above the bar where there is one."""
        if self._progress is not None:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(line + "\n")


@contextmanager
def watch(stream: Stream, title: str, *, total: int | None) -> Iterator[Watch]:
    """A `Watch` for the time of the block; `total` octets make the whole, None where that is not known."""
    if not stream.isatty():
        yield Watch(stream)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Watch(stream, progress, title, total)
