"""What happens is counted in memory and written by day."""

import pytest
from django.db import DatabaseError
from django.utils import timezone

from accounts import activity
from accounts.models import DayCount

pytestmark = pytest.mark.django_db


def counts() -> dict[str, int]:
    return dict(DayCount.objects.filter(day=timezone.localdate()).values_list("name", "times"))


def test_counts_add_up_over_flushes() -> None:
    activity.count("logins")
    activity.count("deliveries", 3)
    activity.flush()
    activity.count("logins", 2)
    assert counts() == {"logins": 1, "deliveries": 3}
    activity.flush()
    activity.flush()
    assert counts() == {"logins": 3, "deliveries": 3}


def test_what_could_not_be_written_is_kept_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise DatabaseError("away")

    activity.count("logins")
    with monkeypatch.context() as patch:
        patch.setattr(DayCount.objects, "bulk_create", fail)
        with pytest.raises(DatabaseError):
            activity.flush()
    activity.flush()
    assert counts() == {"logins": 1}
