"""The command `collect`."""

import io
import os
import signal
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from collecting import errands
from collecting.claims import claim_one
from collecting.management.commands import collect
from collecting.models import Source
from collecting.passwords import decrypt
from tests.collecting.sources import collected, make_source
from tests.mailstore.pop3_server import SILENCE, ScriptedPop3

pytestmark = pytest.mark.django_db(transaction=True)
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


def test_its_claim_is_renewed(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[bool] = []

    def slowly(number: str) -> None:
        claimed = Source.objects.get().claimed_until
        for _ in range(1000):
            if Source.objects.get().claimed_until > claimed:
                renewed.append(True)
                return
            time.sleep(0.01)

    monkeypatch.setattr(errands, "RENEW_SECONDS", 0.02)
    with ScriptedPop3([(b"a", MESSAGE)], {"RETR": slowly}).serving() as other:
        make_source(mailbox, other)
        assert said("charles@maison.mrs") == ("charles at 127.0.0.1: 1 collected\n", "")
    assert renewed == [True]


def test_what_could_not_be_fetched_is_told_of_and_tried_again(mailbox: FoundMailbox) -> None:
    with ScriptedPop3([(b"a", MESSAGE)], {"RETR": b"-ERR no\r\n"}).serving() as other:
        make_source(mailbox, other)
        for _ in range(3):
            out, err = said("charles@maison.mrs")
            assert (out, "the server said “no”" in err) == ("charles at 127.0.0.1: 0 collected\n", True)
    assert len(other.said("RETR")) == 3


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def interruption(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that ends the command, and is no end of the tests where it does not."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield request.param
    signal.signal(signal.SIGTERM, before)


def test_interrupted_it_gives_back_what_it_is_at(mailbox: FoundMailbox, interruption: signal.Signals) -> None:
    def interrupted(number: str) -> bytes:
        os.kill(os.getpid(), interruption)
        return SILENCE

    with ScriptedPop3([(b"a", MESSAGE)], {"RETR": interrupted}).serving() as other:
        source = make_source(mailbox, other)
        with pytest.raises(CommandError, match="interrupted"):
            said("charles@maison.mrs")
    source.refresh_from_db()
    assert (source.claimed_by, source.failures) == (None, 0)


def test_interrupted_while_it_claims_it_gives_that_back(
    mailbox: FoundMailbox, interruption: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Source | None:
        os.kill(os.getpid(), interruption)
        time.sleep(0.2)  # the loop hears of it first
        claimed.append(claim_one(*arguments))
        return claimed[0]

    claimed: list[Source | None] = []
    monkeypatch.setattr(collect, "claim_one", interrupted)
    with ScriptedPop3([(b"a", MESSAGE)]).serving() as other:
        source = make_source(mailbox, other)
        with pytest.raises(CommandError, match="interrupted"):
            said("charles@maison.mrs")
    source.refresh_from_db()
    assert claimed == [source]
    assert (source.claimed_by, source.failures, collected(mailbox)) == (None, 0, [])


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
