"""Looking at a mailbox from outside a session, for admin: its messages page by page, and one message's octets.

Pages are found by key, newest first, so that the last page of a hundred thousand messages costs what the first does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from mailstore.models import Content, Message
from mailstore.rows import live_messages, shelved_messages
from mailstore.wire import unstuff

#: A longer shelf is said to be longer, and not counted.
SHELVED_COUNTED = 999
#: Of so many messages with the highest uids the one that was received last is taken for the newest.
_NEWEST_OF = 50
#: Words that are looked for; SQLite takes no statement with many hundreds.
_SEARCHED_WORDS = 100


@dataclass(frozen=True, slots=True)
class Overview:
    """A mailbox in short: messages on the shelf (up to SHELVED_COUNTED + 1), and when something last happened."""

    shelved: int
    deleted_at: datetime | None
    received_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages, newest first; `next_before_uid` asks for the page behind, None where this is the last."""

    messages: list[Message]
    next_before_uid: int | None


def page_of_messages(
    mailbox_id: int,
    *,
    before_uid: int | None = None,
    size: int = 50,
    search: str = "",
    shelf: bool = False,
    deleted_by: int | None = None,
) -> Page:
    """The newest messages below `before_uid`, live ones or those on the shelf, that have `search` in their envelope.

    With `deleted_by`, the serial of a session, those alone that it deleted.
    """
    messages = _found(mailbox_id, search, shelf, deleted_by)
    if before_uid is not None:
        messages = messages.filter(uid__lt=before_uid)
    rows = list(messages.order_by("-uid")[: size + 1])
    more = len(rows) > size
    return Page(rows[:size], rows[size - 1].uid if more else None)


def find_uids(
    mailbox_id: int, *, most: int, search: str = "", shelf: bool = False, deleted_by: int | None = None
) -> list[int]:
    """The uids, lowest first, of all that the pages of `page_of_messages` show; at `most` so many."""
    return list(_found(mailbox_id, search, shelf, deleted_by).order_by("uid").values_list("uid", flat=True)[:most])


def overview(mailbox_id: int) -> Overview:
    """A mailbox in short, in three statements that look at a bounded number of rows."""
    newest = Message.objects.filter(mailbox_id=mailbox_id).order_by("-uid").values_list("received_at", flat=True)
    last_deleted = shelved_messages(mailbox_id).order_by("-deleted_at").values_list("deleted_at", flat=True)
    return Overview(
        shelved=count_shelved(mailbox_id),
        deleted_at=last_deleted.first(),
        received_at=max(newest[:_NEWEST_OF], default=None),
    )


def count_shelved(mailbox_id: int) -> int:
    """Messages on the shelf, counted up to SHELVED_COUNTED + 1."""
    return len(shelved_messages(mailbox_id).values_list("uid", flat=True)[: SHELVED_COUNTED + 1])


def _found(mailbox_id: int, search: str, shelf: bool, deleted_by: int | None) -> QuerySet[Message]:
    """Live messages or those on the shelf that have each word of `search` (its first ones) in their envelope."""
    messages = shelved_messages(mailbox_id) if shelf else live_messages(mailbox_id)
    if deleted_by is not None:
        messages = messages.filter(deleted_serial=deleted_by)
    for word in search.replace("\0", "").split()[:_SEARCHED_WORDS]:
        found = Q()
        for spelling in _spellings(word):
            found |= Q(subject__icontains=spelling) | Q(sender__icontains=spelling) | Q(message_id__icontains=spelling)
        messages = messages.filter(found)
    return messages


def _spellings(word: str) -> set[str]:
    """A word as it may stand in a text; SQLite takes upper and lower case for the same in ASCII alone."""
    return {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}


def find_message(mailbox_id: int, uid: int) -> Message | None:
    """A message, live or on the shelf."""
    return Message.objects.filter(mailbox_id=mailbox_id, uid=uid).first()


def read_message(mailbox_id: int, uid: int) -> Iterator[bytes]:
    """A message's octets, dots not stuffed, piece by piece; nothing where there is none."""
    return unstuff(_pieces(mailbox_id, uid))


def _pieces(mailbox_id: int, uid: int) -> Iterator[bytes]:
    number = 0
    pieces = Content.objects.filter(mailbox_id=mailbox_id, uid=uid).values_list("octets", flat=True)
    while (octets := pieces.filter(piece=number).first()) is not None:
        yield bytes(octets)
        number += 1
