"""`purge`: messages expire by their policy, the shelf is emptied after its days, and open sessions lose nothing."""

import io
import uuid
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from accounts.models import Domain, Mailbox
from mailplatform.management.commands import purge
from mailstore.maildrop import Opened, OpenRequest, open_maildrops
from mailstore.models import Content, Maildrop, Message
from mailstore.rows import live_messages, shelved_messages
from pop3service import workers
from tests.mailstore.mailboxes import fill, make_mailbox

pytestmark = pytest.mark.django_db


@pytest.fixture
def mailbox(settings: Settings) -> FoundMailbox:
    """A mailbox with a message that is 40 days old and a new one; the shelf keeps 30 days."""
    settings.MAIL_EXPIRE_DAYS, settings.MAIL_SHELF_DAYS = 0, 30
    made = make_mailbox("jules")
    fill(made.id, b"old", b"new")
    _age(made, 1, days=40)
    return made


def _age(mailbox: FoundMailbox, uid: int, *, days: int) -> None:
    then = timezone.now() - timedelta(days=days)
    Message.objects.filter(mailbox_id=mailbox.id, uid=uid).update(received_at=then)


def run() -> str:
    output = io.StringIO()
    call_command("purge", stdout=output)
    return output.getvalue()


def live(mailbox: FoundMailbox) -> list[int]:
    return sorted(message.uid for message in live_messages(mailbox.id))


def test_without_a_policy_nothing_expires(mailbox: FoundMailbox) -> None:
    assert run() == "0 messages expired, 0 removed from the shelf\n"
    assert live(mailbox) == [1, 2]


@pytest.mark.parametrize("level", ["settings", "domain", "mailbox"])
def test_messages_expire_by_the_policy_of_every_level(mailbox: FoundMailbox, settings: Settings, level: str) -> None:
    if level == "settings":
        settings.MAIL_EXPIRE_DAYS = 30
    elif level == "domain":
        Domain.objects.update(expire_days=30)
    else:
        Mailbox.objects.filter(pk=mailbox.id).update(expire_days=30)
    other = make_mailbox("other")
    fill(other.id, b"new")
    assert run() == "1 messages expired, 0 removed from the shelf\n"
    assert live(mailbox) == [2]
    assert live(other) == [1]


def test_what_lay_on_the_shelf_long_enough_goes_with_its_octets(mailbox: FoundMailbox) -> None:
    now = timezone.now()
    for uid, days in ((1, 31), (2, 29)):
        Message.objects.filter(mailbox_id=mailbox.id, uid=uid).update(deleted_at=now - timedelta(days=days))
    assert run() == "0 messages expired, 1 removed from the shelf\n"
    assert [message.uid for message in shelved_messages(mailbox.id)] == [2]
    assert set(Content.objects.values_list("uid", flat=True)) == {2}


def test_an_open_session_keeps_its_messages(mailbox: FoundMailbox, settings: Settings) -> None:
    settings.MAIL_EXPIRE_DAYS = 30
    worker = uuid.uuid4()
    workers.register(worker=worker, arbiter=uuid.uuid4())
    (opened,) = open_maildrops([OpenRequest(mailbox.id, worker)])
    assert isinstance(opened, Opened)
    assert "0 messages expired" in run()
    assert "1 mailboxes are open" in run()
    assert live(mailbox) == [1, 2]


def test_a_lock_that_a_dead_session_left_holds_nothing_up(mailbox: FoundMailbox, settings: Settings) -> None:
    settings.MAIL_EXPIRE_DAYS = 30
    open_maildrops([OpenRequest(mailbox.id, uuid.uuid4())])
    assert run() == "1 messages expired, 0 removed from the shelf\n"
    assert live(mailbox) == [2]


def test_every_mailbox_has_its_turn_and_those_without_mail_cost_nothing(
    mailbox: FoundMailbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAIL_EXPIRE_DAYS = 30
    monkeypatch.setattr(purge, "_AT_ONCE", 2)
    for number in range(5):
        other = make_mailbox(f"user{number}")
        if number % 2:
            fill(other.id, b"old")
            _age(other, 1, days=40)
    assert run() == "3 messages expired, 0 removed from the shelf\n"
    assert Maildrop.objects.count() == 3


@pytest.mark.parametrize("days", [0, 30])
def test_a_mailbox_that_is_removed_meanwhile_stops_nothing(
    mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    monkeypatch.setattr(purge, "_mailboxes", lambda: iter([(999_999, days), (mailbox.id, 30)]))
    assert run() == "1 messages expired, 0 removed from the shelf\n"
