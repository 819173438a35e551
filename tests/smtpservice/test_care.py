"""What people do to the queue, and what it leaves alone."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from smtpservice.care import drop, hold, release, retry_now
from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.queue import Recipient
from smtpservice.relay.claims import Wish, claim
from smtpservice.relay.outcomes import Outcome, PeerReply, Report, Result, record
from tests.mailstore.mailboxes import make_mailbox
from tests.smtpservice.local import stored
from tests.smtpservice.relay.relaying import queue, state

pytestmark = pytest.mark.django_db


def ids(*addresses: str) -> list[int]:
    return list(QueuedRecipient.objects.filter(address__in=addresses).values_list("pk", flat=True))


def due() -> list[str]:
    found = claim(Wish(uuid4(), timezone.now() + timedelta(seconds=1), limit=5, together=True))
    return [one.address for message in found.messages for one in message.recipients] if found else []


def test_what_is_tried_again_is_due_at_once_held_or_not() -> None:
    queue("a@example.org", "b@example.org", "c@example.org")
    QueuedRecipient.objects.update(next_attempt_at=timezone.now() + timedelta(hours=3))
    hold(recipient_ids=ids("b@example.org"))
    assert due() == []
    assert retry_now(recipient_ids=ids("a@example.org", "b@example.org")) == 2
    assert due() == ["a@example.org", "b@example.org"]


def test_what_is_held_is_not_tried_until_it_is_released() -> None:
    queue("a@example.org")
    assert hold(recipient_ids=ids("a@example.org")) == 1
    assert hold(recipient_ids=ids("a@example.org")) == 0
    assert due() == []
    assert release(recipient_ids=ids("a@example.org")) == 1
    assert due() == ["a@example.org"]


@pytest.mark.parametrize("tell", [True, False])
def test_what_is_dropped_leaves_the_queue_and_its_sender_is_told_or_not(*, tell: bool) -> None:
    make_mailbox("jules")
    queue("a@example.org", "b@example.org")
    assert drop(recipient_ids=ids("a@example.org"), tell=tell) == 1
    assert state("a@example.org")[0] == "dropped"
    assert due() == ["b@example.org"]
    assert drop(recipient_ids=ids("a@example.org", "b@example.org"), tell=tell) == 1
    assert not QueuedMessage.objects.exists()
    notices = stored("jules@maison.mrs")
    assert len(notices) == (2 if tell else 0)
    assert all(b"554 5.7.0 Given up by the postmaster" in notice for notice in notices)


def test_who_asked_to_be_told_of_nothing_is_not_told() -> None:
    make_mailbox("jules")
    queue(Recipient("a@example.org", notify="NEVER"))
    drop(recipient_ids=ids("a@example.org"), tell=True)
    assert stored("jules@maison.mrs") == []


def test_several_messages_at_once() -> None:
    for name in "abc":
        queue(f"{name}@example.org")
    assert drop(recipient_ids=ids("a@example.org", "c@example.org"), tell=False) == 2
    assert due() == ["b@example.org"]
    assert drop(recipient_ids=[12345], tell=False) == 0


def test_what_was_sent_meanwhile_was_sent() -> None:
    message = queue("a@example.org", "b@example.org")
    found = claim(Wish(uuid4(), timezone.now() + timedelta(seconds=1), limit=5))
    assert found is not None
    drop(recipient_ids=ids("a@example.org"), tell=False)
    outcome = Outcome(ids("a@example.org")[0], Result.SENT, PeerReply(250, "2.0.0", "ok"), "peer.example")
    record([Report(found.id, message.pk, (outcome,), timezone.now())])
    assert state("a@example.org") == ("sent", 1, "250 2.0.0 ok")
