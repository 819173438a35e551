"""Looking at a mailbox from outside a session, for admin: its messages page by page, and one message's octets.

Pages are found by key, newest first, so that the last page of a hundred thousand messages costs what the first does.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q

from mailstore.models import Content, Message
from mailstore.rows import live_messages, shelved_messages
from mailstore.wire import unstuff


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages, newest first; `next_before_uid` asks for the page behind, None where this is the last."""

    messages: list[Message]
    next_before_uid: int | None


def page_of_messages(
    mailbox_id: int, *, before_uid: int | None = None, size: int = 50, search: str = "", shelf: bool = False
) -> Page:
    """The newest messages below `before_uid`, live ones or those on the shelf, that have `search` in their envelope."""
    messages = shelved_messages(mailbox_id) if shelf else live_messages(mailbox_id)
    if before_uid is not None:
        messages = messages.filter(uid__lt=before_uid)
    for word in search.replace("\0", "").split():
        found = Q(subject__icontains=word) | Q(sender__icontains=word) | Q(message_id__icontains=word)
        messages = messages.filter(found)
    rows = list(messages.order_by("-uid")[: size + 1])
    more = len(rows) > size
    return Page(rows[:size], rows[size - 1].uid if more else None)


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
