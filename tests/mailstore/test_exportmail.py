"""exportmail: what an operator types, and what it answers."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.lookup import FoundMailbox
from mailstore.management.commands import exportmail
from mailstore.models import Content
from tests.mailstore.mailboxes import fill

pytestmark = pytest.mark.django_db

ADDRESS = "jules@maison.mrs"


def run(out: Path, how: str = "mbox", address: str = ADDRESS) -> str:
    printed = io.StringIO()
    call_command("exportmail", address, "--format", how, str(out), stdout=printed, stderr=io.StringIO())
    return printed.getvalue()


def test_both_formats_with_a_count_at_the_end(mailbox: FoundMailbox, tmp_path: Path) -> None:
    fill(mailbox.id, b"one")
    assert run(tmp_path / "out.mbox") == f"{ADDRESS}: 1 message exported to {tmp_path}/out.mbox\n"
    fill(mailbox.id, b"two")
    assert run(tmp_path / "out", "maildir", "Jules@MAISON.mrs") == f"{ADDRESS}: 2 messages exported to {tmp_path}/out\n"
    assert (tmp_path / "out.mbox").read_bytes().startswith(b"From ")
    assert len(list((tmp_path / "out" / "new").iterdir())) == 2


def test_a_format_has_to_be_named(mailbox: FoundMailbox, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--format"):
        call_command("exportmail", ADDRESS, str(tmp_path / "out"))
    with pytest.raises(CommandError, match="choose from 'mbox', 'maildir'"):
        run(tmp_path / "out", "zip")


def test_an_unknown_mailbox_is_named(mailbox: FoundMailbox, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"^no such mailbox: nobody@maison\.mrs$"):
        run(tmp_path / "out", address="nobody@maison.mrs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("there", "there: exists already: name another; nothing was written"),
        ("missing/out", "missing/out: No such file or directory; nothing was written"),
    ],
)
def test_a_place_that_will_not_do_is_named(mailbox: FoundMailbox, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "there").write_bytes(b"precious")
    with pytest.raises(CommandError) as raised:
        run(tmp_path / name)
    assert str(raised.value) == f"{tmp_path}/{said}"
    assert (tmp_path / "there").read_bytes() == b"precious"


def test_content_that_is_missing_is_said(mailbox: FoundMailbox, tmp_path: Path) -> None:
    fill(mailbox.id, b"one")
    Content.objects.filter(mailbox_id=mailbox.id).delete()
    with pytest.raises(CommandError, match="content of message 1 is missing; nothing was written"):
        run(tmp_path / "out")


def test_an_interrupt_has_the_exit_code_of_one(
    mailbox: FoundMailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(**_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(exportmail._FORMATS, "mbox", interrupt)
    with pytest.raises(CommandError, match="interrupted; nothing was written") as raised:
        run(tmp_path / "out")
    assert raised.value.returncode == 130
