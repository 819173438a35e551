"""importmail from a POP3 account: unique-ids are kept, nothing is fetched twice, and nothing is deleted there."""

import errno
import io

import pytest
from django.core.management import CommandError, call_command

from accounts.lookup import FoundMailbox
from mailstore.delivery import Body
from mailstore.models import Message
from mailstore.rows import live_messages
from tests.mailstore.mailboxes import stored
from tests.mailstore.pop3_server import DROP, ScriptedPop3

pytestmark = pytest.mark.django_db

ADDRESS = "jules@maison.mrs"
MESSAGES = [(b"u%d" % number, b"Subject: %d\r\n\r\n.x\r\n" % number) for number in range(1, 5)]


def server(**script: object) -> ScriptedPop3:
    return ScriptedPop3(list(MESSAGES), {"STLS": b"-ERR no\r\n", **script})


class Run:
    """One run of the command: what it printed, and the error it ended with."""

    def __init__(self, *arguments: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.error = ""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.StringIO("secret\n"))
            try:
                call_command("importmail", ADDRESS, *arguments, "--password-stdin", stdout=out, stderr=err)
            except CommandError as error:
                self.error = str(error)
        self.printed, self.said = out.getvalue(), err.getvalue().splitlines()


def url(other: ScriptedPop3) -> str:
    return f"pop3://charles@127.0.0.1:{other.port}"


def unique_ids(mailbox: FoundMailbox) -> list[str]:
    return list(live_messages(mailbox.id).order_by("uid").values_list("unique_id", flat=True))


def test_messages_keep_their_unique_ids_their_order_and_their_octets(mailbox: FoundMailbox) -> None:
    with server().serving() as other:
        assert Run(url(other), "--keep-uidls").printed == f"{ADDRESS}: 4 messages imported\n"
        assert other.commands[-1] == "QUIT"
        assert other.said("DELE") == []
        other.messages.append((b"u5", MESSAGES[0][1]))  # new mail, equal to another
        run = Run(url(other), "--keep-uidls")
    assert run.printed == f"{ADDRESS}: 1 message imported, 4 skipped as duplicates\n"
    assert unique_ids(mailbox) == ["u1", "u2", "u3", "u4", "u5"]
    assert [stored(mailbox.id, uid) for uid in (1, 5)] == [b"Subject: 1\r\n\r\n..x\r\n"] * 2
    assert other.said("RETR") == ["1", "2", "3", "4", "5"]


def test_what_the_owner_has_deleted_since_does_not_come_back(mailbox: FoundMailbox) -> None:
    with server().serving() as other:
        Run(url(other), "--keep-uidls")
        Message.objects.filter(uid=2).update(deleted_at="2026-01-01T00:00:00Z")
        assert Run(url(other), "--keep-uidls").printed.startswith(f"{ADDRESS}: 0 messages imported, 4 skipped")


def test_an_import_that_was_broken_off_takes_up_where_it_stopped(mailbox: FoundMailbox) -> None:
    with server(RETR=lambda n: DROP if n == "3" else None).serving() as other:
        run = Run(url(other), "--keep-uidls")
        assert run.error == (
            "charles at 127.0.0.1: the server closed the connection; 2 messages imported so far; run it again to go on"
        )
        assert unique_ids(mailbox) == ["u1", "u2"]
        del other.script["RETR"]
        assert Run(url(other), "--keep-uidls").error == ""
    assert unique_ids(mailbox) == ["u1", "u2", "u3", "u4"]
    assert other.said("RETR") == ["1", "2", "3", "3", "4"]


def test_a_disk_that_is_full_breaks_it_off(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the message is unread: nothing else can be asked of the server."""
    write = Body.write

    def write_two(body: Body, chunk: bytes) -> None:
        if b"Subject: 3" in chunk:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(body, chunk)

    monkeypatch.setattr(Body, "write", write_two)
    with server().serving() as other:
        run = Run(url(other), "--keep-uidls")
    assert run.error.endswith(": No space left on device; 2 messages imported so far; run it again to go on")
    assert unique_ids(mailbox) == ["u1", "u2"]


def test_without_them_the_messages_have_new_ones(mailbox: FoundMailbox) -> None:
    with server(RETR=lambda n: DROP if n == "3" else None).serving() as other:
        assert "run it again with --skip-duplicates to go on" in Run(url(other)).error
        del other.script["RETR"]
        run = Run(url(other), "--skip-duplicates")
    assert run.printed == f"{ADDRESS}: 2 messages imported, 2 skipped as duplicates\n"
    assert unique_ids(mailbox) == [""] * 4


def test_what_cannot_be_had_or_kept_is_said_and_the_rest_comes_once(mailbox: FoundMailbox) -> None:
    with server(RETR=lambda n: b"-ERR broken\r\n" if n == "2" else None).serving() as other:
        other.messages[2:] = [(b"x" * 71, MESSAGES[2][1]), (b"u4", b"")]
        for _ in range(2):
            run = Run(url(other), "--keep-uidls")
            assert run.said == [
                "message 3: its unique-id is not kept: it is not as RFC 1939 has it",
                "message 2: the server said “broken”; skipped",
                "message 4: is empty; skipped",
            ]
            assert run.error == "2 could not be imported"
    assert unique_ids(mailbox) == ["u1", ""]


def test_a_login_that_is_refused(mailbox: FoundMailbox) -> None:
    with server(PASS=b"-ERR no\r\n").serving() as other:
        error = Run(url(other), "--keep-uidls").error
    assert error == "charles at 127.0.0.1: the login: the server said “no”; nothing was imported"
    assert "secret" not in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.mbox", "--keep-uidls"], "files have no unique-ids"),
        (["pop3://a@b", "x.mbox"], "by itself"),
        (["pop3://b"], "LOGIN@HOST"),
        (["pop3://a:secret@b"], "command line"),
    ],
)
def test_what_does_not_go_together(mailbox: FoundMailbox, arguments: list[str], words: str) -> None:
    assert words in Run(*arguments).error
