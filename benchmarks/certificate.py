"""One certificate, ECDSA P-256, for every server that is measured over TLS."""

import functools
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

NAME = "localhost"


@dataclass(frozen=True)
class Files:
    """The certificate and its key, PEM."""

    certfile: Path
    keyfile: Path


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def _issued() -> trustme.LeafCert:
    return _authority().issue_cert(NAME)


def write_certificate(folder: Path) -> Files:
    """Put the certificate into a server's folder: the same one for all servers of this process."""
    files = Files(folder / "cert.pem", folder / "key.pem")
    _issued().cert_chain_pems[0].write_to_path(files.certfile)
    _issued().private_key_pem.write_to_path(files.keyfile)
    return files


def trusting() -> ssl.SSLContext:
    """The context of a client that checks it."""
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context
