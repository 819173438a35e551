"""The certificates of the mail servers: which one a client is shown, and those that are renewed while all runs.

`Certificates.context` is the one context for every handshake. It is made before the workers are forked and stays when
certificates are renewed, and with it the keys of session tickets: a client that was served by one worker resumes its
session with another (RFC 8446, 2.2; RFC 5077). It has the first certificate as it was then: where a client is to see
another one, by the name that it is looking for (RFC 6066, 3) or since it was renewed, the context of that takes over.
"""

import logging
import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

logger = logging.getLogger(__name__)

#: Session tickets of each full handshake; one that resumes has one in any case. A mail client has one connection after
#: the other, for which one is enough, and each costs a server a tenth of the handshake (OpenSSL's default is 2).
TICKETS = 1

#: What tells one state of a file from the next.
Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate chain and its key (PEM); without a `keyfile` the key is in the other one."""

    certfile: Path
    keyfile: Path | None = None

    def __str__(self) -> str:
        return f"{self.certfile} with {self.keyfile}" if self.keyfile else str(self.certfile)


def paired(certfiles: Sequence[Path], keyfiles: Sequence[Path]) -> list[Files]:
    """Each certificate with the key at its place. Raises ValueError where they do not pair off."""
    if keyfiles and len(keyfiles) != len(certfiles):
        raise ValueError("give one --keyfile for each --certfile, in the same order, or none")
    keys: Sequence[Path | None] = keyfiles or [None] * len(certfiles)
    return [Files(*each) for each in zip(certfiles, keys, strict=True)]


class Certificates:
    """Read once when made, which raises OSError with the names of the files where that fails."""

    def __init__(self, files: Sequence[Files], alpn: Sequence[str] = ()) -> None:
        self._files = tuple(files)
        self._alpn = tuple(alpn)
        self._first: ssl.SSLContext
        #: By the name in lower case, such as mail.example.org or *.example.org.
        self._named: dict[str, ssl.SSLContext]
        self._read: tuple[Stamp, ...] = ()
        self._seen: tuple[Stamp, ...] = ()
        self._load()
        self.context = self._first
        self.context.sni_callback = self._choose
        self.context.num_tickets = TICKETS

    def anew(self) -> "Certificates":
        """The same files, read again, with other keys for session tickets. Raises OSError."""
        return Certificates(self._files, self._alpn)

    def look(self) -> None:
        """Renew what has changed since it was read, but not since the last look: by then a pair is complete."""
        seen, self._seen = self._seen, self._stamps()
        if self._seen == seen:
            self.renew()

    def renew(self) -> None:
        """Read the files again if they have changed. If one cannot be read all stays as it is, and the log says so."""
        stamps = self._stamps()
        if stamps == self._read:
            return
        try:
            self._load()
        except OSError:
            logger.exception("the certificate cannot be read, the last one stays in use")
            self._read = stamps
        else:
            logger.info("the certificates were renewed: %s", ", ".join(sorted(self._named)) or "without a name")

    def _load(self) -> None:
        stamps = self._stamps()  # before: what changes while it is read has changed
        contexts = [self._read_pair(files) for files in self._files]
        named: dict[str, ssl.SSLContext] = {}
        for files, context in zip(self._files, contexts, strict=True):
            for name in _names(files.certfile):
                named.setdefault(name.lower(), context)
        self._first, self._named, self._read = contexts[0], named, stamps

    def _read_pair(self, files: Files) -> ssl.SSLContext:
        context = _context(self._alpn)
        try:
            context.load_cert_chain(files.certfile, files.keyfile, password=_no_passphrase)
        except OSError as error:  # which says of neither file what it is called
            raise OSError(f"{files}: {error}") from error
        return context

    def _stamps(self) -> tuple[Stamp, ...]:
        return tuple(_stamp(path) for files in self._files for path in (files.certfile, files.keyfile) if path)

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        """RFC 6066, 3, and RFC 6125, 6.4.3: a name in full, then a wildcard for its first label, then the first one."""
        # Each handshake comes here: some 5 microseconds are saved where the context stays, and by looking first for the
        # name as most clients spell it.
        chosen = (self._named.get(name) or self._spelled_otherwise(name)) if name else self._first
        if chosen is not self.context:
            connection.context = chosen

    def _spelled_otherwise(self, name: str) -> ssl.SSLContext:
        name = name.lower().removesuffix(".")
        wildcard = f"*.{name.partition('.')[2]}"
        return self._named.get(name) or self._named.get(wildcard) or self._first


def _context(alpn: Sequence[str]) -> ssl.SSLContext:
    """TLS 1.2 or later (RFC 8996); `alpn` are the protocols served (RFC 7301)."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _stamp(path: Path) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _names(certfile: Path) -> Iterator[str]:
    """The names of hosts that the first certificate of a file is for."""
    try:
        certificate = x509.load_pem_x509_certificates(certfile.read_bytes())[0]
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        yield from names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        for common in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):  # RFC 6125, 6.4.4
            yield str(common.value)
    except ValueError as error:
        raise OSError(f"{certfile}: {error}") from error


def _no_passphrase() -> str:
    raise OSError("the key is protected by a passphrase, which a server cannot ask for")
