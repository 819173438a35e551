"""Headers of proxies (PROXY protocol, versions 1 and 2): whose connection it is, and not an octet too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailplatform.proxies import Header, HeaderError, Origin
from tests.mailplatform.headers_of_proxies import (
    LOCAL,
    PROXY,
    SIGNATURE,
    TCP4,
    TCP6,
    UNIX,
    UNSPEC,
    binary,
    ssl,
    tlv,
    version_1,
    version_2,
)

ORIGINS = [
    (version_1("192.0.2.7"), Origin("192.0.2.7")),
    (version_1("255.255.255.255", "255.255.255.255"), Origin("255.255.255.255")),
    (version_1("2001:db8::7", "2001:db8::1"), Origin("2001:db8::7")),
    (version_1("::ffff:192.0.2.7", "2001:db8::1"), Origin("192.0.2.7")),
    (b"PROXY UNKNOWN\r\n", Origin()),
    (b"PROXY UNKNOWN ff:ff::1 ff::2 65535 65535\r\n", Origin()),
    (version_2("192.0.2.7"), Origin("192.0.2.7")),
    (version_2("2001:DB8:0::7"), Origin("2001:db8::7")),
    (version_2("192.0.2.7", tlv(0x05, b"x" * 128), tlv(0xEE, bytes(60_000))), Origin("192.0.2.7")),
    (version_2("192.0.2.7", ssl("TLSv1.3")), Origin("192.0.2.7", "TLSv1.3")),
    (version_2("192.0.2.7", ssl("TLSv1.2")), Origin("192.0.2.7", "TLSv1.2")),
    # RFC 8996: what is not TLS here is none there; and a version that is not said is none.
    (version_2("192.0.2.7", ssl("TLSv1.1")), Origin("192.0.2.7")),
    (version_2("192.0.2.7", ssl("")), Origin("192.0.2.7")),
    (version_2("192.0.2.7", ssl("TLSv1.3", client=0)), Origin("192.0.2.7")),
    (version_2("192.0.2.7", tlv(0x20, b"")), Origin("192.0.2.7")),
    (binary(LOCAL, UNSPEC), Origin(proxy_itself=True)),
    (binary(LOCAL, TCP4, bytes(12)), Origin(proxy_itself=True)),
    (binary(PROXY, UNSPEC), Origin()),
    (binary(PROXY, UNIX, bytes(216)), Origin()),
]
NO_HEADERS = [
    b"USER marie\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",  # a TLS handshake
    b"PROXY TCP4 192.0.2.7\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.25 1 70000\r\n",
    b"PROXY TCP4 localhost 192.0.2.25 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 192.0.2.25 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.25 1 2\n",
    b"PROXY UDP4 192.0.2.7 192.0.2.25 1 2\r\n",
    b"PROXY \r\n" + b"x" * 10 + b"\r\n",
    b"PROXY UNKNOWN" + b" " * 100 + b"\r\n",
    b"\r\n\r\n\0\r\nQUIX\n" + bytes(4),
    SIGNATURE + b"\x11\x11\0\0",  # version 1 in binary
    binary(0x22, TCP4, bytes(12)),  # no such command
    binary(PROXY, TCP4, bytes(11)),
    binary(PROXY, TCP6, bytes(12)),
    binary(PROXY, UNIX, b"\xff" * 216),
    version_2("192.0.2.7", tlv(0x03, b"short")),
    version_2("192.0.2.7", ssl("T\u00e9LS")),
]


def read(octets: bytes, most: int = 1_000_000) -> tuple[Origin | None, int]:
    """What a header says, and how many octets were read; each read gets `most` at most."""
    header, at = Header(), 0
    while at < len(octets):
        part = octets[at : at + min(header.wanted, most)]
        at += len(part)
        if (origin := header.receive(part)) is not None:
            return origin, at
        assert header.wanted >= 1
    return None, at


@pytest.mark.parametrize("most", [1, 3, 1_000_000])
@pytest.mark.parametrize(("header", "origin"), ORIGINS)
def test_a_header_says_whose_connection_it_is_and_what_follows_is_left(
    header: bytes, origin: Origin, most: int
) -> None:
    if most > 1 or len(header) < 1000:
        assert read(header + b"\x16\x03\x01\r\n", most) == (origin, len(header))


@pytest.mark.parametrize("octets", NO_HEADERS)
def test_what_is_no_header_is_said(octets: bytes) -> None:
    with pytest.raises(HeaderError):
        read(octets)


@pytest.mark.parametrize("header", [header for header, _ in ORIGINS])
def test_a_header_that_is_cut_short_says_nothing(header: bytes) -> None:
    assert read(header[:-1]) == (None, len(header) - 1)


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ::1", SIGNATURE, SIGNATURE + b"\x21"]),
    st.binary(max_size=200),
)
def test_any_octets_are_a_header_or_none(beginning: bytes, rest: bytes) -> None:
    try:
        _, count = read(beginning + rest)
    except HeaderError:
        return
    assert count <= len(beginning + rest)
