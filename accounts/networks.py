"""Where callers come from: their addresses, and the networks these belong to. Pure functions.

One person is one IPv4 address or one IPv6 /64, the smallest network that a provider hands out; a whole site, or a
rented range, is a /24 or a /48.
"""

import functools
import ipaddress

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NARROW = {4: 32, 6: 64}
_WIDE = {4: 24, 6: 48}


def parse_address(text: str) -> Address | None:
    """The address that `text` spells, without a zone; an IPv4 address in IPv6 dress as itself; None for no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


@functools.lru_cache(maxsize=16_384)
def narrow_and_wide(text: str) -> tuple[str, str]:
    """The two networks of an address, such as 192.0.2.7/32 and 192.0.2.0/24; empty where `text` is no address."""
    address = parse_address(text)
    if address is None:
        return "", ""
    narrow, wide = (
        str(ipaddress.ip_network((address, bits[address.version]), strict=False)) for bits in (_NARROW, _WIDE)
    )
    return narrow, wide


def lies_in(text: str, network: str) -> bool:
    """Whether the address lies in the network; what is no address lies in none."""
    address = parse_address(text)
    return address is not None and address in ipaddress.ip_network(network)


def validate_network(value: str) -> None:
    """Raise ValidationError unless `value` is a network or an address, without host bits."""
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValidationError(
            _("“%(value)s” is not a network, such as 192.0.2.0/24 or 2001:db8::/48."),
            params={"value": value},
            code="network",
        ) from None
