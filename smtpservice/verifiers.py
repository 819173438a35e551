"""dkimpy's verifiers of DKIM and ARC, without what takes the square of a stranger's octets.

Its patterns look behind each blank for the end of a line or of a value, and while they do no other thread of the
process does anything: for an hour with a megabyte of blanks. So a body comes to it in "relaxed" form (RFC 6376, 3.4.4)
where a signature asks for that, and signatures with many blanks in a row are none. Nor are those by a huge key, which
is a stranger's too: raising to a power of 16384 bits took eighteen seconds, and the DNS would have had room for more.
For each name in h= all fields of the header are looked through, so signatures of a message name so many and no more.
"""

import logging
import re

import dkim
from dkim.canonicalization import CanonicalizationPolicy, Relaxed

_SIGNATURES = frozenset({b"dkim-signature", b"arc-seal", b"arc-message-signature", b"arc-authentication-results"})
#: RFC 8301, 3.2: verifiers know keys of up to 4096 bits. The usual exponent has 17.
RSA_BITS, EXPONENT_BITS = 4096, 64
#: Colons in all signatures of a message: there is one between two names of h=, and hardly another. Most name thirty.
NAMES = 1000
_BLANKS = re.compile(rb"\s{256}")


def relaxed_body(body: bytes) -> bytes:
    """A body whose lines end in CRLF, with one space for blanks in a row and none at the ends of lines."""
    body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    return body.replace(b" \r\n", b"\r\n")


def _is_usual(key: dict[str, int]) -> bool:
    return key["modulus"].bit_length() <= RSA_BITS and key["publicExponent"].bit_length() <= EXPONENT_BITS


class _Bounded(dkim.DomainSigner):  # type: ignore[misc]
    """`message` with CRLF at line ends. Raises dkim.MessageFormatError, IndexError where it cannot be verified."""

    body: bytes

    def __init__(self, message: bytes, logger: logging.Logger) -> None:
        header, _, body = message.partition(b"\r\n\r\n")
        super().__init__(header + b"\r\n\r\n", logger=logger)
        self.body = body  # dkimpy would take it apart into lines, in thirty times the room if they are short
        signatures = [value for name, value in self.headers if name.lower() in _SIGNATURES]
        if any(map(_BLANKS.search, signatures)):
            raise dkim.MessageFormatError("too many blanks in a signature")
        if sum(value.count(b":") for value in signatures) > NAMES:
            raise dkim.MessageFormatError("too many names in the signatures")

    def verify_sig_process(self, sig: dict[bytes, bytes], *more: object) -> bool:
        """What comes once the key is there: hash the body, hash the header, look at the signature."""
        if self.ktag == b"rsa" and not _is_usual(self.pk):
            raise dkim.KeyFormatError("an RSA key that is larger than any in use")
        whole = self.body
        if CanonicalizationPolicy.from_c_value(sig.get(b"c", b"simple/simple")).body_algorithm is Relaxed:
            self.body = relaxed_body(whole)
        try:
            valid: bool = super().verify_sig_process(sig, *more)
        finally:
            self.body = whole
        return valid


class Dkim(_Bounded, dkim.DKIM):  # type: ignore[misc]
    """Verifies a DKIM-Signature (RFC 6376)."""


class Arc(_Bounded, dkim.ARC):  # type: ignore[misc]
    """Verifies a chain of ARC sets (RFC 8617)."""
