"""Several maildrops of one user in one session: opened and closed all or none, and the order of their messages.

Each statement names its mailboxes, and each mailbox has its own rows still; what is together is the transaction.
"""

from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db import transaction

from mailstore.maildrop import (
    Closed,
    CloseRequest,
    Listing,
    Opened,
    OpenRequest,
    close_maildrops,
    find_in_use,
    open_maildrops,
)
from mailstore.models import Maildrop
from mailstore.rows import live_messages, lock_maildrops

Result = TypeVar("Result")

#: A message's place within an order, as one number that sorts: time of arrival, maildrop, index.
_PART_BITS, _INDEX_BITS = 16, 32
_PARTS, _INDEXES = (1 << _PART_BITS) - 1, (1 << _INDEX_BITS) - 1


@dataclass(frozen=True, slots=True)
class Part:
    """An open maildrop with its listing."""

    mailbox_id: int
    listing: Listing


@dataclass(frozen=True, slots=True)
class Order:
    """The messages of several maildrops, oldest first: at each place the number of the maildrop and the index there."""

    parts: "array[int]"
    indexes: "array[int]"
    #: Of each maildrop: the uids, and the microseconds when they came.
    uids: tuple["array[int]", ...]
    arrived: tuple["array[int]", ...]
    #: The maildrops whose unique-ids are given with the mailbox before them (Maildrop.qualified).
    qualified: frozenset[int]

    def __len__(self) -> int:
        return len(self.parts)


def open_together(requests: Sequence[OpenRequest]) -> list[Opened]:
    """Lock maildrops, all or none. Raises what the first says that cannot be locked: see `open_maildrops`."""
    _sound([*find_in_use(requests).values()])
    with transaction.atomic():
        lock_maildrops(request.mailbox_id for request in requests)
        return _sound(open_maildrops(requests))


def close_together(requests: Sequence[CloseRequest]) -> list[Closed]:
    """End a session that has several maildrops open: all of what it deleted goes, and every lock is freed.

    Raises LockLostError where one of the locks is no longer in force; nothing has changed then.
    """
    with transaction.atomic():
        lock_maildrops(request.mailbox_id for request in requests)
        return _sound(close_maildrops(requests))


def read_order(parts: Sequence[Part], known: Order | None = None) -> Order:
    """The order of the messages: by time of arrival, then by mailbox and uid; the parts ascend by mailbox.

    `known` is an order of the same maildrops from before: only of what has come since the times are read.
    """
    arrived = []
    for number, part in enumerate(parts):
        uids = part.listing.uids
        times = array("q")
        if known is not None and uids[: len(known.uids[number])] == known.uids[number]:
            times.extend(known.arrived[number])
        times.extend(_times(part.mailbox_id, uids, len(times)))
        arrived.append(times)
    keys = sorted(
        (time << _PART_BITS | number) << _INDEX_BITS | index
        for number, times in enumerate(arrived)
        for index, time in enumerate(times)
    )
    return Order(
        array("H", (key >> _INDEX_BITS & _PARTS for key in keys)),
        array("I", (key & _INDEXES for key in keys)),
        tuple(part.listing.uids for part in parts),
        tuple(arrived),
        _qualified(parts),
    )


def _times(mailbox_id: int, uids: "array[int]", known: int) -> list[int]:
    """Microseconds since 1970 when the messages came that follow the known ones."""
    if known == len(uids):
        return []
    # Nothing but this session takes any away between the first and the last.
    rows = live_messages(mailbox_id).filter(uid__gte=uids[known], uid__lte=uids[-1]).order_by("uid")
    return [round(time.timestamp() * 1_000_000) for time in rows.values_list("received_at", flat=True).iterator()]


def _qualified(parts: Sequence[Part]) -> frozenset[int]:
    """Of which maildrops the unique-ids are given with the mailbox before them; noted once, for ever.

    RFC 1939, 7 wants them unique within the maildrop that is shown, and the same in each session. Ours are unique over
    all mailboxes. Those that were brought from elsewhere may be the same in two; then all of the later one's become
    others, since a client that had to take one message for another would never fetch it.
    """
    noted = Maildrop.objects.filter(mailbox_id__in=[part.mailbox_id for part in parts], qualified=True)
    qualified = set(noted.values_list("mailbox_id", flat=True))
    for mailbox_id in _repeating([part for part in parts if part.mailbox_id not in qualified]):
        Maildrop.objects.filter(mailbox_id=mailbox_id).update(qualified=True)
        qualified.add(mailbox_id)
    return frozenset(number for number, part in enumerate(parts) if part.mailbox_id in qualified)


def _repeating(parts: Sequence[Part]) -> list[int]:
    """The mailboxes that have unique-ids which an earlier one has, or could come to have."""
    found = []
    validities = {str(part.listing.uidvalidity) for part in parts}
    made: set[int] = set()
    brought: set[str] = set()
    for part in parts:
        own = part.listing.unique_ids.values()
        if part.listing.uidvalidity in made or not brought.isdisjoint(own) or _look_made(own, validities):
            found.append(part.mailbox_id)
        else:
            made.add(part.listing.uidvalidity)
            brought.update(own)
    return found


def _look_made(unique_ids: Collection[str], validities: Collection[str]) -> bool:
    """Whether any was brought here that another of the maildrops made."""
    return any(unique_id.partition(".")[0] in validities for unique_id in unique_ids)


def _sound(answers: Sequence[Result | Exception]) -> list[Result]:
    """The answers, if all are results; otherwise raises, and so takes the transaction back."""
    results = []
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
        results.append(answer)
    return results
