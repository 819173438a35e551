"""What one worker process remembers of maildrops, so that a client that polls costs the database nothing."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from mailstore.maildrop import Listing, Opened

Value = TypeVar("Value")

#: Octets that a message takes in a listing (8 of them once it is deleted), a listing itself, and a unique-id that came
#: with a message.
MESSAGE_OCTETS = 44
LISTING_OCTETS = 800
UNIQUE_ID_OCTETS = 160
#: Messages in all the orders: up to 24 octets each, and an order as much as so many.
ORDERED_MESSAGES = 500_000
ORDER_COST = 50


class Remembered(Generic[Value]):
    """Values by a key, with the version that each was of. What was used least lately is forgotten first."""

    def __init__(self, most: int) -> None:
        """`most`: how much they may cost all together."""
        self._most = most
        self._cost = 0
        self._known: OrderedDict[Hashable, tuple[Hashable, Value, int]] = OrderedDict()

    def get(self, key: Hashable, version: Hashable) -> Value | None:
        known = self._known.get(key)
        if known is None or known[0] != version:
            return None
        self._known.move_to_end(key)
        return known[1]

    def earlier(self, key: Hashable) -> Value | None:
        """That of whatever version."""
        known = self._known.get(key)
        return known[1] if known else None

    def take(self, key: Hashable) -> Value | None:
        """The same, and it is forgotten: whoever takes it may change it."""
        known = self.earlier(key)
        self._forget(key)
        return known

    def put(self, key: Hashable, version: Hashable, value: Value, cost: int) -> None:
        """What costs more than all may is not remembered, and takes nothing else's place."""
        self._forget(key)
        if cost > self._most:
            return
        self._known[key] = version, value, cost
        self._cost += cost
        while self._cost > self._most:
            self._forget(next(iter(self._known)))

    def _forget(self, key: Hashable) -> None:
        if (known := self._known.pop(key, None)) is not None:
            self._cost -= known[2]


class Listings:
    """Listings that were read before, by mailbox: with an equal version they are equal still."""

    def __init__(self, octets: int) -> None:
        self._remembered: Remembered[Listing] = Remembered(octets)

    def get(self, opened: Opened) -> Listing | None:
        return self._remembered.get(opened.mailbox_id, opened.version)

    def take(self, opened: Opened) -> Listing | None:
        """What was read of the maildrop before, whatever its version. Whoever takes it reads on with it."""
        return self._remembered.take(opened.mailbox_id)

    def put(self, opened: Opened, listing: Listing) -> None:
        cost = LISTING_OCTETS + MESSAGE_OCTETS * len(listing) + UNIQUE_ID_OCTETS * len(listing.unique_ids)
        self._remembered.put(opened.mailbox_id, opened.version, listing, cost)
