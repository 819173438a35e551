"""How many messages one client may bring in a minute, on port 25: more have to wait. Kept by each worker for itself.

A client is an IPv4 address or an IPv6 /64. It may bring a minute's messages at once, and then as many as come free.
"""

import time
from collections.abc import Callable

from accounts.networks import narrow_and_wide
from mailplatform.networks import Networks

#: Clients that are remembered before those are forgotten that have waited long enough.
REMEMBERED = 10_000


class Pace:
    """`most` messages a minute, 0 for any number; clients that are `exempt` have no limit."""

    def __init__(
        self, most: int, exempt: Networks | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._exempt = exempt or Networks([])
        self._clock = clock
        #: Client -> what it had left at which time.
        self._left: dict[str, tuple[float, float]] = {}

    def is_over(self, address: str) -> bool:
        """Whether the client has to wait before its next message."""
        return self._most > 0 and self._left_to(_client(address)) < 1 and address not in self._exempt

    def count(self, address: str) -> None:
        """The client has brought a message."""
        if self._most <= 0 or address in self._exempt:
            return
        client = _client(address)
        self._left[client] = self._left_to(client) - 1, self._clock()
        if len(self._left) > REMEMBERED:
            self._left = {key: kept for key, kept in self._left.items() if self._left_to(key) < self._most}

    def _left_to(self, client: str) -> float:
        left, at = self._left.get(client, (float(self._most), 0.0))
        return min(left + (self._clock() - at) * self._most / 60, self._most)


def _client(address: str) -> str:
    return narrow_and_wide(address)[0] or address
