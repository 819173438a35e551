"""DANE (RFC 7672): the key of a host that takes mail, published in the DNS and signed there.

Only worth something where the name server verifies signatures and is reached by a way nobody else is on: RELAY_DANE
says so. Records of usage 3, which name the host's own key or certificate, are enforced. Those of usage 2, which name
who issued it, cannot be with Python's ssl, which does not tell the chain: with them TLS has to be, whoever is there.
"""

import hashlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.resolver
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from smtpservice.relay.outcomes import PeerReply
from smtpservice.relay.routes import RouteError, Router

_ENTITY = 3
_HASHES: dict[int, Callable[[bytes], bytes]] = {
    0: lambda octets: octets,
    1: lambda octets: hashlib.sha256(octets).digest(),
    2: lambda octets: hashlib.sha512(octets).digest(),
}


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One record (RFC 6698, 2.1). Selector 0 is the certificate, 1 its public key."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def is_usable(self) -> bool:
        """Whether it can be looked at here."""
        return self.usage == _ENTITY and self.selector in {0, 1} and self.matching in _HASHES

    def fits(self, certificate: bytes) -> bool:
        """Whether a certificate (DER) is the one that is meant."""
        octets = certificate
        if self.selector == 1:
            key = x509.load_der_x509_certificate(certificate).public_key()
            octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return _HASHES[self.matching](octets) == self.data


async def find(router: Router, host: str, port: int) -> list[Tlsa]:
    """The records of a host that are signed; none where there are none.

    Raises RouteError where the DNS does not tell: somebody may be hiding them (RFC 7672, 2.1).
    """
    try:
        answer = await router.resolver.resolve(f"_{port}._tcp.{host}", "TLSA", search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, OSError) as error:
        reply = PeerReply(451, "4.7.5", f"The DNS does not tell the key of {host} (DANE)")
        raise RouteError(reply) from error
    if not answer.response.flags & dns.flags.AD:
        return []
    return [Tlsa(record.usage, record.selector, record.mtype, record.cert) for record in answer]


def verifier(records: Sequence[Tlsa]) -> Callable[[ssl.SSLObject], None] | None:
    """What looks at an encrypted connection and raises ssl.SSLError; None where no record is usable."""
    usable = [record for record in records if record.is_usable]

    def verify(connection: ssl.SSLObject) -> None:
        certificate = connection.getpeercert(binary_form=True) or b""
        if not any(record.fits(certificate) for record in usable):
            raise ssl.SSLError("the certificate is not the one that the DNS tells (DANE)")

    return verify if usable else None
