"""Whether a server's certificate was issued by an authority that the DNS names (DANE-TA, RFC 7672, 3.1.2).

cryptography builds the path: signatures, times, name constraints, lengths and critical extensions. What else it asks
for by default is what browsers want of public authorities, and one of somebody's own need not know of; of that here is
what OpenSSL looks at. Names are compared here, since cryptography would verify no server whose name has an underscore.
Below an authority that is constrained to some names it takes no such name all the same.
"""

import ssl
from collections.abc import Callable, Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

#: Certificates of a server that are looked at: more than any has, and few enough to try them all.
MOST_SHOWN = 10


def shown_by(connection: ssl.SSLObject) -> list[bytes]:
    """The certificates (DER) that the server has shown, its own first, as it has them: nobody has verified them."""
    told = getattr(connection, "get_unverified_chain", None)
    if told is not None:  # Python 3.13
        return list(told())[:MOST_SHOWN]
    # Before, the same function is there and has no public name.
    chain = connection._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain[:MOST_SHOWN]]


def is_issued_by(is_meant: Callable[[bytes], bool], shown: Sequence[bytes], names: Iterable[str]) -> bool:
    """Whether the first of the certificates is for one of the names, and leads by the others to one that is meant."""
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in shown]
        anchors = [each for each, der in zip(certificates, shown, strict=True) if is_meant(der)]
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not anchors:
        return False
    policy = PolicyBuilder().store(Store(anchors)).extension_policies(ca_policy=_AUTHORITY, ee_policy=_SERVER)
    try:
        subjects = policy.build_client_verifier().verify(certificates[0], certificates[1:]).subjects or []
    except (VerificationError, ValueError):  # the latter of names that are none
        return False
    told = {subject.value.lower() for subject in subjects if isinstance(subject, x509.DNSName)}
    return any(not told.isdisjoint(_spellings(name)) for name in names)


def _spellings(name: str) -> tuple[str, str]:
    """How a certificate may have a name: a star stands for its first label (RFC 9525, 6.3)."""
    return name.lower(), "*." + name.lower().partition(".")[2]


def _may_issue(policy: Policy, certificate: x509.Certificate, extension: x509.BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("this is no authority")


def _signs(policy: Policy, certificate: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("the authority's key is not for certificates")


def _serves(policy: Policy, certificate: x509.Certificate, extension: x509.ExtendedKeyUsage | None) -> None:
    fitting = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if extension is not None and fitting.isdisjoint(extension):
        raise ValueError("the certificate is not for servers")


_ANY = Criticality.AGNOSTIC
_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _ANY, _may_issue)
    .may_be_present(x509.KeyUsage, _ANY, _signs)
)
_SERVER = (
    ExtensionPolicy.permit_all()
    .require_present(x509.SubjectAlternativeName, _ANY, None)
    .may_be_present(x509.ExtendedKeyUsage, _ANY, _serves)
)
