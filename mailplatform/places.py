"""How many connections there may be at once: in all, and from one address; a worker counts its own.

One address is an IPv4 address or an IPv6 /64. What comes from this machine itself, or from a network that many people
share (THROTTLE_EXEMPT_NETWORKS), or by a proxy that does not say for whom, counts in all alone.
"""

import enum
import logging
from collections import Counter

from accounts.networks import narrow_and_wide
from mailplatform.networks import Networks

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.0/8", "::1/128")
#: Connections beyond the limits that may be open to be told so; above it they are closed without a word.
TOLD_AT_ONCE = 100


class Full(enum.Enum):
    """Why there is no place."""

    IN_ALL = enum.auto()
    FROM_ADDRESS = enum.auto()


class Place:
    """One connection's; one that was `refused` has none, and counts until it is told."""

    __slots__ = ("_given_back", "_network", "_places", "_shaking", "refused")

    def __init__(self, places: "Places", network: str, refused: Full | None) -> None:
        self._places = places
        self._network = network
        self._given_back = self._shaking = False
        self.refused = refused

    def shake_hands(self) -> bool:
        """Whether a TLS handshake may begin now; half of those from an address may be in one."""
        self._shaking = self._places.begin_handshake(self._network)
        return self._shaking

    def hands_are_shaken(self) -> None:
        if self._shaking:
            self._shaking = False
            self._places.end_handshake(self._network)

    def give_back(self) -> None:
        """The connection is over; may be called again."""
        if not self._given_back:
            self._given_back = True
            self.hands_are_shaken()
            self._places.take_back(self._network, self.refused)


class Places:
    """Those of a worker: `most` in all, `most_each` from one address."""

    def __init__(self, *, most: int, most_each: int, shared: Networks) -> None:
        self.most = most
        self.most_each = most_each
        self.shared = shared
        self.taken = 0
        self.told = 0
        #: By network, such as 192.0.2.7/32.
        self.each: Counter[str] = Counter()
        self.shaking: Counter[str] = Counter()
        self._noted: set[str] = set()

    def take(self, address: str, *, counted: bool = True) -> Place | None:
        """A place for a connection from this address; `counted`: for itself too. None: it is to be closed at once."""
        network = narrow_and_wide(address)[0] if counted and address not in self.shared else ""
        refused = self._refusal(network)
        if refused is None:
            self.taken += 1
            if network:
                self.each[network] += 1
        elif self.told >= TOLD_AT_ONCE:
            return None
        else:
            self.told += 1
        return Place(self, network, refused)

    def take_back(self, network: str, refused: Full | None) -> None:
        if refused is not None:
            self.told -= 1
            return
        self.taken -= 1
        if network:
            _count_down(self.each, network)
        if self.taken < self.most:
            self._noted.discard("")
        if network not in self.each:
            self._noted.discard(network)

    def begin_handshake(self, network: str) -> bool:
        if not network:
            return True
        if self.shaking.get(network, 0) >= max(1, self.most_each // 2):
            return False
        self.shaking[network] += 1
        return True

    def end_handshake(self, network: str) -> None:
        if network:
            _count_down(self.shaking, network)

    def _refusal(self, network: str) -> Full | None:
        if self.taken >= self.most:
            self._note("", f"all {self.most} connections of this worker are taken")
            return Full.IN_ALL
        if network and self.each.get(network, 0) >= self.most_each:
            self._note(network, f"{network} has {self.most_each} connections open")
            return Full.FROM_ADDRESS
        return None

    def _note(self, what: str, text: str) -> None:
        """Once, until it is over: a stranger does not fill the log."""
        if what not in self._noted:
            self._noted.add(what)
            logger.warning("too many connections: %s, more are refused", text)


def _count_down(counter: Counter[str], key: str) -> None:
    if counter[key] > 1:
        counter[key] -= 1
    else:
        del counter[key]
