"""mailstore.surrogates: which messages of an open maildrop have one."""

import uuid

import pytest

from accounts.lookup import FoundMailbox
from mailstore.maildrop import Opened, OpenRequest, open_maildrops
from mailstore.models import Message
from mailstore.surrogates import correct_surrogate, read_surrogates
from tests.mailstore.mailboxes import fill

pytestmark = pytest.mark.django_db

GREETING = "Subject: Noël\n\n".encode()
#: By so much is "=?utf-8?q?No=C3=ABl?=" longer than "Noël".
ADDED = 16


def open_maildrop(mailbox: FoundMailbox) -> Opened:
    (opened,) = open_maildrops([OpenRequest(mailbox.id, uuid.uuid4())])
    assert isinstance(opened, Opened)
    return opened


def test_those_that_were_live_when_the_maildrop_was_opened(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, GREETING, b"Subject: plain\n\n", GREETING, GREETING)
    Message.objects.filter(mailbox_id=mailbox.id, uid=1).update(deleted_at="2026-11-02T10:20:30Z")
    opened = open_maildrop(mailbox)
    fill(mailbox.id, GREETING)
    assert opened.has_surrogates
    assert read_surrogates(opened) == {3: ADDED, 4: ADDED}


def test_a_maildrop_without_any_says_so(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"Subject: plain\n\n")
    opened = open_maildrop(mailbox)
    assert not opened.has_surrogates
    assert read_surrogates(opened) == {}


def test_what_was_counted_can_be_put_right(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, GREETING, GREETING)
    correct_surrogate(mailbox.id, 2, 7)
    assert read_surrogates(open_maildrop(mailbox)) == {1: ADDED, 2: 7}
