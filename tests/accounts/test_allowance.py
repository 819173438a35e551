"""How much a user may send in a day: counted in one transaction with the message, by the day, for each user."""

from datetime import date, timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from accounts import allowance
from accounts.allowance import KEPT_DAYS, DayIsFullError, SentCount, count_sent, day_is_full
from accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> int:
    return User.objects.create_user("jules").pk


def test_messages_of_a_day(user: int, settings: Settings) -> None:
    settings.SUBMISSION_MESSAGES_PER_DAY = 2
    for _ in range(2):
        assert not day_is_full(user)
        count_sent(user_id=user, recipients=1)
    assert day_is_full(user)
    with pytest.raises(DayIsFullError):
        count_sent(user_id=user, recipients=1)
    assert SentCount.objects.get().messages == 2  # what was refused is not counted
    other = User.objects.create_user("alfred").pk
    count_sent(user_id=other, recipients=1)


def test_recipients_of_a_day(user: int, settings: Settings) -> None:
    settings.SUBMISSION_RECIPIENTS_PER_DAY = 5
    with pytest.raises(DayIsFullError):
        count_sent(user_id=user, recipients=6)
    count_sent(user_id=user, recipients=4)
    with pytest.raises(DayIsFullError):
        count_sent(user_id=user, recipients=2)
    count_sent(user_id=user, recipients=1)
    assert day_is_full(user)


def test_zero_is_no_limit(user: int, settings: Settings) -> None:
    settings.SUBMISSION_MESSAGES_PER_DAY = settings.SUBMISSION_RECIPIENTS_PER_DAY = 0
    count_sent(user_id=user, recipients=1_000_000)
    assert not day_is_full(user)


def test_a_new_day_begins_anew_and_old_ones_are_forgotten(
    user: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SUBMISSION_MESSAGES_PER_DAY = 1
    today = timezone.now().date()

    def at(day: date) -> None:
        monkeypatch.setattr(allowance, "_today", lambda: day)

    for days in (-KEPT_DAYS - 1, -1, 0):
        at(today + timedelta(days=days))
        count_sent(user_id=user, recipients=1)
    assert sorted(SentCount.objects.values_list("day", flat=True)) == [today - timedelta(days=1), today]


def test_a_message_that_is_not_taken_is_not_counted(user: int) -> None:
    with transaction.atomic():
        count_sent(user_id=user, recipients=1)
        transaction.set_rollback(True)
    assert not SentCount.objects.exists()
