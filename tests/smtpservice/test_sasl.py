"""AUTH as SMTP carries it (RFC 4954): order, encryption, every mechanism, failures, and what may be sent before it."""

from base64 import b64encode
from typing import Any

import pytest
from scramp import ScramClient

from accounts.sasl import Authenticate, FindVerifier
from smtpservice import replies
from smtpservice.protocol import LOGIN_LINE_OCTETS
from smtpservice.requests import Service
from smtpservice.sasl import MAX_WRONG_LOGINS
from tests.smtpservice.driving import ENVELOPE, Talk

ALL = ("SCRAM-SHA-256", "OAUTHBEARER", "PLAIN", "LOGIN")
PLAIN = b64encode(b"\0jules\0secret")


def submission(*answers: Any, **options: Any) -> Talk:
    talk = Talk(Service.SUBMISSION, **{"plaintext": True, "mechanisms": ALL} | options)
    talk.answers = list(answers)
    return talk


def test_rfc_4954_4_plain_with_and_without_an_initial_response() -> None:
    for said in ([b"AUTH PLAIN " + PLAIN], [b"auth plain", PLAIN]):
        talk = submission("jules")
        lines = talk.say(*(line + b"\r\n" for line in said))
        assert lines[-1] == "235 2.7.0 Welcome"
        assert lines[:-1] == ["334 "] * (len(said) - 1)
        assert talk.questions == [Authenticate("jules", "secret", mechanism="PLAIN")]
        assert talk.codes(ENVELOPE, b"RCPT TO:<x@elsewhere.org>\r\n") == ["250 2.1.0", "250 2.1.5", "250 2.1.5"]


def test_login_asks_twice() -> None:
    talk = submission("jules")
    lines = talk.say(b"AUTH LOGIN\r\n", b64encode(b"jules") + b"\r\n", b64encode(b"secret") + b"\r\n")
    assert lines == ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 Welcome"]


def test_rfc_5802_scram_asks_the_door_for_a_verifier() -> None:
    talk = submission(replies.login_later("too many failed logins, try again in 9 seconds"))
    first = ScramClient(["SCRAM-SHA-256"], "jules", "secret").get_client_first().encode()
    assert talk.codes(b"AUTH SCRAM-SHA-256 " + b64encode(first) + b"\r\n") == ["454 4.7.0"]
    assert talk.questions == [FindVerifier("jules", "SCRAM-SHA-256")]


def test_rfc_7628_3_2_3_a_token_that_is_refused_is_told_why_before_it_has_failed() -> None:
    talk = submission(replies.WRONG_LOGIN)
    message = b64encode(b"n,,\x01auth=Bearer abc\x01\x01")
    assert talk.say(b"AUTH OAUTHBEARER " + message + b"\r\n") == ["334 eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0="]
    assert talk.codes(b"AQ==\r\n") == ["535 5.7.8"]


def test_rfc_4954_4_it_is_offered_where_a_password_may_cross_the_connection_and_until_then_nothing_is_taken() -> None:
    talk = Talk(Service.SUBMISSION, tls_offered=True, mechanisms=ALL)
    assert not any("AUTH" in line for line in talk.say(b"EHLO me\r\n"))
    assert talk.codes(b"AUTH PLAIN " + PLAIN + b"\r\n") == ["530 5.7.0"]
    assert talk.codes(b"MAIL FROM:<jules@maison.mrs>\r\n") == ["530 5.7.0"]
    assert talk.questions == []
    talk.say(b"STARTTLS\r\n")
    assert "250 AUTH SCRAM-SHA-256 OAUTHBEARER PLAIN LOGIN" in talk.say(b"EHLO me\r\n")
    assert talk.say(b"MAIL FROM:<jules@maison.mrs>\r\n") == ["530 5.7.0 Log in first (AUTH)"]


def test_rfc_3207_4_2_a_login_before_tls_is_forgotten() -> None:
    talk = submission("jules", tls_offered=True)
    talk.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"STARTTLS\r\n", b"EHLO me\r\n")
    assert talk.codes(b"MAIL FROM:<>\r\n") == ["530 5.7.0"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"AUTH", "501 5.5.4"),
        (b"AUTH CRAM-MD5", "504 5.5.4"),
        (b"AUTH SCRAM-SHA-1", "504 5.5.4"),
        (b"AUTH PLAIN *", "501 5.5.2"),
        (b"AUTH PLAIN =", "501 5.5.2"),
        (b"AUTH PLAIN \xff\xfe", "501 5.5.2"),
        (b"AUTH PLAIN\r\n*", "501 5.5.2"),
        (b"AUTH PLAIN\r\n\xff", "501 5.5.2"),
        (b"AUTH LOGIN\r\n\r\n", "501 5.5.2"),
    ],
)
def test_rfc_4954_4_what_is_wrong_with_an_exchange_is_said_and_the_next_command_works(said: bytes, code: str) -> None:
    talk = submission()
    assert talk.codes(said + b"\r\n")[-1].startswith(code[:3])
    assert talk.codes(b"NOOP\r\n") == ["250 2.0.0"]
    assert talk.questions == []


def test_rfc_4954_4_once_in_a_session_and_not_in_a_transaction_and_after_ehlo() -> None:
    talk = submission("jules")
    login = b"AUTH PLAIN " + PLAIN + b"\r\n"
    assert Talk(Service.SUBMISSION, greeted=False, plaintext=True, mechanisms=ALL).codes(login) == ["503 5.5.1"]
    assert talk.codes(b"HELO me\r\n", login)[-1] == "503 5.5.1"
    assert talk.codes(b"EHLO me\r\n", login)[-1] == "235 2.7.0"
    assert talk.codes(login) == ["503 5.5.1"]
    assert not any("AUTH" in line for line in talk.say(b"EHLO me\r\n"))
    talk.say(b"MAIL FROM:<jules@maison.mrs>\r\n")
    assert talk.codes(login) == ["503 5.5.1"]


@pytest.mark.parametrize("service", [Service.SMTP, Service.LMTP])
def test_there_is_no_login_where_others_bring_mail(service: Service) -> None:
    talk = Talk(service, plaintext=True, mechanisms=ALL)
    hello = b"LHLO me\r\n" if service is Service.LMTP else b"EHLO me\r\n"
    assert not any("AUTH" in line for line in talk.say(hello))
    assert talk.codes(b"AUTH PLAIN " + PLAIN + b"\r\n") == ["500 5.5.1"]


def test_wrong_passwords_end_the_connection() -> None:
    talk = submission(*[replies.WRONG_LOGIN] * MAX_WRONG_LOGINS)
    login = b"AUTH PLAIN " + PLAIN + b"\r\n"
    codes = talk.codes(*[login] * MAX_WRONG_LOGINS)
    assert codes == ["535 5.7.8"] * MAX_WRONG_LOGINS + ["421 4.7.0"]
    assert talk.closed


def test_a_failure_of_the_door_is_no_wrong_password() -> None:
    talk = submission(*[replies.LOGIN_FAILED] * MAX_WRONG_LOGINS, "jules")
    codes = talk.codes(*[b"AUTH PLAIN " + PLAIN + b"\r\n"] * (MAX_WRONG_LOGINS + 1))
    assert codes == ["454 4.7.0"] * MAX_WRONG_LOGINS + ["235 2.7.0"]


@pytest.mark.parametrize("octets", [LOGIN_LINE_OCTETS - 2, LOGIN_LINE_OCTETS - 1, 3 * LOGIN_LINE_OCTETS])
def test_rfc_4954_4_a_line_of_a_login_may_be_long_and_has_an_end(octets: int) -> None:
    talk = submission("jules")
    talk.say(b"AUTH PLAIN\r\n")
    code = "500" if octets > LOGIN_LINE_OCTETS - 2 else "501"
    (answer,) = talk.codes(b"x" * octets + b"\r\n")
    assert answer.startswith(code)
    assert talk.codes(b"NOOP\r\n") == ["250 2.0.0"]


def test_rfc_6409_6_1_a_sender_that_is_not_theirs_is_refused_before_the_message() -> None:
    talk = submission("jules")
    talk.say(b"AUTH PLAIN " + PLAIN + b"\r\n")
    talk.sender_refusal = replies.NOT_YOUR_ADDRESS
    assert talk.codes(ENVELOPE, b"DATA\r\n") == ["550 5.7.1", "503 5.5.1", "503 5.5.1"]
    talk.sender_refusal = None
    assert talk.codes(ENVELOPE, b"DATA\r\n") == ["250 2.1.0", "250 2.1.5", "354"]


def test_a_host_that_is_trusted_needs_no_login() -> None:
    talk = Talk(Service.SUBMISSION, submitter="the printer")
    assert talk.codes(ENVELOPE + b"RCPT TO:<x@elsewhere.org>\r\nDATA\r\n")[-2:] == ["250 2.1.5", "354"]
    talk.say(b"x\r\n.\r\n")
    assert talk.delivered[0][0].submitter == "the printer"
    assert talk.delivered[0][0].protocol == "ESMTP"


@pytest.mark.parametrize(
    ("options", "mail", "expected"),
    [
        ({}, b"", "ESMTPA"),
        ({"tls_active": True}, b"", "ESMTPSA"),
        ({"tls_active": True}, b" SMTPUTF8", "UTF8SMTPSA"),
    ],
)
def test_rfc_3848_the_name_of_the_protocol_says_that_somebody_logged_in(
    options: dict[str, bool], mail: bytes, expected: str
) -> None:
    talk = submission("jules", **options)
    talk.say(b"AUTH PLAIN " + PLAIN + b"\r\n", b"MAIL FROM:<jules@maison.mrs>%s\r\n" % mail)
    talk.say(b"RCPT TO:<jules@maison.mrs>\r\nDATA\r\n", b".\r\n")
    assert talk.delivered[0][0].protocol == expected
