"""BDAT: messages in chunks (RFC 3030), and octets of a refused one that are no commands."""

import pytest

from smtpservice import replies
from smtpservice.requests import Service
from tests.smtpservice.driving import ENVELOPE, MAX_OCTETS, Talk


def bdat(content: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n%s" % (len(content), b" LAST" if last else b"", content)


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_rfc_3030_2_a_message_in_chunks_of_any_size(step: int) -> None:
    talk = Talk()
    parts = [b"Subject: x\r\n\r\n", b".\r\n\r\n.\r\nQUIT\r", b"\n", b""]
    data = ENVELOPE + b"".join(bdat(part) for part in parts) + bdat(b"..end\r\n", last=True) + b"NOOP\r\n"
    codes = talk.codes(*[data[at : at + step] for at in range(0, len(data), step)])
    assert codes == ["250 2.1.0", "250 2.1.5", *["250 2.0.0"] * 6]
    ((request, content),) = talk.delivered
    assert content == b"".join(parts) + b"..end\r\n"  # nothing is stuffed
    assert request.recipients == ("jules@maison.mrs",)


def test_rfc_3030_2_one_chunk_is_a_message_and_the_next_may_follow() -> None:
    talk = Talk()
    both = (ENVELOPE + bdat(b"one\r\n", last=True)) + (ENVELOPE + bdat(b"two\r\n", last=True))
    assert talk.codes(both) == ["250 2.1.0", "250 2.1.5", "250 2.0.0"] * 2
    assert [content for _, content in talk.delivered] == [b"one\r\n", b"two\r\n"]


def test_rfc_2033_4_2_in_lmtp_the_last_chunk_has_a_reply_for_each_recipient() -> None:
    talk = Talk(Service.LMTP)
    talk.say(ENVELOPE, b"RCPT TO:<alfred@maison.mrs>\r\n")
    assert talk.codes(bdat(b"one\r\n") + bdat(b"two\r\n", last=True)) == ["250 2.0.0"] * 3


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "503 5.5.1"),
        (b"MAIL FROM:<>\r\n", "503 5.5.1"),
        (b"MAIL FROM:<>\r\nRCPT TO:<nobody@maison.mrs>\r\n", "554 5.5.1"),
    ],
)
def test_rfc_3030_2_the_octets_of_a_refused_chunk_are_no_commands(said: bytes, code: str) -> None:
    talk = Talk()
    talk.say(said)
    state = type(talk.session.state)
    assert talk.codes(bdat(b"QUIT\r\nRSET\r\n") + bdat(b"") + b"NOOP\r\n") == [code, code, "250 2.0.0"]
    assert type(talk.session.state) is state
    assert not talk.closed


@pytest.mark.parametrize("command", [b"BDAT\r\n", b"BDAT x\r\n", b"BDAT 5 FIRST\r\n", b"BDAT -1\r\n"])
def test_where_it_is_not_known_how_much_follows_nothing_more_is_heard(command: bytes) -> None:
    talk = Talk()
    talk.say(ENVELOPE)
    assert talk.codes(command + b"QUIT\r\n") == ["501 5.5.4"]
    assert talk.closed


def test_rfc_3030_2_between_chunks_there_are_only_chunks_and_their_end() -> None:
    talk = Talk(tls_offered=True)
    talk.say(ENVELOPE, bdat(b"one"))
    assert talk.codes(b"DATA\r\n", b"RCPT TO:<jules@maison.mrs>\r\n", b"MAIL FROM:<>\r\n") == ["503 5.5.1"] * 3
    assert talk.codes(b"STARTTLS\r\n", b"NOOP\r\n") == ["503 5.5.1", "250 2.0.0"]
    assert talk.session.in_transaction


@pytest.mark.parametrize("command", [b"RSET\r\n", b"EHLO me\r\n", b"HELO me\r\n"])
def test_rfc_3030_2_what_was_begun_in_chunks_is_forgotten(command: bytes) -> None:
    talk = Talk()
    talk.say(ENVELOPE, bdat(b"one"))
    assert {line[:3] for line in talk.say(command)} == {"250"}
    talk.say(ENVELOPE, bdat(b"two", last=True))
    assert [content for _, content in talk.delivered] == [b"two"]


def test_rfc_1870_6_3_a_message_that_becomes_too_large_is_refused_and_its_chunks_are_read() -> None:
    talk = Talk()
    talk.say(ENVELOPE, bdat(b"x" * MAX_OCTETS))
    assert talk.codes(bdat(b"QUIT\r\n"), bdat(b""), bdat(b"end", last=True)) == ["552 5.3.4"] * 3
    assert talk.delivered == []
    assert talk.codes(ENVELOPE, bdat(b"x" * MAX_OCTETS, last=True))[-1] == "250 2.0.0"


def test_of_what_cannot_be_kept_the_rest_is_read_and_refused() -> None:
    talk = Talk()
    talk.write_failure = replies.NO_SPACE
    talk.say(ENVELOPE)
    assert talk.codes(bdat(b"one"), bdat(b"two", last=True), b"NOOP\r\n") == ["452 4.3.1", "452 4.3.1", "250 2.0.0"]


def test_many_empty_chunks_are_each_answered() -> None:
    talk = Talk()
    talk.say(ENVELOPE)
    assert talk.codes(b"BDAT 0\r\n" * 5000) == ["250 2.0.0"] * 5000


def test_a_server_that_ends_lets_the_message_come_to_its_end() -> None:
    talk = Talk()
    talk.say(ENVELOPE, bdat(b"one"), b"BDAT 3 LAST\r\n")
    talk.session.end_soon(replies.SHUTTING_DOWN)
    assert talk.codes(b"two") == ["250 2.0.0", "421 4.3.2"]
    assert [content for _, content in talk.delivered] == [b"onetwo"]
