"""A self-made TLS certificate for this machine alone, to try things with: no authority knows it."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: How long a certificate is good, and how long before its end another one takes its place.
GOOD_FOR = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)


def kept_certificate(directory: Path) -> tuple[Path, Path]:
    """`certificate.pem` and `key.pem` in `directory`, for localhost; made when missing or about to run out."""
    certfile, keyfile = directory / "certificate.pem", directory / "key.pem"
    if not (keyfile.exists() and _is_good(certfile)):
        key = ec.generate_private_key(ec.SECP256R1())
        _write(keyfile, _private_pem(key))
        _write(certfile, _self_signed(key).public_bytes(serialization.Encoding.PEM))
    return certfile, keyfile


def _is_good(certfile: Path) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(certfile.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return certificate.not_valid_after_utc - RENEW_BEFORE > datetime.now(UTC)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A server certificate, not an authority's: whoever trusts it trusts nothing else by it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clients whose clock is a little late
        .not_valid_after(now + GOOD_FOR)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    made = path.with_name(f"{path.name}.{os.getpid()}")
    made.touch(mode=0o600)
    made.write_bytes(content)
    made.replace(path)
