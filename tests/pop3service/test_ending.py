"""Asking for the end of a session: whose it is is sure, once is enough, and nothing stays behind."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from mailstore.locks import Lock
from pop3service.ending import ask_to_end, find_asked, take_asked
from pop3service.models import EndRequest

pytestmark = pytest.mark.django_db

ONE, OTHER = uuid.uuid4(), uuid.uuid4()


def test_a_request_goes_to_the_worker_that_has_the_session_and_once() -> None:
    ask_to_end(mailbox_id=7, lock=Lock(ONE, 3))
    ask_to_end(mailbox_id=7, lock=Lock(ONE, 3))
    ask_to_end(mailbox_id=8, lock=Lock(OTHER, 1))
    assert find_asked([(7, 3), (7, 4), (8, 1)]) == {(7, 3), (8, 1)}
    assert take_asked(ONE) == {(7, 3)}
    assert take_asked(ONE) == set()
    assert find_asked([(7, 3), (8, 1)]) == {(8, 1)}
    assert find_asked([]) == set()


def test_requests_for_workers_that_are_no_more_are_forgotten() -> None:
    ask_to_end(mailbox_id=7, lock=Lock(ONE, 3))
    EndRequest.objects.update(asked_at=timezone.now() - timedelta(hours=2))
    ask_to_end(mailbox_id=8, lock=Lock(ONE, 1))
    assert take_asked(ONE) == {(8, 1)}
