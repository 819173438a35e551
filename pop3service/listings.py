"""The listings that one worker process remembers, so that a client that polls costs the database none."""

from collections import OrderedDict

from mailstore.maildrop import Listing, Opened

#: Messages in all the listings that are remembered: 32 octets each. A listing itself takes as much as so many
#: messages, and so does a unique-id that came with a message.
REMEMBERED_MESSAGES = 1_000_000
LISTING_COST = 24
UNIQUE_ID_COST = 5


class Listings:
    """Listings that were read before, by mailbox: with an equal version they are equal still."""

    def __init__(self, messages: int = REMEMBERED_MESSAGES) -> None:
        self._most = messages
        self._cost = 0
        self._known: OrderedDict[int, tuple[int, Listing]] = OrderedDict()

    def get(self, opened: Opened) -> Listing | None:
        known = self._known.get(opened.mailbox_id)
        if known is None or known[0] != opened.version:
            return None
        self._known.move_to_end(opened.mailbox_id)
        return known[1]

    def earlier(self, opened: Opened) -> Listing | None:
        """What was read of the maildrop before, whatever its version: there may be little to add."""
        known = self._known.get(opened.mailbox_id)
        return known[1] if known else None

    def put(self, opened: Opened, listing: Listing) -> None:
        self._forget(opened.mailbox_id)
        self._known[opened.mailbox_id] = opened.version, listing
        self._cost += _cost(listing)
        while self._cost > self._most:
            self._forget(next(iter(self._known)))

    def _forget(self, mailbox_id: int) -> None:
        if (known := self._known.pop(mailbox_id, None)) is not None:
            self._cost -= _cost(known[1])


def _cost(listing: Listing) -> int:
    return LISTING_COST + len(listing) + UNIQUE_ID_COST * len(listing.unique_ids)
