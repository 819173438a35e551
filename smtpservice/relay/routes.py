"""Where mail for a domain goes: its MX hosts in order, and their addresses (RFC 5321, 5.1).

An answer that says "no" is final; where there is no answer, the DNS is away, and that passes. dnspython asks; which
name servers it asks is a setting, so that a network, or a test, may have its own.
"""

import asyncio
import ipaddress
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from smtpservice.relay.outcomes import PeerReply

logger = logging.getLogger(__name__)

#: Seconds a question may take, with all its repetitions.
DNS_SECONDS = 20.0

_NO_DOMAIN = PeerReply(550, "5.1.2", "The domain of this address does not exist")
_NULL_MX = PeerReply(556, "5.1.10", "The domain of this address takes no mail (null MX)")
#: None of a domain's hosts has an address.
NO_HOST = PeerReply(550, "5.4.4", "The domain of this address has no mail server that can be found")
_OURSELVES = PeerReply(554, "5.4.6", "The mail servers of this domain lead back to this one, which does not know it")
_NO_ANSWER = PeerReply(451, "4.4.3", "The DNS does not answer for this domain at the moment")
_BAD_LITERAL = PeerReply(550, "5.1.2", "Not an address literal that mail can be sent to")


#: What no domain can be called: a label is empty or too long, or all of it.
_NO_NAME = (dns.name.EmptyLabel, dns.name.LabelTooLong, dns.name.NameTooLong)


class RouteError(Exception):
    """Mail cannot be sent there, for ever (a code of 500 or more) or for the moment."""

    def __init__(self, reply: PeerReply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Exchange:
    """A host that takes mail for a domain; `secure`: the answers that led to it were signed (DNSSEC)."""

    name: str
    secure: bool = False


class Router:
    """Finds the way. `name_servers`: ADDRESS or ADDRESS#PORT, none: the system's. `ourselves`: our own host name."""

    def __init__(self, *, name_servers: Sequence[str], ourselves: str, ipv6: bool = True) -> None:
        self._ourselves = ourselves.lower().rstrip(".")
        self._types = ("AAAA", "A") if ipv6 else ("A",)
        self.resolver = _resolver(name_servers)
        self.resolver.lifetime = DNS_SECONDS
        # To be told whether the name server has verified signatures (RFC 6840, 5.7).
        self.resolver.use_edns(0, dns.flags.DO, 1232)

    async def exchanges(self, domain: str) -> list[Exchange]:
        """The hosts of a domain, the most preferred first, those alike in random order. Raises RouteError."""
        if domain.startswith("["):
            return [Exchange(str(_literal(domain)))]
        try:
            name = dns.name.from_text(domain)
            answer = await self.resolver.resolve(name, "MX", search=False)
        except (dns.resolver.NXDOMAIN, *_NO_NAME) as error:
            raise RouteError(_NO_DOMAIN) from error
        except dns.resolver.NoAnswer:
            return [Exchange(domain)]  # RFC 5321, 5.1: the domain itself, as if it were its MX
        except (dns.exception.DNSException, OSError) as error:
            raise RouteError(_NO_ANSWER) from error
        found = [(record.preference, record.exchange.to_text(omit_final_dot=True).lower()) for record in answer]
        if any(name in {"", "."} for _, name in found):  # RFC 7505, 3
            raise RouteError(_NULL_MX)
        secure = bool(answer.response.flags & dns.flags.AD)
        ours = min((preference for preference, name in found if name == self._ourselves), default=None)
        # RFC 5321, 5.1: where we are one of them, only those count that are preferred to us.
        usable = [(preference, name) for preference, name in found if ours is None or preference < ours]
        if not usable:
            raise RouteError(_OURSELVES)
        random.shuffle(usable)  # the sort keeps the order of those alike
        return [Exchange(name, secure) for _, name in sorted(usable, key=lambda one: one[0])]

    async def addresses(self, name: str) -> list[str]:
        """The addresses of a host, IPv6 first; none where it has none. Raises RouteError where the DNS is away."""
        try:
            return [str(ipaddress.ip_address(name))]
        except ValueError:
            pass
        answers = await asyncio.gather(*(self._addresses(name, kind) for kind in self._types), return_exceptions=True)
        found = [address for answer in answers if isinstance(answer, list) for address in answer]
        if not found:
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise RouteError(_NO_ANSWER) from answer
        return found

    async def texts(self, name: str) -> list[str]:
        """The TXT records of a name, each as one text; none where there are none. Raises RouteError."""
        try:
            answer = await self.resolver.resolve(name, "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise RouteError(_NO_ANSWER) from error
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]

    async def _addresses(self, name: str, kind: str) -> list[str]:
        try:
            answer = await self.resolver.resolve(name, kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        return [record.address for record in answer]


def _resolver(name_servers: Sequence[str]) -> dns.asyncresolver.Resolver:
    if not name_servers:
        try:
            return dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            logger.warning("the system names no name server, so no mail can be sent; see RELAY_NAME_SERVERS")
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [name_server(text) for text in name_servers]
    return resolver


def name_server(text: str) -> dns.nameserver.Nameserver:
    address, _, port = text.partition("#")
    return dns.nameserver.Do53Nameserver(address, int(port or 53))


def _literal(domain: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address of an address literal (RFC 5321, 4.1.3). Raises RouteError."""
    text = domain.removeprefix("[").removesuffix("]")
    if text.lower().startswith("ipv6:"):
        text = text[len("ipv6:") :]
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise RouteError(_BAD_LITERAL) from error
