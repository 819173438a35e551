"""The way to a server that somebody has named: looked up once, held to what may be reached, connected.

Whoever may name a server must not reach by it what only this machine and its neighbours reach. So addresses that are
not of the public internet are refused, unless they lie in COLLECT_NETWORKS; the address that was looked at is the one
that is connected to; and in the clear a password goes to PLAINTEXT_NETWORKS alone.
"""

import ipaddress
import socket
import ssl
from collections.abc import Callable

import dns.exception
import dns.resolver
from django.conf import settings

from accounts.networks import Address, parse_address
from collecting.models import Source
from mailplatform.networks import Networks
from mailstore.pop3_client import Pop3Client, Pop3Error

#: Seconds for the name servers, and for a connection to each address.
RESOLVE_SECONDS = 10.0
CONNECT_SECONDS = 20.0
#: Addresses of one host that are tried.
_TRIED = 4
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: What IANA gives out of IPv6; the rest is nobody's, or was site-local, or is IPv4 in another dress.
_GIVEN_OUT = ipaddress.ip_network("2000::/3")


class ForbiddenHostError(Pop3Error):
    """No address of the host may be reached."""


def connect(source: Source, opened: Callable[[Pop3Client], None]) -> Pop3Client:
    """A connection to the source's server that has been greeted, within TLS where the source says so.

    `opened` is given each client before it is waited for. The caller closes it. Raises Pop3Error.
    """
    failed: Pop3Error | None = None
    for address in _addresses(source)[:_TRIED]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        client = Pop3Client(socket.socket(family, socket.SOCK_STREAM))
        opened(client)
        try:
            client.connect(address, source.port, seconds=CONNECT_SECONDS)
        except Pop3Error as error:
            client.close()
            failed = error
            continue
        return _greeted(source, client)
    raise Pop3Error(f"no connection to {source.host}, port {source.port}: {failed}")


def _greeted(source: Source, client: Pop3Client) -> Pop3Client:
    try:
        if source.tls == Source.Tls.IMPLICIT:
            client.begin_tls(_context(source), source.host)
        client.greet()
        if source.tls == Source.Tls.STLS:
            client.start_tls(_context(source), source.host)
    except BaseException:
        client.close()
        raise
    return client


def look_up(host: str) -> list[str]:
    """The addresses of a host, by the name servers of the relay where those are set. Raises Pop3Error."""
    if (address := parse_address(host)) is not None:
        return [str(address)]  # not as it is spelled: what follows a % may make it a name of somebody's
    try:
        found = _ask_name_servers(host) if settings.RELAY_NAME_SERVERS else _ask_system(host)
    except (OSError, UnicodeError, dns.exception.DNSException) as error:
        raise Pop3Error(f"no address of {host} was found") from error
    if not found:
        raise Pop3Error(f"{host} has no address")
    return found


def may_reach(text: str) -> bool:
    """Whether an address is of the public internet, or in COLLECT_NETWORKS."""
    address = parse_address(text)
    if address is None:
        return False
    return text in Networks(settings.COLLECT_NETWORKS) or all(_is_public(each) for each in _meant(address))


def is_ours(text: str) -> bool:
    """Whether an address is one of this machine."""
    address = parse_address(text)
    if address is None or address.is_loopback or address.is_unspecified:
        return address is not None
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _addresses(source: Source) -> list[str]:
    """The addresses of the source's server that may be reached, one at least. Raises Pop3Error."""
    found = look_up(source.host)
    allowed = [address for address in found if may_reach(address)]
    if not allowed:
        raise ForbiddenHostError(
            f"{source.host} is at {found[0]}, which is no public address; an operator can allow it in COLLECT_NETWORKS"
        )
    if source.tls == Source.Tls.NONE:
        allowed = [address for address in allowed if address in Networks(settings.PLAINTEXT_NETWORKS)]
        if not allowed:
            raise ForbiddenHostError(f"without TLS the password would cross the network to {source.host} in the clear")
    return allowed


def _context(source: Source) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not source.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _ask_system(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _ask_name_servers(host: str) -> list[str]:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [
        dns.nameserver.Do53Nameserver(address, int(port or 53))
        for address, _, port in (text.partition("#") for text in settings.RELAY_NAME_SERVERS)
    ]
    answers = resolver.resolve_name(host, lifetime=RESOLVE_SECONDS)
    return list(answers.addresses())


def _is_public(address: Address) -> bool:
    given_out = address.version == 4 or address in _GIVEN_OUT or address in _NAT64
    return given_out and address.is_global and not address.is_multicast


def _meant(address: Address) -> list[Address]:
    """An address, and the IPv4 addresses that gateways would take from it."""
    meant: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            meant.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if address.sixtofour:
            meant.append(address.sixtofour)
        if address.teredo:
            meant.extend(address.teredo)
    return meant
