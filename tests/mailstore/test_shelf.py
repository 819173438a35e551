"""Deleted mail waits on the shelf, comes back as new, and is purged with its content."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.lookup import FoundMailbox
from mailstore.maildrop import (
    CloseRequest,
    MaildropInUseError,
    Opened,
    OpenRequest,
    close_maildrops,
    open_maildrops,
    read_listing,
)
from mailstore.models import Content, Maildrop, Message
from mailstore.rows import live_messages, shelved_messages
from mailstore.shelf import expire, purge, restore
from tests.mailstore.mailboxes import assert_counters_fit, fill, make_mailbox, stored

pytestmark = pytest.mark.django_db


def session_that_deletes(mailbox_id: int, *uids: int) -> Opened:
    (opened,) = open_maildrops([OpenRequest(mailbox_id, uuid.uuid4())])
    assert isinstance(opened, Opened)
    close_maildrops([CloseRequest(mailbox_id, opened.lock, deleted=uids)])
    return opened


def test_what_comes_back_is_whole_new_and_in_order(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"one", b"two", b"three")
    before = [stored(mailbox.id, uid) for uid in (1, 2)]
    session_that_deletes(mailbox.id, 1, 2)
    assert restore(mailbox_id=mailbox.id, uids=[2, 1, 3, 99]) == 2
    assert [stored(mailbox.id, uid) for uid in (4, 5)] == before
    live = live_messages(mailbox.id).order_by("uid")
    assert [(message.uid, message.deleted_serial) for message in live] == [(3, None), (4, None), (5, None)]
    assert_counters_fit(mailbox.id)
    assert len(read_listing(session_that_deletes(mailbox.id))) == 3


def test_a_message_on_no_shelf_is_not_restored(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"one")
    version = Maildrop.objects.get(mailbox_id=mailbox.id).version
    assert restore(mailbox_id=mailbox.id, uids=[1]) == 0
    assert Maildrop.objects.get(mailbox_id=mailbox.id).version == version


def test_only_the_old_is_purged_and_only_here(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstore.shelf._AT_ONCE", 2)
    other = make_mailbox("alfred")
    for mailbox_id in (mailbox.id, other.id):
        fill(mailbox_id, *[b"x"] * 7)
        session_that_deletes(mailbox_id, 1, 2, 3, 4, 5, 6)
    long_ago = timezone.now() - timedelta(days=40)
    for mailbox_id in (mailbox.id, other.id):
        Message.objects.filter(mailbox_id=mailbox_id, uid__lte=5).update(deleted_at=long_ago)
    assert purge(mailbox_id=mailbox.id, before=timezone.now() - timedelta(days=30)) == 5
    assert [message.uid for message in shelved_messages(mailbox.id)] == [6]
    assert [content.uid for content in Content.objects.filter(mailbox_id=mailbox.id).order_by("uid")] == [6, 7]
    assert shelved_messages(other.id).count() == 6
    assert_counters_fit(mailbox.id)


def test_what_expires_goes_to_the_shelf_and_can_come_back(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, *[b"old"] * 203, b"new", b"old")
    old = timezone.now() - timedelta(days=31)
    Message.objects.filter(mailbox_id=mailbox.id).exclude(uid=204).update(received_at=old)
    version = Maildrop.objects.get(mailbox_id=mailbox.id).version
    assert expire(mailbox_id=mailbox.id, before=timezone.now() - timedelta(days=30)) == 204
    assert [message.uid for message in live_messages(mailbox.id)] == [204]
    assert_counters_fit(mailbox.id)
    assert Maildrop.objects.get(mailbox_id=mailbox.id).version > version
    assert restore(mailbox_id=mailbox.id, uids=[1]) == 1


def test_what_came_back_has_its_days_once_more(mailbox: FoundMailbox) -> None:
    """Else the next purge would take away again what somebody has asked for."""
    fill(mailbox.id, b"old")
    now = timezone.now()
    Message.objects.update(received_at=now - timedelta(days=40))
    assert expire(mailbox_id=mailbox.id, before=now - timedelta(days=30)) == 1
    restore(mailbox_id=mailbox.id, uids=[1])
    assert expire(mailbox_id=mailbox.id, before=now - timedelta(days=30)) == 0
    assert expire(mailbox_id=mailbox.id, before=now + timedelta(days=30)) == 1


def test_nothing_to_expire_changes_nothing(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"new")
    version = Maildrop.objects.get(mailbox_id=mailbox.id).version
    assert expire(mailbox_id=mailbox.id, before=timezone.now() - timedelta(days=30)) == 0
    assert Maildrop.objects.get(mailbox_id=mailbox.id).version == version


def test_nothing_expires_in_an_open_session(mailbox: FoundMailbox) -> None:
    """RFC 1939, 4: a session's messages stay until it ends."""
    fill(mailbox.id, b"old")
    (opened,) = open_maildrops([OpenRequest(mailbox.id, uuid.uuid4())])
    assert isinstance(opened, Opened)
    with pytest.raises(MaildropInUseError) as error:
        expire(mailbox_id=mailbox.id, before=timezone.now() + timedelta(days=1))
    assert error.value.holder == opened.lock
    assert live_messages(mailbox.id).count() == 1
