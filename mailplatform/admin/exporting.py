"""Accounts as a table that a spreadsheet opens and `accounts.importing` reads: a row per mailbox, no passwords."""

import csv
import re
from collections.abc import Iterable, Iterator

from accounts.models import Mailbox, User

COLUMNS = (
    "username", "address", "active", "quota_octets", "quota_messages", "messages", "octets", "last_login",
    "first_name", "last_name", "email",
)  # fmt: skip
#: Spreadsheets carry out a cell that begins so; those that begin so behind apostrophes are kept apart from them.
_ARMED = re.compile(r"'*[=+\-@\t\r]")
_AT_ONCE = 2000


def safe_cell(value: object) -> str:
    """The cell as text; with an apostrophe before it where a spreadsheet would take it for a formula."""
    text = str(value)
    return f"'{text}" if _ARMED.match(text) else text


def table() -> Iterator[str]:
    """The lines of the CSV file, the header first, users by name; users without a mailbox have an empty address."""
    writer = csv.writer(_Echo())  # writerow answers what write answers
    yield writer.writerow(COLUMNS)
    for cells in _rows():
        yield writer.writerow([safe_cell(cell) for cell in cells])


def _rows() -> Iterator[Iterable[object]]:
    last = ""
    while users := list(User.objects.filter(username__gt=last).order_by("username")[:_AT_ONCE]):
        last = users[-1].username
        owned: dict[int, list[Mailbox]] = {}
        for mailbox in Mailbox.objects.filter(user__in=users).select_related("maildrop").order_by("address"):
            owned.setdefault(mailbox.user_id, []).append(mailbox)
        for user in users:
            yield from (_cells(user, mailbox) for mailbox in owned.get(user.pk, [None]))


def _cells(user: User, mailbox: Mailbox | None) -> Iterable[object]:
    person = (user.first_name, user.last_name, user.email)
    if mailbox is None:
        return (user.username, "", _word(user.is_active), "", "", "", "", "", *person)
    drop = getattr(mailbox, "maildrop", None)
    opened = drop.opened_at.isoformat(timespec="seconds") if drop and drop.opened_at else ""
    return (
        user.username, mailbox.address, _word(user.is_active and mailbox.is_active),
        mailbox.quota_octets, mailbox.quota_messages,
        drop.message_count if drop else 0, drop.octets if drop else 0, opened,
        *person,
    )  # fmt: skip


def _word(value: bool) -> str:
    return "yes" if value else "no"


class _Echo:
    """A file for csv.writer that hands each line back."""

    def write(self, line: str) -> str:
        return line
