"""DKIM signatures (RFC 6376, RFC 8463) for mail that is ours: its From and its reverse-path are of one domain here.

dkimpy hashes and signs the header; the body is hashed here, since dkimpy would have a message whole in memory. The body
is canonicalized as "simple": as it is, but for empty lines at its end.
"""

import base64
import hashlib
import time
from collections.abc import Iterable

import dkim
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import HASH_ALGORITHMS, parse_pem_private_key
from nacl.encoding import Base64Encoder
from nacl.signing import SigningKey

from mailstore.delivery import Body
from mailstore.wire import unstuff
from smtpservice.authors import addresses_in, from_fields
from smtpservice.models import DkimKey

_CANONICAL = b"relaxed/simple"
#: Fields that are signed once more than they are there, so that nobody adds another (RFC 6376, 8.15).
ONCE = (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"sender", b"content-type")
#: A header that is longer is not signed: it is looked at as a whole.
_HEADER_OCTETS = 256 * 1024


def sign(*, sender: str, body: Body, top: bytes) -> bytes:
    """The DKIM-Signature fields to put before `top` and the message; none where no key is there for it."""
    header = header_of(body, top)
    domain = author_domain(header)
    if not domain or domain != sender.rpartition("@")[2].lower():
        return b""
    keys = list(DkimKey.objects.filter(domain__name=domain, signs=True).order_by("algorithm"))
    if not keys:
        return b""
    digest = body_hash(unstuff(body.pieces()))
    return b"".join(sign_header(header, digest, key, domain) for key in keys)


def header_of(body: Body, top: bytes = b"") -> bytes:
    """A message's header with `top` on it, up to and with the empty line; empty where it is too large or is none."""
    if body.header_octets + len(top) > _HEADER_OCTETS:
        return b""
    header = b"".join(unstuff([top + next(body.pieces())]))[: len(top) + body.header_octets]
    header = header[: header.find(b"\r\n\r\n") + 4]
    try:
        dkim.rfc822_parse(header)
    except (dkim.MessageFormatError, IndexError):  # a line that is no field: it goes as it is, unsigned
        return b""
    return header


def author_domain(header: bytes) -> str:
    """The domain of the one address in the one From of a header, in lower case; "" where there is not one."""
    fields = from_fields(header)
    addresses = addresses_in(fields)
    domains = {address.rpartition("@")[2].lower() if "@" in address else "" for address in addresses}
    return domains.pop() if len(fields) == len(domains) == 1 else ""


def sign_header(header: bytes, body_digest: bytes, key: DkimKey, domain: str) -> bytes:
    """The DKIM-Signature field of one key, with its line end."""
    signer = dkim.DKIM(header, signature_algorithm=key.algorithm.encode())
    present = {name.lower() for name, _ in signer.headers}
    signer.add_frozen([name for name in ONCE if name in present])
    names = [name.lower() for name in signer.default_sign_headers()]
    signer.hasher = HASH_ALGORITHMS[signer.signature_algorithm]
    fields = [
        (b"v", b"1"),
        (b"a", signer.signature_algorithm),
        (b"c", _CANONICAL),
        (b"d", domain.encode()),
        (b"s", key.selector.encode()),
        (b"t", str(int(time.time())).encode()),
        (b"h", b" : ".join(names)),
        (b"bh", base64.b64encode(body_digest)),
        (b"b", b"0" * 60),  # as long as a line, so that folding it again moves nothing before it
    ]
    policy = CanonicalizationPolicy.from_c_value(_CANONICAL)
    value: bytes = signer.gen_header(fields, names, policy, b"DKIM-Signature", _secret(key))
    return b"DKIM-Signature: " + value


def body_hash(pieces: Iterable[bytes]) -> bytes:
    """SHA-256 of a message's body in simple canonical form (RFC 6376, 3.4.3); it comes in pieces of any size."""
    digest, in_header, tail, empty = hashlib.sha256(), True, b"", 0
    for piece in pieces:
        text = tail + piece
        if in_header:
            end = text.find(b"\r\n\r\n")
            if end < 0:
                tail = text[-3:]
                continue
            in_header, text = False, text[end + 4 :]
        body = text.rstrip(b"\r\n")
        held = text[len(body) :]
        tail = b"\r" if held.endswith(b"\r") else b""
        lines = held.count(b"\r\n")
        if body:
            digest.update(b"\r\n" * empty + body)
            empty = 0
        empty += lines
    digest.update(b"\r\n")
    return digest.digest()


def _secret(key: DkimKey) -> object:
    if key.algorithm == DkimKey.Algorithm.ED25519:
        return SigningKey(key.private_key.encode(), encoder=Base64Encoder)
    return parse_pem_private_key(key.private_key.encode())
