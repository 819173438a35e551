"""DANE (RFC 7672): the key of a host that takes mail, published in the DNS and signed there.

Only worth something where the name server verifies signatures and is reached by a way nobody else is on: RELAY_DANE
says so. Records of usage 3 name the host's own key or certificate, those of usage 2 an authority that has issued it
(smtpservice.relay.chains). The other usages are not for SMTP (RFC 7672, 3.1.3): with them alone TLS has to be, whoever
is there.
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

from smtpservice.relay.chains import is_issued_by, shown_by
from smtpservice.relay.outcomes import PeerReply
from smtpservice.relay.routes import RouteError, Router

#: Usages (RFC 7218, 2.1).
_AUTHORITY, _ENTITY = 2, 3
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
        return self.usage in {_AUTHORITY, _ENTITY} and self.selector in {0, 1} and self.matching in _HASHES

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


def verifier(records: Sequence[Tlsa], names: Sequence[str]) -> Callable[[ssl.SSLObject], None] | None:
    """What looks at an encrypted connection and raises ssl.SSLError; None where no record is usable.

    `names`: for one of these an authority has to have issued the certificate (RFC 7672, 3.2.2). Where the DNS tells the
    certificate itself, neither its names nor its time matter (3.1.1).
    """
    usable = [record for record in records if record.is_usable]

    def verify(connection: ssl.SSLObject) -> None:
        shown = shown_by(connection)
        if not any(_holds(record, shown, names) for record in usable):
            raise ssl.SSLError("the certificate is not the one that the DNS tells (DANE)")

    return verify if usable else None


def _holds(record: Tlsa, shown: Sequence[bytes], names: Sequence[str]) -> bool:
    """Whether certificates, the server's own first, are what the record says."""
    if record.usage == _ENTITY:
        return any(record.fits(own) for own in shown[:1])
    # RFC 7672, 3.1.2: a server shows its authority's certificate too, unless the record has the whole of it.
    whole = [record.data] if (record.selector, record.matching) == (0, 0) and record.data not in shown else []
    return is_issued_by(record.fits, [*shown, *whole], names)
