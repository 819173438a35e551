"""Signatures are verified in a time that grows as the message does, whatever a stranger wrote."""

import logging
import time
import tracemalloc

import dkim
import pytest
from dkim.canonicalization import Relaxed

from smtpservice.verifiers import Arc, Dkim, relaxed_body

LOG = logging.getLogger("nobody")
FIELDS = b"v=1; a=rsa-sha256; d=x.example; s=k; h=from; bh=YWJj; b=YWJj"


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"a", b" a\t\t b \r\n \r\n\t\r\nc", b"\t \t", b"a  \r\n\r\n\r\n", b"\t.\t\r\n\x00 \xff  x"]
)
def test_rfc_6376_3_4_4_the_form_is_that_of_dkimpy(body: bytes) -> None:
    assert Relaxed.canonicalize_body(relaxed_body(body)) == Relaxed.canonicalize_body(body)


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
