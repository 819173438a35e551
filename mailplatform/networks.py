"""The networks that a setting lists."""

import functools
import ipaddress
from collections.abc import Iterable

from accounts.networks import parse_address


class Networks:
    """The networks that a setting lists. Addresses are text; an IPv4 address in IPv6 dress counts as itself."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(each, strict=False) for each in listed]
        self._lies_within = functools.lru_cache(maxsize=4096)(self._look)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._lies_within(address)

    def _look(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self._networks)
