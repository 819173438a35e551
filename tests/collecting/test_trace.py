"""Which messages go round."""

import pytest

from collecting.trace import goes_round

ME = "charles@alfred.maison.mrs"
HERE = b"Delivered-To: Charles@alfred.maison.mrs\r\nReceived: from x by alfred.maison.mrs with ESMTP id 1; x\r\n"
POP3 = b"Received: from alfred.maison.mrs (account charles)\r\n\tby jules.maison.mrs with POP3 id 2; x\r\n"
THERE = b"Return-Path: <>\r\nDelivered-To: charles@jules.maison.mrs\r\n"


@pytest.mark.parametrize(
    ("header", "round_it_goes"),
    [
        (THERE + POP3 + HERE, True),  # was here, was collected there
        (THERE + POP3 + b"Delivered-To: other@b\r\n" + POP3 + HERE, True),  # with another in between
        (HERE, False),  # a mailbox of this address on another server, which is moved here
        (HERE + POP3, False),  # and which collected from elsewhere
        (THERE + POP3, False),
        (THERE + POP3 + b"Delivered-To: charles@alfred\r\n", False),
        (b"Received: x\r\n" * 101, True),
    ],
)
def test_headers(header: bytes, round_it_goes: bool) -> None:
    assert goes_round(header, ME) is round_it_goes
