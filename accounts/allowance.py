"""How much a user may send in a day.

Days are those of UTC. A message is counted in the transaction that takes it, so no number of connections and hosts
gets more through together.
"""

from datetime import date, timedelta

from django.conf import settings
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

#: Days for which what was sent is remembered.
KEPT_DAYS = 60


class DayIsFullError(Exception):
    """The user has sent as much as is allowed in a day."""


class SentCount(models.Model):
    """How much a user submitted on a day."""

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    messages = models.PositiveIntegerField(default=0)
    recipients = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "day"], name="accounts_sentcount_one_per_day"),
        ]

    def __str__(self) -> str:
        return f"{self.messages} messages on {self.day}"


@transaction.atomic
def count_sent(*, user_id: int, recipients: int) -> None:
    """Count one more message of a user today. Raises DayIsFullError, and then it is not counted."""
    row, is_first = SentCount.objects.get_or_create(user_id=user_id, day=_today())
    if is_first:
        SentCount.objects.filter(user_id=user_id, day__lt=_today() - timedelta(days=KEPT_DAYS)).delete()
    # One statement, so that of two messages at once the second sees the first.
    SentCount.objects.filter(pk=row.pk).update(messages=F("messages") + 1, recipients=F("recipients") + recipients)
    row.refresh_from_db()
    if _is_over(row.messages, row.recipients):
        raise DayIsFullError


def day_is_full(user_id: int) -> bool:
    """Whether not one more message of a user would be taken today."""
    row = SentCount.objects.filter(user_id=user_id, day=_today()).first()
    return row is not None and _is_over(row.messages + 1, row.recipients + 1)


def _today() -> date:
    return timezone.now().date()


def _is_over(messages: int, recipients: int) -> bool:
    return bool(
        0 < settings.SUBMISSION_MESSAGES_PER_DAY < messages or 0 < settings.SUBMISSION_RECIPIENTS_PER_DAY < recipients
    )
