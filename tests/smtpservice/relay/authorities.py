"""Certificates as somebody's own authorities issue them, and what a client is shown of them in a real handshake."""

import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass
class Holder:
    """A name with its key and certificate; an authority where `is_authority` is. None: the extension is not there."""

    name: str
    issuer: "Holder | None" = None
    is_authority: bool | None = True
    names: tuple[str, ...] = ()
    ends: datetime = NOW + DAY
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        issuer = self.issuer or self
        made = x509.CertificateBuilder().subject_name(_named(self.name)).issuer_name(_named(issuer.name))
        made = made.public_key(self.key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(NOW - 2 * DAY).not_valid_after(self.ends)
        if self.is_authority is not None:
            made = made.add_extension(x509.BasicConstraints(self.is_authority, None), critical=True)
        if self.names:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in self.names]), False)
        for extension, critical in self.extensions:
            made = made.add_extension(extension, critical)
        self.certificate = made.sign(issuer.key, SHA256())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def server(issuer: Holder | None, *names: str, **more: object) -> Holder:
    """The certificate of a mail server."""
    return Holder("server", issuer, None, names or ("mail.example.org",), **more)


def context_of(*chain: Holder) -> ssl.SSLContext:
    """A server that shows these certificates, the first its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        key = chain[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write(key + b"".join(each.certificate.public_bytes(Encoding.PEM) for each in chain))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def connection_to(*chain: Holder) -> ssl.SSLObject:
    """A client's end after the handshake with such a server, which it has not verified."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    peer = context_of(*chain).wrap_bio(to_server, to_client, server_side=True)
    for end in (client, peer) * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
