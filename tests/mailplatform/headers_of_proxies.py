"""Headers of the PROXY protocol, made by hand after its text, not by the library that reads them."""

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UNIX = 0x00, 0x11, 0x12, 0x21, 0x31


def version_1(source: str, destination: str = "192.0.2.25") -> bytes:
    """Section 2.1: a line."""
    family = b"TCP6" if ":" in source else b"TCP4"
    return b"PROXY %b %b %b 56324 110\r\n" % (family, source.encode(), destination.encode())


def version_2(source: str, *tlvs: bytes, destination: str = "192.0.2.25") -> bytes:
    """Section 2.2: binary, from a client by TCP over IPv4 or IPv6."""
    address = ipaddress.ip_address(source)
    ends = address.packed + (ipaddress.ip_address(destination).packed if address.version == 4 else bytes(16))
    return binary(PROXY, TCP4 if address.version == 4 else TCP6, ends + struct.pack("!HH", 56324, 110) + b"".join(tlvs))


def binary(command: int, family: int, rest: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def ssl(version: str, *, client: int = 1) -> bytes:
    """PP2_TYPE_SSL, 2.2.5: what the proxy says of the client's TLS."""
    return tlv(0x20, struct.pack("!BL", client, 1) + (tlv(0x21, version.encode()) if version else b""))
