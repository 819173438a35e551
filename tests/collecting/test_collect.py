"""The command `collect`."""

import io
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from collecting.claims import claim_one
from collecting.models import Source
from collecting.passwords import decrypt
from tests.collecting.sources import collected, make_source
from tests.mailstore.pop3_server import ScriptedPop3

MESSAGE = b"Subject: x\r\n\r\nx\r\n"


def said(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("collect", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_all_accounts_of_a_mailbox_now(mailbox: FoundMailbox) -> None:
    with ScriptedPop3([(b"a", MESSAGE)]).serving() as other:
        make_source(mailbox, other)
        assert said("charles@maison.mrs") == ("charles at 127.0.0.1: 1 collected\n", "")
        assert collected(mailbox) == [MESSAGE]
        broken = make_source(mailbox, ScriptedPop3(port=1))
        with pytest.raises(CommandError, match="1 of 2 failed"):
            said("charles@maison.mrs")
        assert claim_one(broken.pk, uuid4(), timezone.now())
        with pytest.raises(CommandError, match="1 of 2 failed"):
            said("charles@maison.mrs")


def test_an_account_is_added(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "pop3://charles%40x@pop.example.org"
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n" * 2))
    arguments = ("charles@maison.mrs", "--from", url, "--password-stdin", "--delete", "--every", "5")
    assert said(*arguments) == ("charles@maison.mrs collects from charles@x at pop.example.org\n", "")
    source = Source.objects.get()
    assert (source.port, source.tls, source.keep, source.interval_minutes) == (110, "stls", False, 5)
    assert decrypt(source) == "secret"
    with pytest.raises(CommandError, match="already"):
        said(*arguments)
    with pytest.raises(CommandError, match="LOGIN@HOST"):
        said("charles@maison.mrs", "--from", "pop3s://x")


def test_a_password_that_is_none(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("charles@maison.mrs", "--from", "pop3://a@b", "--password-stdin")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(CommandError, match="empty"):
        said(*arguments)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    with pytest.raises(CommandError, match="UTF-8"):
        said(*arguments)
    for error, words in ((EOFError, "pipe it in"), (KeyboardInterrupt, "interrupted")):

        def ask(prompt: str, error: type[BaseException] = error) -> str:
            assert prompt == "Password of a at b: "
            raise error

        monkeypatch.setattr("getpass.getpass", ask)
        with pytest.raises(CommandError, match=words):
            said(*arguments[:-1])


def test_what_there_is_not(mailbox: FoundMailbox) -> None:
    for arguments, words in (([], "name a mailbox"), (["x@y.z"], "no such"), (["charles@maison.mrs"], "from nowhere")):
        with pytest.raises(CommandError, match=words):
            said(*arguments)


def test_keys_are_changed(mailbox: FoundMailbox, settings: Settings) -> None:
    make_source(mailbox, ScriptedPop3(port=1))
    settings.COLLECT_KEYS = ["n" * 44, "k" * 44]
    assert said("--reencrypt") == ("1 encrypted with the first key\n", "")
    settings.COLLECT_KEYS = ["o" * 44]
    with pytest.raises(CommandError, match="1 cannot be read"):
        said("--reencrypt")
