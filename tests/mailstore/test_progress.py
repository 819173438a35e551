"""A bar is drawn where a person watches, and nowhere else; what goes wrong is said in both."""

import io
from contextlib import redirect_stderr

import pytest

from mailstore.progress import watch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in {"TERM": "xterm", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


def test_where_nobody_watches_there_is_no_bar_and_lines_are_plain() -> None:
    stream = io.StringIO()
    with watch(stream, "Importing", total=10) as bar:
        bar.advance(5)
        bar.say("[red]one[/red].eml: is empty")
        assert list(bar.counted([b"x", b"yy"])) == [b"x", b"yy"]
    assert stream.getvalue() == "[red]one[/red].eml: is empty\n"


def test_a_person_sees_how_far_it_is(terminal: Terminal) -> None:
    with redirect_stderr(terminal), watch(terminal, "Importing", total=1_000_000) as bar:
        bar.advance(250_000)
        assert list(bar.counted([b"x" * 250_000])) == [b"x" * 250_000]
    assert "Importing" in terminal.getvalue()
    assert "0.5/1.0 MB" in terminal.getvalue()


def test_lines_stand_above_the_bar_as_they_are(terminal: Terminal) -> None:
    line = "[bold]" + "long " * 40 + "name.eml: is empty"
    with redirect_stderr(terminal), watch(terminal, "Importing", total=None) as bar:
        bar.say(line)
    assert line in terminal.getvalue()


def test_the_bar_is_gone_in_the_end_whatever_happens(terminal: Terminal) -> None:
    def fail() -> None:
        with watch(terminal, "Exporting", total=10) as bar:
            bar.advance(1)
            raise OSError("full")

    with redirect_stderr(terminal), pytest.raises(OSError, match="full"):
        fail()
    assert terminal.getvalue().endswith("\x1b[2K")  # the line it stood in is empty
    assert terminal.getvalue().count("\x1b[?25h") == 1  # and the cursor is seen again
