"""ARC sets (RFC 8617) for mail that is forwarded: what was found out about it when it came, sealed.

The domain here that passes it on does so; whoever trusts it can believe those results where SPF fails, or a signature
of a message that was changed.

dkimpy hashes and signs headers; the set is put together here, since its own function has the message whole in memory
and reads the results back from a field that anybody could have written. The body is canonicalized as "simple", as in
smtpservice.signing. RSA alone: there is one seal, and not everybody verifies Ed25519.
"""

import base64
import re
import time

import dkim
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import HASH_ALGORITHMS, parse_pem_private_key

from mailstore.delivery import Body
from mailstore.wire import unstuff
from smtpservice.models import DkimKey
from smtpservice.signing import ONCE, body_hash, header_of

#: RFC 8617, 4.2.1: sets that a message may have.
MAX_INSTANCE = 50
_RESULT = re.compile(rb";\s*arc=(\w+)")
_ENDED = re.compile(rb"(?:^|;)\s*cv\s*=\s*fail\b", re.IGNORECASE)
_RELAXED = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
_CANONICAL = b"relaxed/simple"

Field = tuple[bytes, bytes]


def seal(*, domain: str, results: bytes, body: Body) -> bytes:
    """The fields to put on top of a message that `domain` passes on; none where it has no key, or the chain has ended.

    `results` is the value of the Authentication-Results field (RFC 8601) that was made when the message came.
    """
    header = header_of(body)
    key = DkimKey.objects.filter(domain__name=domain, signs=True, algorithm=DkimKey.Algorithm.RSA).first()
    if key is None or not header:
        return b""
    sets = dkim.ARC(header)
    instance, found = sets.sorted_arc_headers()
    validity = _validity(results, chained=bool(instance))
    if not validity or instance >= MAX_INSTANCE or _has_ended(found):
        return b""
    sealer = _Sealer(str(instance + 1).encode(), domain.encode(), key)
    told = (b"ARC-Authentication-Results", b" i=" + sealer.instance + b"; " + results.strip() + b"\r\n")
    signature = (b"ARC-Message-Signature", b" " + sealer.sign_message(header, body_hash(unstuff(body.pieces()))))
    before = [] if validity == dkim.CV_Fail else [old for _, old in reversed(found)]
    sealed = (b"ARC-Seal", b" " + sealer.sign_sets([*before, told, signature], validity))
    return b"".join(name + b":" + value for name, value in (sealed, signature, told))


def _has_ended(found: list[tuple[int, Field]]) -> bool:
    """Whether somebody has sealed already that the chain fails, whatever else is wrong with it (RFC 8617, 5.2)."""
    return any(name.lower() == b"arc-seal" and _ENDED.search(value) for _, (name, value) in found)


def _validity(results: bytes, *, chained: bool) -> bytes:
    """What the seal says of the chain until now (RFC 8617, 4.4); empty: nothing may be added to it (5.1)."""
    said = _RESULT.search(results)
    if not chained:
        return dkim.CV_None if said is None else b""
    # No result for a chain that is there: it had ended before, or it was not looked at.
    return said[1] if said is not None and said[1] in (dkim.CV_Pass, dkim.CV_Fail) else b""


class _Sealer:
    """Which set it is, and who signs it."""

    def __init__(self, instance: bytes, domain: bytes, key: DkimKey) -> None:
        self.instance = instance
        self._who = [(b"d", domain), (b"s", key.selector.encode()), (b"t", str(int(time.time())).encode())]
        self._algorithm = (b"a", key.algorithm.encode())
        self._secret = parse_pem_private_key(key.private_key.encode())

    def sign_message(self, header: bytes, digest: bytes) -> bytes:
        """The value of ARC-Message-Signature (4.1.2): over the header and the body as they are now."""
        signer = dkim.ARC(header)
        present = [name.lower() for name, _ in signer.headers]
        signer.add_frozen([name for name in ONCE if name in present])
        included = [name.lower() for name in signer.default_sign_headers()]
        included += [b"dkim-signature"] * present.count(b"dkim-signature")
        fields = [
            (b"i", self.instance),
            self._algorithm,
            (b"c", _CANONICAL),
            *self._who,
            (b"h", b" : ".join(included)),
            (b"bh", base64.b64encode(digest)),
        ]
        return self._signed(signer, fields, included, b"ARC-Message-Signature")

    def sign_sets(self, sets: list[Field], validity: bytes) -> bytes:
        """The value of ARC-Seal (4.1.3): over the fields of all sets, the oldest first."""
        signer = dkim.ARC(b"")
        signer.headers = sets[::-1]  # of fields with one name the last is taken first
        fields = [(b"i", self.instance), (b"cv", validity), self._algorithm, *self._who]
        return self._signed(signer, fields, [name.lower() for name, _ in sets], b"ARC-Seal")

    def _signed(self, signer: dkim.ARC, fields: list[Field], included: list[bytes], name: bytes) -> bytes:
        signer.hasher = HASH_ALGORITHMS[self._algorithm[1]]
        signer.signature_algorithm = self._algorithm[1]
        fields.append((b"b", b"0" * 60))  # as long as a line, so that folding it again moves nothing before it
        value: bytes = signer.gen_header(fields, included, _RELAXED, name, self._secret)
        return value
