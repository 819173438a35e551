"""The PROXY protocol, versions 1 and 2: whom a proxy speaks for. Octets in, no socket; proxy-protocol reads them.

https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt. `Header.wanted` says how many octets to read next, so that
not one is taken of what follows: it may be a TLS handshake, which is somebody else's to read.
"""

import struct
from dataclasses import dataclass

from proxyprotocol import ProxyProtocolIncompleteError
from proxyprotocol.detect import ProxyProtocolDetect
from proxyprotocol.result import ProxyResult, is_ipv4, is_ipv6, is_local

from accounts.networks import parse_address

#: Octets of the longest line of version 1, with its CRLF (section 2.1).
LONGEST_LINE = 107
#: What counts as encrypted between a client and its proxy, as it does here (RFC 8996).
TLS_VERSIONS = frozenset({"TLSv1.2", "TLSv1.3"})

_PARSER = ProxyProtocolDetect()


class HeaderError(Exception):
    """These octets are no header; what it says is for the log."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose connection it is. `address` is empty where the proxy does not tell.

    `tls` is the version between client and proxy that the proxy vouches for (PP2_TYPE_SSL), empty for none.
    """

    address: str = ""
    tls: str = ""
    #: The proxy is itself the client (LOCAL): it looks whether the server is well.
    proxy_itself: bool = False


class Header:
    """One header, as it comes."""

    def __init__(self) -> None:
        self._octets = b""
        #: Octets to read next, 1 at least.
        self.wanted = 8

    @property
    def begun(self) -> bool:
        return bool(self._octets)

    def receive(self, octets: bytes) -> Origin | None:
        """Take in what was read, at most `wanted`; None: more is needed. Raises HeaderError."""
        self._octets += octets
        try:
            return _origin(_PARSER.unpack(self._octets))
        except ProxyProtocolIncompleteError as error:
            want = error.want_read
            if want.want_line and len(self._octets) >= LONGEST_LINE:
                raise HeaderError(f"{self._octets!r} is longer than a line of a header") from None
            self.wanted = want.want_bytes or 1  # the end of a line is looked for octet by octet
            return None
        except (ValueError, struct.error) as error:  # the parser's, for what is out of form or cut short
            raise HeaderError(f"{self._octets[:LONGEST_LINE]!r}: {error}") from None


def _origin(result: ProxyResult) -> Origin:
    if is_local(result):
        return Origin(proxy_itself=True)
    if not (is_ipv4(result) or is_ipv6(result)):
        return Origin()  # UNKNOWN, UNSPEC, a Unix socket: served all the same (sections 2.1 and 2.2)
    ssl = result.tlv.ssl
    version = ssl.version if ssl.has_ssl else None
    return Origin(str(parse_address(str(result.source[0]))), version if version in TLS_VERSIONS else "")
