"""RFC 4422: exchanges without a protocol around them. What the mechanisms do in POP3 is in tests/pop3service."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.sasl import (
    MECHANISMS,
    Admitted,
    AdmitToken,
    Authenticate,
    Exchange,
    ExchangeCancelledError,
    MalformedError,
    SaslError,
    UnknownMechanismError,
    as_text,
)

ALL = tuple(MECHANISMS)


class NotLetIn(Exception):
    pass


def begun(name: str, initial: str | None = None) -> Exchange:
    return Exchange(name.encode(), None if initial is None else b64encode(initial.encode()) or b"=", ALL)


def test_a_password_is_asked_about_and_the_answer_handed_on() -> None:
    exchange = begun("plain", "\0jules\0secret")
    assert exchange.begin() == Authenticate("jules", "secret", mechanism="PLAIN")
    assert exchange.answer("the mailbox") == Admitted("the mailbox")


def test_a_challenge_is_base64_and_an_empty_one_is_empty() -> None:
    assert begun("PLAIN").begin() == b""
    exchange = begun("LOGIN")
    assert exchange.begin() == b"VXNlcm5hbWU6"
    assert exchange.respond(b64encode(b"jules")) == b"UGFzc3dvcmQ6"
    assert exchange.respond(b64encode(b" secret ")) == Authenticate("jules", " secret ", mechanism="LOGIN")


def test_a_refusal_comes_back_as_it_was() -> None:
    exchange, error = begun("PLAIN", "\0jules\0wrong"), NotLetIn()
    exchange.begin()
    with pytest.raises(NotLetIn) as raised:
        exchange.refuse(error)
    assert raised.value is error


@pytest.mark.parametrize("name", [b"CRAM-MD5", b"PLAIN", b"\xff", b""])
def test_a_mechanism_that_is_not_offered(name: bytes) -> None:
    with pytest.raises(UnknownMechanismError):
        Exchange(name, None, ("LOGIN",))


def test_what_is_not_base64_and_what_is_cancelled() -> None:
    with pytest.raises(MalformedError, match="base64"):
        Exchange(b"PLAIN", b"?", ALL)
    exchange = begun("PLAIN")
    exchange.begin()
    with pytest.raises(ExchangeCancelledError):
        exchange.respond(b"*")


def test_names_are_utf8_or_else_latin_1() -> None:
    assert as_text("josé".encode()) == as_text("josé".encode("latin-1")) == "josé"


def test_no_secret_is_shown() -> None:
    assert "hush" not in repr(begun("PLAIN", "\0jules\0hush").begin())
    assert "hush" not in repr(begun("XOAUTH2", "user=jules\1auth=Bearer hush\1\1").begin())


class TestOauthbearer:
    """RFC 7628, 3."""

    @pytest.mark.parametrize(
        ("message", "login"),
        [
            ("n,,\1auth=Bearer a.b-c~d+e/f==\1\1", ""),
            (
                "n,a=jules@maison.mrs,\1host=mail.maison.mrs\1port=995\1auth=bearer  a.b-c~d+e/f==\1\1",
                "jules@maison.mrs",
            ),
            ("y,a=a=2Cb=3Dc,\1auth=BEARER a.b-c~d+e/f==\1\1", "a,b=c"),
        ],
    )
    def test_the_token_and_the_mailbox_to_open(self, message: str, login: str) -> None:
        exchange = begun("OAUTHBEARER", message)
        assert exchange.begin() == AdmitToken(login, "a.b-c~d+e/f==", "OAUTHBEARER")
        assert exchange.answer(7) == Admitted(7)

    def test_section_3_2_3_a_refused_token_is_answered_with_an_error_and_then_refused(self) -> None:
        exchange, error = begun("OAUTHBEARER", "n,,\1auth=Bearer x\1\1"), NotLetIn()
        exchange.begin()
        challenge = exchange.refuse(error)
        assert isinstance(challenge, bytes)
        assert b64decode(challenge) == b'{"status":"invalid_token"}'
        with pytest.raises(NotLetIn) as raised:
            exchange.respond(b64encode(b"\1"))
        assert raised.value is error

    @pytest.mark.parametrize(
        "pairs", ["auth=\1\1", "\1", "host=x\1\1", "auth=Basic x\1\1", "auth=Bearer x\1auth=Bearer y\1\1"]
    )
    def test_section_4_3_without_a_token_nobody_is_asked(self, pairs: str) -> None:
        exchange = begun("OAUTHBEARER", "n,,\1" + pairs)
        assert b64decode(exchange.begin()) == b'{"status":"invalid_token"}'  # type: ignore[arg-type]
        with pytest.raises(MalformedError, match="takes a bearer token"):
            exchange.respond(b64encode(b"\1"))

    @pytest.mark.parametrize(
        "message",
        ["", "n,,", "n,,\1", "n,,\1auth=Bearer x\1", "p=tls-unique,,\1auth=Bearer x\1\1", "n,b=c,\1auth=Bearer x\1\1"],
    )
    def test_a_message_of_another_form(self, message: str) -> None:
        with pytest.raises(MalformedError, match="OAUTHBEARER takes"):
            begun("OAUTHBEARER", message).begin()


class TestXoauth2:
    def test_the_token_and_its_user(self) -> None:
        exchange = begun("XOAUTH2", "user=jules@maison.mrs\1auth=Bearer tok.en\1\1")
        assert exchange.begin() == AdmitToken("jules@maison.mrs", "tok.en", "XOAUTH2")
        assert exchange.answer(7) == Admitted(7)

    def test_a_refused_token_is_answered_with_an_error_and_an_empty_response_ends_it(self) -> None:
        exchange, error = begun("XOAUTH2", "user=jules\1auth=Bearer x\1\1"), NotLetIn()
        exchange.begin()
        challenge = exchange.refuse(error)
        assert isinstance(challenge, bytes)
        assert b64decode(challenge) == b'{"status":"401","schemes":"bearer"}'
        with pytest.raises(NotLetIn):
            exchange.respond(b"")

    @pytest.mark.parametrize("message", ["", "user=jules", "user=jules\1auth=Bearer x\1", "auth=Bearer x\1\1"])
    def test_a_message_of_another_form(self, message: str) -> None:
        with pytest.raises(MalformedError, match="XOAUTH2 takes"):
            begun("XOAUTH2", message).begin()


@settings(max_examples=200, deadline=None)
@given(
    mechanism=st.sampled_from(sorted(set(ALL) - {"SCRAM-SHA-256", "SCRAM-SHA-1"})),
    lines=st.lists(st.one_of(st.binary(max_size=40), st.binary(max_size=30).map(b64encode)), min_size=1, max_size=4),
)
def test_whatever_the_client_sends_nothing_else_is_raised(mechanism: str, lines: list[bytes]) -> None:
    exchange = Exchange(mechanism.encode(), None, ALL)
    assert isinstance(exchange.begin(), bytes)
    for line in lines:
        try:
            move = exchange.respond(line)
        except SaslError:
            return
        if not isinstance(move, bytes):
            assert isinstance(move, Authenticate | AdmitToken)
            return
