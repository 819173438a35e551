"""Whether a mailbox has room, before a message is received. Read only; made for `bridge.gather`.

mailstore.delivery decides when it stores; this spares a client the sending of what would be refused then, and lets a
message to several recipients be refused for the full one alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from accounts.lookup import FoundMailbox
from mailstore.models import Maildrop

#: Octets that a trace header may add to a message of the declared size.
_TRACE_OCTETS = 1024


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """Is there room for one more message of so many octets? 0: its size is not known."""

    mailbox: FoundMailbox
    octets: int


def have_room(requests: Sequence[RoomRequest]) -> list[bool]:
    """For each request whether its mailbox could take the message now."""
    limited = {request.mailbox.id for request in requests if has_quota(request.mailbox)}
    used: dict[int, tuple[int, int]] = {}
    if limited:
        rows = Maildrop.objects.filter(mailbox_id__in=limited).values_list("mailbox_id", "message_count", "octets")
        used = {mailbox_id: (messages, octets) for mailbox_id, messages, octets in rows}
    return [_fits(request, *used.get(request.mailbox.id, (0, 0))) for request in requests]


def has_quota(mailbox: FoundMailbox) -> bool:
    """Whether it can be full at all."""
    return bool(mailbox.quota_octets or mailbox.quota_messages)


def _fits(request: RoomRequest, messages: int, octets: int) -> bool:
    mailbox = request.mailbox
    too_many = 0 < mailbox.quota_messages < messages + 1
    too_large = 0 < mailbox.quota_octets < octets + request.octets + _TRACE_OCTETS
    return not (too_many or too_large)
