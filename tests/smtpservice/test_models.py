"""What the database itself holds of the queue."""

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.queue import Recipient, enqueue
from tests.mailstore.mailboxes import body_of

pytestmark = pytest.mark.django_db


def queued() -> QueuedMessage:
    with body_of(b"Subject: hello\r\n\r\nhello\r\n") as body:
        return enqueue(sender="jules@jules.maison.mrs", recipients=[Recipient("a@example.org")], body=body)


@pytest.mark.parametrize("broken", [{"returned": "NONE"}, {"header_octets": 1000}, {"octets": 1000}])
def test_a_message_that_makes_no_sense_is_not_stored(broken: dict[str, object]) -> None:
    message = queued()
    with pytest.raises(IntegrityError), transaction.atomic():
        QueuedMessage.objects.filter(pk=message.pk).update(**broken)


@pytest.mark.parametrize("broken", [{"state": "lost"}, {"claimed_by": uuid4()}, {"claimed_until": timezone.now()}])
def test_a_recipient_that_makes_no_sense_is_not_stored(broken: dict[str, object]) -> None:
    message = queued()
    with pytest.raises(IntegrityError), transaction.atomic():
        QueuedRecipient.objects.filter(message=message).update(**broken)


def test_each_state_can_be_stored() -> None:
    message = queued()
    for state in QueuedRecipient.State:
        QueuedRecipient.objects.filter(message=message).update(state=state)


def test_rows_say_what_they_are() -> None:
    message = queued()
    assert str(message) == f"{message.identity} from <jules@jules.maison.mrs>"
    assert str(message.recipients.get()) == "a@example.org: waiting"
