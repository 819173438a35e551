"""What a deletion would take with it, said from kept counters.

Django's own preview loads every related row, which for a mailbox of 100,000 messages is a page nobody can open; and
messages have no admin of their own. These previews read one row per mailbox and list a bounded number of them.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.db.models import Model, QuerySet, Sum
from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts.models import Mailbox
from mailplatform.admin.octets import messages_and_size
from mailstore.models import Maildrop

#: Mailboxes named on a confirmation page; of more the page gives the number.
NAMED = 50


class Preview(NamedTuple):
    """What ModelAdmin.get_deleted_objects answers."""

    to_delete: list[Any]
    model_count: dict[str, int]
    perms_needed: set[str]
    protected: list[str]


def preview(objects: Iterable[Model], request: HttpRequest, mailboxes: QuerySet[Mailbox]) -> Preview:
    """The preview for deleting `objects`, and `mailboxes` with all their mail."""
    count = mailboxes.count()
    totals = Maildrop.objects.filter(mailbox__in=mailboxes).aggregate(
        messages=Sum("message_count", default=0), octets=Sum("octets", default=0)
    )
    named = [_line(mailbox) for mailbox in mailboxes.select_related("maildrop")[:NAMED]]
    if count > NAMED:
        named.append(_("and %(number)d more mailboxes") % {"number": count - NAMED})
    listed = [str(item) for item in objects if not isinstance(item, Mailbox)]
    warning = _("%(messages)s, and what is on the shelf, cannot be brought back.") % {
        "messages": messages_and_size(totals["messages"], totals["octets"])
    }
    model_count = {
        str(Mailbox._meta.verbose_name_plural): count,
        _("messages"): totals["messages"],
    }
    needed = set() if request.user.has_perm("accounts.delete_mailbox") else {str(Mailbox._meta.verbose_name)}
    return Preview([*listed, *named, warning], model_count, needed if count else set(), [])


def _line(mailbox: Mailbox) -> str:
    drop = getattr(mailbox, "maildrop", None)
    held = messages_and_size(drop.message_count, drop.octets) if drop else messages_and_size(0, 0)
    return _("Mailbox %(address)s: %(held)s") % {"address": mailbox.address, "held": held}
