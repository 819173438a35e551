"""Sessions of SMTP and LMTP: replies, order, states, limits. No socket, no database."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpservice import protocol, replies
from smtpservice.protocol import VERBS, Session
from smtpservice.replies import Reply
from smtpservice.requests import Service
from tests.smtpservice.driving import ENVELOPE, HOST, MAX_OCTETS, Talk

MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"
SENT = MESSAGE + b".\r\n"


# --- RFC 5321 ----------------------------------------------------------------------------------------------


def test_rfc_5321_3_1_greeting() -> None:
    assert Talk(greeted=False).greeting == [f"220 {HOST} ESMTP ready"]
    assert Talk(Service.LMTP, greeted=False).greeting == [f"220 {HOST} LMTP ready"]


def test_rfc_5321_3_3_a_message() -> None:
    talk = Talk()
    assert talk.say(b"MAIL FROM:<a@example.org>\r\n") == ["250 2.1.0 Sender ok"]
    assert talk.say(b"RCPT TO:<jules@maison.mrs>\r\n") == ["250 2.1.5 Recipient ok"]
    assert talk.codes(b"DATA\r\n") == ["354"]
    assert talk.say(SENT) == ["250 2.0.0 Stored as 1"]
    assert talk.codes(b"QUIT\r\n") == ["221 2.0.0"]
    assert talk.closed
    (request, content) = talk.delivered[0]
    assert content == MESSAGE
    assert (request.client, request.protocol, request.recipients) == ("me", "ESMTP", ("jules@maison.mrs",))
    assert request.mail.sender == "a@example.org"


def test_rfc_5321_4_1_1_1_ehlo_says_what_is_true_and_no_more() -> None:
    talk = Talk(greeted=False)
    offered = [f"SIZE {MAX_OCTETS}", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES"]
    assert [line[4:] for line in talk.say(b"EHLO me\r\n")] == [HOST, "PIPELINING", *offered]
    assert talk.say(b"HELO me\r\n") == [f"250 {HOST}"]


@pytest.mark.parametrize("command", [b"EHLO me\r\n", b"HELO me\r\n", b"RSET\r\n"])
def test_rfc_5321_4_1_4_what_ends_a_transaction(command: bytes) -> None:
    talk = Talk()
    talk.say(ENVELOPE, command)
    assert talk.codes(b"DATA\r\n") == ["503 5.5.1"]
    assert not talk.session.in_transaction


@pytest.mark.parametrize(
    ("said", "command", "reply"),
    [
        (b"", b"MAIL FROM:<>", replies.EHLO_FIRST),
        (b"", b"RCPT TO:<jules@maison.mrs>", replies.EHLO_FIRST),
        (b"", b"DATA", replies.EHLO_FIRST),
        (b"EHLO me\r\n", b"RCPT TO:<jules@maison.mrs>", replies.MAIL_FIRST),
        (b"EHLO me\r\n", b"DATA", replies.MAIL_FIRST),
        (b"EHLO me\r\nMAIL FROM:<>\r\n", b"MAIL FROM:<>", replies.MAIL_TWICE),
        (b"EHLO me\r\nMAIL FROM:<>\r\n", b"DATA", replies.RECIPIENT_FIRST),
    ],
)
def test_rfc_5321_4_1_4_order_of_commands(said: bytes, command: bytes, reply: Reply) -> None:
    talk = Talk(greeted=False)
    talk.say(said)
    assert talk.say(command + b"\r\n") == [reply.encode().decode().strip()]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"EHLO", "501 5.5.4"),
        (b"EHLO <x>", "501 5.5.4"),
        (b"MAIL", "501 5.5.4"),
        (b"MAIL FROM:a@example.org", "501 5.1.7"),
        (b"RSET now", "501 5.5.4"),
        (b"QUIT now", "501 5.5.4"),
        (b"VRFY", "501 5.5.4"),
        (b"VRFY jules", "252 2.0.0"),
        (b"EXPN list", "502 5.5.1"),
        (b"STARTTLS", "502 5.5.1"),
        (b"NOOP", "250 2.0.0"),
        (b"noop anything at all", "250 2.0.0"),
        (b"HELP", "214 2.0.0"),
        (b"BDAT 0 LAST", "503 5.5.1"),
        (b"AUTH PLAIN", "500 5.5.1"),
        (b"LHLO me", "500 5.5.1"),
        (b"", "500 5.5.1"),
        (b" NOOP", "500 5.5.1"),
        (b"NO\0OP", "500 5.5.2"),
        (b"NOOP\rNOOP", "500 5.5.2"),
        (b"\xff\xfe", "500 5.5.1"),
        (b"MAIL FROM:<\xc3\xa9@example.org>", "553 5.6.7"),
    ],
)
def test_rfc_5321_4_2_4_bad_input_gets_one_reply_and_the_next_command_works(command: bytes, code: str) -> None:
    talk = Talk()
    assert talk.codes(command + b"\r\n") == [code]
    assert talk.codes(b"NOOP\r\n") == ["250 2.0.0"]


def test_rfc_5321_2_3_8_a_command_line_ends_in_crlf() -> None:
    """It is refused, not carried out, and not waited for: a person at nc sees why."""
    talk = Talk()
    assert talk.say(b"MAIL FROM:<>\n") == [replies.BARE_LINE_FEED.encode().decode().strip()]
    assert talk.codes(b"RCPT TO:<jules@maison.mrs>\r\n") == ["503 5.5.1"]


@pytest.mark.parametrize("size", [protocol.LINE_OCTETS - 1, protocol.LINE_OCTETS, protocol.LINE_OCTETS + 1, 100_000])
def test_rfc_5321_4_5_3_1_4_an_overlong_line_is_dropped_whole(size: int) -> None:
    talk = Talk()
    line = b"NOOP " + b"x" * (size - 7) + b"\r\n"
    code = "500 5.5.2" if size > protocol.LINE_OCTETS else "250 2.0.0"
    for step in (1000, 7000, size):
        packets = [line[start : start + step] for start in range(0, size, step)]
        assert talk.codes(*packets, b"NOOP\r\n") == [code, "250 2.0.0"]
        assert talk.session.buffered == 0


def test_a_line_that_never_ends_takes_no_memory() -> None:
    talk = Talk()
    for _ in range(100):
        talk.say(b"x" * 5000)
        assert talk.session.buffered <= 5000


def test_rfc_5321_4_5_3_1_8_a_hundred_recipients() -> None:
    names = [f"u{number}" for number in range(102)]
    talk = Talk(known=" ".join(names))
    talk.say(b"MAIL FROM:<>\r\n")
    codes = talk.codes(b"".join(b"RCPT TO:<%s@maison.mrs>\r\n" % name.encode() for name in names))
    assert codes == ["250 2.1.5"] * 100 + ["452 4.5.3"] * 2
    talk.say(b"DATA\r\n", SENT)
    assert len(talk.delivered[0][0].recipients) == 100


def test_rfc_5321_3_6_no_relaying_and_no_unknown_recipients() -> None:
    talk = Talk()
    talk.say(b"MAIL FROM:<jules@maison.mrs>\r\n")
    assert talk.codes(
        b"RCPT TO:<x@elsewhere.org>\r\n",
        b"RCPT TO:<x%elsewhere.org@maison.mrs>\r\n",
        b'RCPT TO:<"x@elsewhere.org"@maison.mrs>\r\n',
        b"RCPT TO:<@maison.mrs:x@elsewhere.org>\r\n",
        b"RCPT TO:<elsewhere.org!x@maison.mrs>\r\n",
    ) == ["550 5.7.1", "550 5.1.1", "550 5.1.1", "550 5.7.1", "550 5.1.1"]
    assert talk.codes(b"DATA\r\n") == ["554 5.5.1"]


def test_rfc_5321_4_5_2_the_data_is_unstuffed_and_only_crlf_dot_crlf_ends_it() -> None:
    talk = Talk()
    talk.say(ENVELOPE, b"DATA\r\n")
    smuggled = b"a\n.\r\nMAIL FROM:<forged@maison.mrs>\r\n..dot\r\n"
    assert talk.codes(smuggled, b".\n", b"end\r\n.\r\nNOOP\r\n") == ["250 2.0.0", "250 2.0.0"]
    assert talk.delivered[0][1] == b"a\n.\r\nMAIL FROM:<forged@maison.mrs>\r\n.dot\r\n\nend\r\n"
    assert len(talk.delivered) == 1


def test_several_messages_in_one_session() -> None:
    talk = Talk()
    for number in range(3):
        assert talk.codes(ENVELOPE, b"DATA\r\n", b"%d\r\n.\r\n" % number)[-1] == "250 2.0.0"
    assert [content for _, content in talk.delivered] == [b"0\r\n", b"1\r\n", b"2\r\n"]


def test_an_empty_message_is_delivered() -> None:
    talk = Talk()
    assert talk.codes(ENVELOPE, b"DATA\r\n", b".\r\n")[-1] == "250 2.0.0"
    assert talk.delivered[0][1] == b""


# --- RFC 1870, RFC 2920, RFC 3207, RFC 3848 ----------------------------------------------------------------


def test_rfc_1870_6_1_a_declared_size_is_refused_before_the_data() -> None:
    talk = Talk()
    assert talk.codes(b"MAIL FROM:<> SIZE=%d\r\n" % (MAX_OCTETS + 1)) == ["552 5.3.4"]
    assert talk.codes(b"MAIL FROM:<> SIZE=%d\r\n" % MAX_OCTETS) == ["250 2.1.0"]


def test_rfc_1870_6_3_a_message_that_grew_too_large_is_read_to_its_end_and_refused() -> None:
    talk = Talk()
    talk.say(ENVELOPE, b"DATA\r\n")
    line = b"x" * 98 + b"\r\n"
    assert talk.say(*[line] * (MAX_OCTETS // 100 + 1)) == []
    assert talk.codes(b".\r\nNOOP\r\n") == ["552 5.3.4", "250 2.0.0"]
    assert talk.delivered == []
    talk.say(ENVELOPE, b"DATA\r\n", *[line] * (MAX_OCTETS // 100), b".\r\n")
    assert len(talk.delivered[0][1]) == MAX_OCTETS


def test_a_message_that_cannot_be_kept_is_refused_at_its_end() -> None:
    talk = Talk()
    talk.write_failure = replies.NO_SPACE
    assert talk.codes(ENVELOPE, b"DATA\r\n", MESSAGE, MESSAGE, b".\r\n")[-1] == "452 4.3.1"
    talk.write_failure = None
    assert talk.codes(ENVELOPE, b"DATA\r\n", SENT)[-1] == "250 2.0.0"
    assert len(talk.delivered) == 1


def test_rfc_2920_3_2_a_pipelined_group_is_answered_in_order() -> None:
    talk = Talk()
    group = (
        b"MAIL FROM:<>\r\nRCPT TO:<jules@maison.mrs>\r\nRCPT TO:<nobody@maison.mrs>\r\nRCPT TO:bad\r\n"
        b"RCPT TO:<alfred@maison.mrs>\r\nDATA\r\n"
    )
    assert talk.codes(group) == ["250 2.1.0", "250 2.1.5", "550 5.1.1", "501 5.1.3", "250 2.1.5", "354"]
    assert talk.lookups == [["jules@maison.mrs", "nobody@maison.mrs", "alfred@maison.mrs"]]
    assert talk.codes(SENT + b"RSET\r\nQUIT\r\n") == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]


SCRIPT = (
    b"EHLO me\r\nMAIL FROM:<> SIZE=20\r\nRCPT TO:<jules@maison.mrs>\r\nRCPT TO:<x@elsewhere.org>\r\nRCPT\r\n"
    b"RCPT TO:<alfred@maison.mrs>\r\nDATA\r\n..a\r\n\r\n.b\n.\r\nc\r\n.\r\nNOOP\r\nMAIL FROM:<a@b.c>\r\n"
    + b"z" * 3000
    + b"\r\nNOOP\nRSET\r\nQUIT\r\n"
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, len(SCRIPT)), max_size=12))
def test_rfc_2920_packets_do_not_matter(places: list[int]) -> None:
    whole, parted = Talk(greeted=False), Talk(greeted=False)
    edges = [0, *sorted(places), len(SCRIPT)]
    packets = [SCRIPT[start:end] for start, end in itertools.pairwise(edges)]
    assert parted.say(*packets) == whole.say(SCRIPT)
    assert parted.delivered == whole.delivered
    assert len(whole.delivered) == 1


def test_nothing_goes_on_while_an_answer_is_waited_for() -> None:
    session = Session[str](Service.SMTP, hostname=HOST, max_octets=100, tls_offered=False)
    session.receive(b"EHLO me\r\n" + ENVELOPE + b"NOOP\r\n")
    session.take_output()
    assert session.take_request() is not None
    assert session.take_request() is None
    session.receive(b"QUIT\r\n")
    assert session.take_output() == b""
    assert session.buffered == len(b"NOOP\r\nQUIT\r\n")
    session.recipients_found(["jules"])
    assert session.take_output().count(b"\r\n") == 3


def test_rfc_3207_4_starttls_begins_anew() -> None:
    talk = Talk(tls_offered=True)
    assert "250 STARTTLS" in talk.say(b"EHLO me\r\n")
    assert talk.codes(b"STARTTLS now\r\n") == ["501 5.5.4"]
    talk.say(b"MAIL FROM:<>\r\n")
    assert talk.codes(b"STARTTLS\r\n") == ["220 2.0.0"]
    assert talk.handshaken
    assert talk.codes(b"MAIL FROM:<>\r\n") == ["503 5.5.1"]
    assert not any("STARTTLS" in line for line in talk.say(b"EHLO me\r\n"))
    assert talk.codes(b"STARTTLS\r\n") == ["503 5.5.1"]


def test_rfc_3207_6_what_came_in_the_clear_behind_starttls_is_thrown_away() -> None:
    """CVE-2011-0411: in one packet, cut in a command, and in a packet of its own before the handshake."""
    talk = Talk(tls_offered=True)
    assert talk.codes(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<>\r\nRCPT") == ["220 2.0.0"]
    assert talk.codes(b"NOOP\r\n") == ["250 2.0.0"]
    session = Session[str](Service.SMTP, hostname=HOST, max_octets=100, tls_offered=True)
    session.receive(b"STARTTLS\r\n")
    session.take_output()
    session.receive(b"EHLO evil\r\nMAIL")
    session.tls_started()
    session.receive(b"NOOP\r\n")
    assert session.take_output() == replies.NOTHING_DONE.encode()


@pytest.mark.parametrize(
    ("service", "hello", "tls", "expected"),
    [
        (Service.SMTP, b"HELO me\r\n", False, "SMTP"),
        (Service.SMTP, b"EHLO me\r\n", False, "ESMTP"),
        (Service.SMTP, b"EHLO me\r\n", True, "ESMTPS"),
        (Service.LMTP, b"LHLO me\r\n", False, "LMTP"),
        (Service.LMTP, b"LHLO me\r\n", True, "LMTPS"),
    ],
)
def test_rfc_3848_the_name_of_the_protocol(service: Service, hello: bytes, tls: bool, expected: str) -> None:
    talk = Talk(service, tls_offered=True, greeted=False)
    if tls:
        talk.say(b"STARTTLS\r\n")
    talk.say(hello, ENVELOPE, b"DATA\r\n", SENT)
    assert talk.delivered[0][0].protocol == expected


# --- RFC 2033 ----------------------------------------------------------------------------------------------


def test_rfc_2033_4_1_lhlo_alone() -> None:
    talk = Talk(Service.LMTP, greeted=False)
    assert talk.codes(b"EHLO me\r\nHELO me\r\nMAIL FROM:<>\r\n") == ["500 5.5.1", "500 5.5.1", "503 5.5.1"]
    assert talk.codes(b"LHLO me\r\n")[0] == "250"


def test_rfc_2033_4_2_one_reply_for_each_recipient() -> None:
    def outcome(recipients: Sequence[str]) -> list[Reply]:
        return [replies.OVER_QUOTA if name.startswith("alfred") else replies.stored("1") for name in recipients]

    talk = Talk(Service.LMTP)
    talk.outcome = outcome
    talk.say(b"MAIL FROM:<>\r\n")
    for name in (b"jules", b"alfred", b"nobody", b"jules"):
        talk.say(b"RCPT TO:<%s@maison.mrs>\r\n" % name)
    assert talk.codes(b"DATA\r\n", SENT + b"NOOP\r\n") == ["354", "250 2.0.0", "552 5.2.2", "250 2.0.0", "250 2.0.0"]


def test_rfc_2033_4_2_a_message_too_large_is_refused_for_each_recipient() -> None:
    talk = Talk(Service.LMTP)
    talk.say(ENVELOPE, b"RCPT TO:<alfred@maison.mrs>\r\nDATA\r\n")
    assert talk.codes(b"x" * (MAX_OCTETS + 1) + b"\r\n.\r\n") == ["552 5.3.4"] * 2


def test_rfc_2033_4_2_data_without_a_recipient_is_503() -> None:
    talk = Talk(Service.LMTP)
    assert talk.codes(b"MAIL FROM:<>\r\nRCPT TO:<nobody@maison.mrs>\r\nDATA\r\n")[-1] == "503 5.5.1"


# --- Limits ------------------------------------------------------------------------------------------------


def test_too_many_errors_end_the_session() -> None:
    talk = Talk()
    codes = talk.codes(b"WHAT\r\n" * (protocol.MAX_ERRORS + 5))
    assert codes == ["500 5.5.1"] * (protocol.MAX_ERRORS + 1) + ["421 4.7.0"]
    assert talk.closed
    assert talk.say(b"NOOP\r\n") == []


def test_a_delivered_message_forgives_errors() -> None:
    talk = Talk()
    for _ in range(3):
        talk.say(b"WHAT\r\n" * (protocol.MAX_ERRORS - 1), ENVELOPE, b"DATA\r\n", SENT)
    assert len(talk.delivered) == 3
    assert not talk.closed


def test_guessing_of_addresses_ends_but_not_for_a_relay() -> None:
    guesses = [b"MAIL FROM:<>\r\n", *[b"RCPT TO:<nobody@maison.mrs>\r\n"] * (protocol.MAX_REFUSED + 5)]
    talk = Talk()
    codes = talk.codes(*guesses)
    assert codes.count("550 5.1.1") == protocol.MAX_REFUSED + 1
    assert codes[-1] == "421 4.7.0"
    assert talk.closed
    relay = Talk(Service.LMTP)
    assert relay.codes(*guesses, b"NOOP\r\n")[-1] == "250 2.0.0"


def test_commands_that_move_nothing_end_the_session() -> None:
    talk = Talk()
    codes = talk.codes(b"NOOP\r\n" * (protocol.MAX_IDLE_COMMANDS + 5))
    assert codes[-1] == "421 4.7.0"
    assert codes.count("250 2.0.0") == protocol.MAX_IDLE_COMMANDS
    assert talk.closed


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"CONNECT mail:25 HTTP/1.1"])
def test_a_browser_is_turned_away_at_its_first_line(request_line: bytes) -> None:
    talk = Talk(greeted=False)
    body = b"\r\nHost: x\r\n\r\nEHLO evil\r\nMAIL FROM:<>\r\n"
    assert talk.codes(request_line + body) == ["421 4.7.0"]
    assert talk.closed


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.7 192.0.2.25 1 25\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"])
def test_a_header_of_a_proxy_that_is_none_ends_the_session(header: bytes) -> None:
    talk = Talk(greeted=False)
    assert talk.codes(header + b"\r\nEHLO evil\r\n")[-1] == "421 4.7.0"
    assert talk.closed


def test_a_session_that_begins_encrypted_offers_no_starttls() -> None:
    session = protocol.Session[str](Service.SMTP, hostname="m", max_octets=1, tls_offered=True, tls_active=True)
    session.receive(b"EHLO me\r\nSTARTTLS\r\n")
    output = session.take_output()
    assert b"STARTTLS" not in output
    assert b"503 5.5.1 TLS is in use already" in output


def test_end_says_why_and_an_answer_that_comes_later_is_ignored() -> None:
    session = Session[str](Service.SMTP, hostname=HOST, max_octets=100, tls_offered=False)
    session.receive(b"EHLO me\r\n" + ENVELOPE)
    session.take_output()
    session.take_request()
    session.end(replies.SHUTTING_DOWN)
    session.end(replies.TIMED_OUT)
    assert session.take_output() == replies.SHUTTING_DOWN.encode()
    session.recipients_found(["jules"])
    session.written()
    session.delivered([replies.stored("1")])
    session.tls_started()
    assert session.take_output() == b""


def test_end_soon_waits_for_a_transaction_but_not_for_the_next_one() -> None:
    talk = Talk()
    talk.say(ENVELOPE)
    talk.session.end_soon(replies.SHUTTING_DOWN)
    assert talk.take() == []
    assert talk.codes(b"DATA\r\n" + SENT + ENVELOPE) == ["354", "250 2.0.0", "421 4.3.2"]
    assert talk.closed
    assert len(talk.delivered) == 1


@pytest.mark.parametrize("said", [b"", b"EHLO me\r\n", b"EHLO me\r\n" + ENVELOPE + b"RSET\r\n"])
def test_end_soon_is_at_once_where_no_transaction_is_under_way(said: bytes) -> None:
    talk = Talk(greeted=False)
    talk.say(said)
    talk.session.end_soon(replies.SHUTTING_DOWN)
    assert talk.take() == [replies.SHUTTING_DOWN.encode().decode().strip()]
    assert talk.closed


def test_what_a_client_sends_after_the_last_reply_is_not_kept() -> None:
    talk = Talk()
    talk.say(b"QUIT\r\n", b"x" * 100_000)
    assert talk.session.buffered == 0


def test_every_verb_is_in_the_help_of_the_services_that_have_it() -> None:
    for service in Service:
        (line,) = Talk(service).say(b"HELP\r\n")
        assert set(line.split()[3:]) == {name for name, verb in VERBS.items() if service in verb.services}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([*SCRIPT.splitlines(keepends=True)]), max_size=20))
def test_any_input_is_answered_and_never_breaks_the_session(packets: list[bytes]) -> None:
    for service in Service:
        talk = Talk(service, tls_offered=True, greeted=False)
        lines = talk.say(*packets)
        assert all(line[:3].isdigit() and line[3] in " -" for line in lines)
        for request, content in talk.delivered:
            assert request.recipients
            assert len(content) <= MAX_OCTETS
