"""importmail: what an operator types, and what it answers."""

import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from accounts.lookup import FoundMailbox
from mailstore import importing
from mailstore.browse import read_message
from mailstore.delivery import append_many
from mailstore.models import Message
from mailstore.rows import MailboxGoneError, live_messages
from tests.mailstore.mailboxes import assert_counters_fit, make_mailbox
from tests.messages import canonical

pytestmark = pytest.mark.django_db

ADDRESS = "jules@maison.mrs"
MESSAGE = b"Subject: one\n\nFrom now on\n.dot"
FROM_LINE = b"From jules@maison.mrs Thu Apr  3 15:45:22 2014\n"
MBOX = FROM_LINE + b"A: 1\n\n>From me\n\n" + FROM_LINE + b"A: 2\n\ntwo\n\n"


class Run:
    """One run of the command: what it printed, and the error it ended with."""

    def __init__(self, *arguments: str | Path, address: str = ADDRESS, stdin: bytes | None = None) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.error, self.code = "", 0
        with pytest.MonkeyPatch.context() as patch:
            if stdin is not None:
                patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
            try:
                call_command("importmail", address, *map(str, arguments), stdout=out, stderr=err)
            except CommandError as error:
                self.error, self.code = str(error), error.returncode
        self.printed, self.said = out.getvalue(), err.getvalue().splitlines()


def put(path: Path, octets: bytes = MESSAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    return path


def contents(mailbox: FoundMailbox) -> list[bytes]:
    """The messages as a client sees them, dots unstuffed."""
    uids = live_messages(mailbox.id).order_by("uid").values_list("uid", flat=True)
    return [b"".join(read_message(mailbox.id, uid)) for uid in uids]


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Two messages that are to be had, and what is to be left alone."""
    put(tmp_path / "Maildir/new/1700000002.b", b"two\n\n")
    put(tmp_path / "Maildir/cur/1700000001.a:2,S", b"one\n\n")
    put(tmp_path / "Maildir/tmp/1700000003.c", b"half")
    return tmp_path / "Maildir"


class TestWhatIsTaken:
    def test_files_of_every_kind_in_the_order_they_are_named(
        self, mailbox: FoundMailbox, tmp_path: Path, maildir: Path
    ) -> None:
        run = Run(put(tmp_path / "one.eml"), maildir, put(tmp_path / "all.mbox", MBOX))
        assert (run.printed, run.said, run.code) == (f"{ADDRESS}: 5 messages imported\n", [], 0)
        expected = [MESSAGE, b"one\n\n", b"two\n\n", b"A: 1\n\nFrom me\n", b"A: 2\n\ntwo\n"]
        assert contents(mailbox) == [canonical(message) for message in expected]
        assert_counters_fit(mailbox.id)

    def test_one_message_on_standard_input(self, mailbox: FoundMailbox) -> None:
        run = Run("-", stdin=MESSAGE)
        assert (run.printed, run.code) == (f"{ADDRESS}: 1 message imported\n", 0)
        assert contents(mailbox) == [canonical(MESSAGE)]

    def test_mboxo_where_it_is_said_to_be_one(self, mailbox: FoundMailbox, tmp_path: Path) -> None:
        path = put(tmp_path / "all", FROM_LINE + b"A: 1\n\n>From a\n>>From b\n\n")
        Run(path)
        Run(path, "--mbox-format", "mboxo")
        assert contents(mailbox) == [b"A: 1\r\n\r\nFrom a\r\n>From b\r\n", b"A: 1\r\n\r\nFrom a\r\n>>From b\r\n"]

    def test_the_moment_of_receipt_is_that_of_its_place(
        self, mailbox: FoundMailbox, tmp_path: Path, maildir: Path
    ) -> None:
        dated = put(tmp_path / "one.eml", b"Date: Tue, 03 Nov 2026 03:00:00 +0000\n\n")
        Run(maildir, put(tmp_path / "all.mbox", MBOX), dated)
        moments = live_messages(mailbox.id).order_by("uid").values_list("received_at", flat=True)
        assert [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in moments] == [
            "2023-11-14 22:13:21", "2023-11-14 22:13:22", "2014-04-03 15:45:22", "2014-04-03 15:45:22",
            "2026-11-03 03:00:00",
        ]  # fmt: skip

    def test_the_same_twice_is_the_operators_choice(self, mailbox: FoundMailbox, tmp_path: Path, maildir: Path) -> None:
        paths = [maildir, put(tmp_path / "all.mbox", MBOX)]
        Run(*paths)
        assert Run(*paths, "--skip-duplicates").printed == f"{ADDRESS}: 0 messages imported, 4 skipped as duplicates\n"
        assert len(contents(mailbox)) == 4
        Run(*paths)
        assert len(contents(mailbox)) == 8

    def test_an_address_in_any_case(self, mailbox: FoundMailbox, tmp_path: Path) -> None:
        assert Run(put(tmp_path / "one.eml"), address="JULES@Maison.MRS").code == 0


class TestWhatIsNot:
    def test_a_bad_file_is_named_and_skipped_and_the_exit_code_says_so(
        self, mailbox: FoundMailbox, tmp_path: Path, maildir: Path
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to("nowhere")
        (maildir / "new" / "1700000000.link").symlink_to(put(tmp_path / "secret"))
        bad = [
            tmp_path / "missing", tmp_path / "folder", tmp_path / "link", put(tmp_path / "empty.eml", b""),
            put(tmp_path / "picture", b"\x89PNG\r\n\x1a\n"), put(tmp_path / "broken.mbox", b"A: 1\n\n"),
        ]  # fmt: skip
        good = put(tmp_path / "one.eml")
        run = Run(*bad, maildir, good)
        assert run.said == [
            f"{tmp_path}/missing: No such file or directory; skipped",
            f"{tmp_path}/folder: a folder without new and cur is no Maildir: name the files in it; skipped",
            f"{tmp_path}/link: No such file or directory; skipped",
            f"{tmp_path}/empty.eml: is empty; skipped",
            f"{tmp_path}/picture: neither a message, nor an mbox, nor a Maildir; skipped",
            f"{tmp_path}/broken.mbox: does not begin with a From_ line; skipped",
            f"{maildir}/new/1700000000.link: is a symbolic link, which is not followed; skipped",
        ]
        assert run.printed == f"{ADDRESS}: 3 messages imported\n"
        assert (run.error, run.code) == ("7 could not be imported", 1)
        assert contents(mailbox) == [b"one\r\n\r\n", b"two\r\n\r\n", canonical(MESSAGE)]

    def test_names_cannot_play_with_the_terminal(self, mailbox: FoundMailbox, maildir: Path) -> None:
        (maildir / "new" / "1700000000.\x1b[2Jx").symlink_to("nowhere")
        assert Run(maildir).said == [
            f"{maildir}/new/1700000000.�[2Jx: is a symbolic link, which is not followed; skipped"
        ]

    def test_an_empty_message_on_standard_input(self, mailbox: FoundMailbox) -> None:
        run = Run("-", stdin=b"")
        assert (run.said, run.code) == (["standard input: is empty; skipped"], 1)

    def test_an_mbox_on_standard_input(self, mailbox: FoundMailbox) -> None:
        run = Run("-", stdin=MBOX)
        assert (run.said, run.code) == (
            ["standard input: is an mbox, and not one message: name its file; skipped"],
            1,
        )
        assert contents(mailbox) == []

    def test_standard_input_twice(self, mailbox: FoundMailbox) -> None:
        assert Run("-", "-", stdin=MESSAGE).error == "standard input is one message: name it once"

    def test_a_source_without_messages_is_said_and_is_no_failure(self, mailbox: FoundMailbox, tmp_path: Path) -> None:
        (tmp_path / "Maildir/cur").mkdir(parents=True)
        run = Run(tmp_path / "Maildir", put(tmp_path / "spool", b""))
        assert run.said == [
            f"{tmp_path}/Maildir: there is no message in it",
            f"{tmp_path}/spool: there is no message in it",
        ]
        assert run.code == 0

    def test_folders_in_a_maildir_are_not_forgotten_in_silence(self, mailbox: FoundMailbox, maildir: Path) -> None:
        put(maildir / ".Sent/cur/1700000009.s:2,S")
        run = Run(maildir)
        assert run.said == [f"{maildir}: not imported are the folders in it, to be named one by one: .Sent"]
        assert (len(contents(mailbox)), run.code) == (2, 0)
        Run(maildir / ".Sent")
        assert len(contents(mailbox)) == 3

    @pytest.mark.parametrize("address", ["alfred@maison.mrs", "jules", "jules@example.org", ""])
    def test_an_unknown_mailbox_with_what_helps(self, mailbox: FoundMailbox, tmp_path: Path, address: str) -> None:
        run = Run(put(tmp_path / "one.eml"), address=address)
        assert run.error == f"no such mailbox: {address}; add it with addaccount, or in admin"
        assert Message.objects.count() == 0


class TestQuota:
    def test_imported_mail_is_stored_beyond_it_and_the_operator_is_told(self, tmp_path: Path) -> None:
        small = make_mailbox("alfred", quota_messages=2)
        paths = [put(tmp_path / f"{number}.eml") for number in range(3)]
        run = Run(paths[0], address="alfred@maison.mrs")
        assert run.said == []
        run = Run(*paths[1:], address="alfred@maison.mrs")
        assert run.said == [
            "alfred@maison.mrs has no room left in its quota: it takes no more mail until that is changed"
        ]
        assert (len(contents(small)), run.code) == (3, 0)


class TestWhatBreaksOff:
    @pytest.fixture
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        monkeypatch.setattr(importing, "_BATCH_MESSAGES", 2)
        return [put(tmp_path / f"{number}.eml", b"A: %d\r\n\r\n" % number) for number in range(5)]

    @pytest.mark.parametrize(
        ("error", "said", "code"),
        [
            (KeyboardInterrupt(), "interrupted; 2 messages imported so far; run it again with --skip-duplicates", 130),
            (DatabaseError("away"), "the database failed: away; 2 messages imported so far; run it again", 1),
            (MailboxGoneError(1), f"{ADDRESS} was removed", 1),
        ],
    )
    def test_leaves_whole_messages_and_says_how_to_go_on(
        self,
        mailbox: FoundMailbox,
        files: list[Path],
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        said: str,
        code: int,
    ) -> None:
        calls = iter([None, error])

        def append_then_fail(**kwargs: object) -> list[int]:
            if (failure := next(calls)) is not None:
                raise failure
            return append_many(**kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(importing, "append_many", append_then_fail)
            run = Run(*files)
        assert run.error.startswith(said)
        assert (run.code, run.printed) == (code, "")
        assert_counters_fit(mailbox.id)
        assert len(contents(mailbox)) == 2
        assert Run(*files, "--skip-duplicates").printed.endswith("3 messages imported, 2 skipped as duplicates\n")
        assert contents(mailbox) == [path.read_bytes() for path in files]


def test_a_file_that_may_not_be_read_is_named(mailbox: FoundMailbox, tmp_path: Path) -> None:
    path = put(tmp_path / "closed.eml")
    path.chmod(0)
    uid = os.geteuid()
    if uid == 0:  # root reads everything: the test is somebody else for a moment
        tmp_path.chmod(0o777)
        os.seteuid(65534)
    try:
        run = Run(path)
    finally:
        os.seteuid(uid)
    assert run.said == [f"{path}: Permission denied; skipped"]
    assert run.code == 1
