"""The rows of POP3 workers."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from pop3service.models import Worker


@pytest.mark.django_db
def test_a_new_row_is_fresh_by_the_clock_of_the_database() -> None:
    worker = Worker.objects.create(arbiter=uuid.uuid4(), host="dewey", pid=110)
    worker.refresh_from_db()
    assert worker.started_at == worker.beat_at
    assert abs(timezone.now() - worker.beat_at) < timedelta(minutes=1)


def test_it_is_called_by_its_process() -> None:
    assert str(Worker(host="dewey", pid=110)) == "worker 110 on dewey"
