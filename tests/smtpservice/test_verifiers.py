"""Signatures are verified in a time that grows as the message does, whatever a stranger wrote."""

import base64
import hashlib
import logging
import time
import tracemalloc
from contextlib import nullcontext

import dkim
import pytest
from dkim.canonicalization import Relaxed

from smtpservice.verifiers import EXPONENT_BITS, NAMES, RSA_BITS, Arc, Dkim, relaxed_body

LOG = logging.getLogger("nobody")
FIELDS = b"v=1; a=rsa-sha256; d=x.example; s=k; h=from; bh=YWJj; b=YWJj"


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"a", b" a\t\t b \r\n \r\n\t\r\nc", b"\t \t", b"a  \r\n\r\n\r\n", b"\t.\t\r\n\x00 \xff  x"]
)
def test_rfc_6376_3_4_4_the_form_is_that_of_dkimpy(body: bytes) -> None:
    assert Relaxed.canonicalize_body(relaxed_body(body)) == Relaxed.canonicalize_body(body)


def der(tag: int, content: bytes) -> bytes:
    octets = len(content).to_bytes(4, "big")
    return bytes([tag, 0x84]) + octets + content


def key_record(bits: int, exponent_bits: int) -> bytes:
    """A TXT record with an RSA key of any numbers that have so many bits."""
    numbers = (der(2, ((1 << size) - 1).to_bytes(size // 8 + 1, "big")) for size in (bits, exponent_bits))
    algorithm = der(0x30, der(6, bytes.fromhex("2a864886f70d010101")) + b"\x05\x00")
    return b"v=DKIM1; p=" + base64.b64encode(der(0x30, algorithm + der(3, b"\0" + der(0x30, b"".join(numbers)))))


@pytest.mark.parametrize(
    ("bits", "exponent_bits", "fits"),
    [
        (RSA_BITS, EXPONENT_BITS, True),
        (RSA_BITS, EXPONENT_BITS + 1, False),
        (RSA_BITS + 1, 17, False),
        (150_000, 150_000, False),
    ],
)
def test_rfc_8301_3_2_a_key_of_a_stranger_is_no_larger_than_others(
    bits: int, exponent_bits: int, *, fits: bool
) -> None:
    body_hash = base64.b64encode(hashlib.sha256(b"x\r\n").digest())
    signature = base64.b64encode(b"\x01" * ((bits + 7) // 8))
    signed = FIELDS.replace(b"bh=YWJj", b"bh=" + body_hash).replace(b" b=YWJj", b" b=" + signature)
    verifier = Dkim(b"DKIM-Signature: " + signed + b"\r\nFrom: a@x.example\r\n\r\nx\r\n", LOG)
    begun = time.monotonic()
    with nullcontext() if fits else pytest.raises(dkim.KeyFormatError):
        assert not verifier.verify(dnsfunc=lambda name, timeout: key_record(bits, exponent_bits))
    assert time.monotonic() - begun < 2


def test_short_lines_take_no_more_room_than_long_ones() -> None:
    message = b"From: a@x.example\r\n\r\n" + b"a\r\n" * 1_000_000
    tracemalloc.start()
    try:
        verifier = Dkim(message, LOG)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(message)
    finally:
        tracemalloc.stop()
    assert verifier.body == b"a\r\n" * 1_000_000


@pytest.mark.parametrize("tag", [b"b=", b"h=", b"bh="])
@pytest.mark.parametrize("blanks", [b" " * 60_000, b"\r\n\t" * 20_000])
def test_blanks_in_a_signature(tag: bytes, blanks: bytes) -> None:
    value = FIELDS.replace(b" " + tag, b" " + tag + b"from" + blanks)
    begun = time.monotonic()
    for kind, name in ((Dkim, b"DKIM-Signature"), (Arc, b"ARC-Seal"), (Arc, b"ARC-Message-Signature")):
        with pytest.raises(dkim.MessageFormatError):
            kind(name + b": " + value + b"\r\n\r\nx\r\n", LOG).verify(dnsfunc=lambda name, timeout: b"")
    assert time.monotonic() - begun < 2
    Dkim(b"Subject: " + blanks + b"x\r\nDKIM-Signature: " + FIELDS + b"\r\n\r\nx\r\n", LOG)


@pytest.mark.parametrize("signatures", [1, 4])
def test_for_each_name_of_a_signed_field_all_fields_are_looked_through(signatures: int) -> None:
    names = b":".join(b"%x" % number for number in range(10_000 // signatures))
    fields = (b"DKIM-Signature: " + FIELDS.replace(b"h=from", b"h=" + names) + b"\r\n") * signatures
    with pytest.raises(dkim.MessageFormatError):
        Dkim(fields + b"y:\r\n" * 4000 + b"From: a@x.example\r\n\r\nx\r\n", LOG)


def test_a_long_chain_of_signatures_has_not_too_many_names() -> None:
    names = b":".join([b"from"] * 40)
    Arc((b"ARC-Message-Signature: h=" + names + b"\r\n") * (NAMES // 40) + b"\r\nx\r\n", LOG)
