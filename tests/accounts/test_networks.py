"""Addresses of callers and the networks they belong to."""

import ipaddress

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from accounts.networks import lies_in, narrow_and_wide, parse_address, validate_network


@pytest.mark.parametrize(
    ("text", "narrow", "wide"),
    [
        ("192.0.2.7", "192.0.2.7/32", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7/32", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
        ("", "", ""),
        ("/run/pop3.sock", "", ""),
        ("192.0.2.256", "", ""),
    ],
)
def test_an_address_belongs_to_a_narrow_and_a_wide_network(text: str, narrow: str, wide: str) -> None:
    assert narrow_and_wide(text) == (narrow, wide)


@given(st.ip_addresses())
def test_every_address_lies_in_both(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    narrow, wide = narrow_and_wide(str(address))
    assert lies_in(str(address), narrow)
    assert lies_in(str(address), wide)


def test_an_ipv4_address_in_ipv6_dress_is_itself() -> None:
    assert parse_address("::ffff:192.0.2.7") == ipaddress.IPv4Address("192.0.2.7")
    assert lies_in("::ffff:192.0.2.7", "192.0.2.0/24")


def test_what_is_elsewhere_or_nowhere_lies_in_no_network() -> None:
    assert not lies_in("192.0.3.7", "192.0.2.0/24")
    assert not lies_in("2001:db8::1", "192.0.2.0/24")
    assert not lies_in("", "0.0.0.0/0")


@pytest.mark.parametrize("network", ["192.0.2.0/24", "192.0.2.7", "2001:db8::/48", "0.0.0.0/0"])
def test_a_network_is_taken(network: str) -> None:
    validate_network(network)


@pytest.mark.parametrize("network", ["192.0.2.7/24", "home", "192.0.2.0/33", " 192.0.2.0/24"])
def test_what_is_no_network_is_not(network: str) -> None:
    with pytest.raises(ValidationError, match="is not a network"):
        validate_network(network)
