"""Replies on the wire."""

import pytest

from smtpservice import replies
from smtpservice.replies import Reply

ALL = [value for value in vars(replies).values() if isinstance(value, Reply)]


def test_rfc_5321_4_2_1_a_multiline_reply_has_hyphens_but_in_its_last_line() -> None:
    assert Reply(250, "", "host\nSIZE 5\n8BITMIME").encode() == b"250-host\r\n250-SIZE 5\r\n250 8BITMIME\r\n"
    assert Reply(214, "2.0.0", "a\nb").encode() == b"214-2.0.0 a\r\n214 2.0.0 b\r\n"


@pytest.mark.parametrize("reply", ALL, ids=lambda reply: f"{reply.code} {reply.status}")
def test_rfc_2034_4_the_class_of_the_enhanced_code_is_that_of_the_reply(reply: Reply) -> None:
    if reply.code == 354:
        assert reply.status == ""
    else:
        assert reply.status.split(".")[0] == str(reply.code)[0]
    assert reply.is_error is (reply.code >= 400)


@pytest.mark.parametrize("reply", ALL, ids=lambda reply: f"{reply.code} {reply.status}")
def test_rfc_5321_4_5_3_1_5_a_reply_line_has_512_octets_at_most(reply: Reply) -> None:
    assert all(len(line) <= 512 for line in reply.encode().splitlines(keepends=True))
