"""Lines in the admin's log for what is done to many rows at once."""

from collections.abc import Sequence

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model
from django.http import HttpRequest

#: How lines begin that say somebody's mail was opened.
READ = "Read message"


def log_many(request: HttpRequest, changed: Sequence[Model], text: str, *, flag: int = CHANGE) -> None:
    """One line for each of `changed`, all of one model, written together."""
    if changed:
        LogEntry.objects.log_actions(
            user_id=request.user.pk or 0, queryset=changed, action_flag=flag, change_message=text, single_object=False
        )
