"""The command `collect`."""

import io
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from collecting.claims import claim_one
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
