"""Who comes: what a server is told of a connection before its first command, and the networks that decide on it."""

import functools
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from accounts.networks import parse_address


@dataclass(frozen=True, slots=True)
class Arrival:
    """One connection, as it is when its session begins.

    `address` is the client's IP address as text, also where a proxy stands between. `tls` is empty, or the version
    with which every part of the way is encrypted (but those parts that the operator trusts), such as TLSv1.3.
    """

    address: str
    tls: str = ""
    #: Whether a password may cross it as it is, unencrypted (promise 6).
    plaintext: bool = False

    @property
    def encrypted(self) -> bool:
        return bool(self.tls)


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
