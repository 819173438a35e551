"""Bearer tokens: asked for at a real server on loopback, remembered for a minute, and given away to nobody."""

import asyncio
import base64
import json
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts import tokens
from accounts.hashing import TooBusyError
from accounts.tokens import (
    EndpointIntrospector,
    Grant,
    IntrospectionError,
    Tokens,
    endpoint_problem,
    make_introspector,
)
from tests.accounts.here import Clock
from tests.accounts.issuer import Issuer

TOKEN = "mF_9.B5f-4.1JqM"


@pytest.fixture
def issuer(settings: Settings) -> Iterator[Issuer]:
    with Issuer() as issuer:
        configure(settings, issuer.url)
        yield issuer


def configure(settings: Settings, url: str) -> None:
    settings.OAUTH_INTROSPECTOR = "accounts.tokens.EndpointIntrospector"
    settings.OAUTH_INTROSPECTION_URL = url
    settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET = "mail", "s:ecret é"
    settings.OAUTH_REQUIRED_SCOPE = "mail"


def ask(token: str = TOKEN) -> Grant | None:
    async def main() -> Grant | None:
        introspector = EndpointIntrospector()
        try:
            return await introspector.introspect(token)
        finally:
            introspector.close()

    return asyncio.run(main())


# --- The endpoint ---------------------------------------------------------------------------------------------


def test_rfc_7662_2_1_the_question_is_a_form_from_a_client_that_says_who_it_is(
    issuer: Issuer, settings: Settings
) -> None:
    settings.OAUTH_INTROSPECTION_URL = issuer.url + "?realm=house"
    ask("a+b/c=")
    ((path, form, headers),) = issuer.questions
    assert path == "/introspect?realm=house"
    assert form == {"token": ["a+b/c="]}
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    # RFC 6749, 2.3.1: encoded before they are joined, so that a colon in the secret is none
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"mail:s%3Aecret+%C3%A9"


ACTIVE = {"active": True, "username": "jules@maison.mrs", "scope": "openid mail"}
GRANT = Grant("jules@maison.mrs")


@pytest.mark.parametrize(
    ("answer", "grant"),
    [
        (ACTIVE, GRANT),
        (ACTIVE | {"exp": 1_900_000_000}, Grant("jules@maison.mrs", 1_900_000_000)),
        (ACTIVE | {"exp": "soon"}, GRANT),
        ({"active": False}, None),
        (ACTIVE | {"active": "true"}, None),
        (ACTIVE | {"active": 1}, None),
        ({"active": True, "scope": "mail"}, None),
        (ACTIVE | {"username": ""}, None),
        (ACTIVE | {"username": 7}, None),
        (ACTIVE | {"username": None}, None),
        (ACTIVE | {"scope": "openid mailing"}, None),
        (ACTIVE | {"scope": ["mail"]}, None),
        ({"active": True, "username": "jules@maison.mrs"}, None),
    ],
)
def test_rfc_7662_2_2_what_an_answer_means(issuer: Issuer, answer: object, grant: Grant | None) -> None:
    issuer.tokens[TOKEN] = answer
    assert ask() == grant
    assert ask("another") is None


def test_the_claim_and_the_scopes_are_settings(issuer: Issuer, settings: Settings) -> None:
    issuer.tokens[TOKEN] = {"active": True, "sub": "7", "mailbox": "jules", "scope": "b a"}
    settings.OAUTH_MAILBOX_CLAIM, settings.OAUTH_REQUIRED_SCOPE = "mailbox", " a  b "
    assert ask() == Grant("jules")
    settings.OAUTH_REQUIRED_SCOPE = "a b c"
    assert ask() is None
    settings.OAUTH_REQUIRED_SCOPE = ""
    assert ask() == Grant("jules")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"active"', b"{}", b"\xff", b"null", b"[" * 60_000])
def test_an_answer_that_is_none_is_an_error_of_the_endpoint(issuer: Issuer, body: bytes) -> None:
    issuer.answer = lambda handler: handler.say(body)
    with pytest.raises(IntrospectionError, match="did not answer as RFC 7662"):
        ask()


@pytest.mark.parametrize("status", [201, 400, 401, 403, 500, 503])
def test_a_status_that_is_not_200_is_an_error_of_the_endpoint(issuer: Issuer, status: int) -> None:
    issuer.answer = lambda handler: handler.say(json.dumps(ACTIVE).encode(), status)
    with pytest.raises(IntrospectionError, match=f"status {status}"):
        ask()


def test_a_redirect_is_not_followed_with_the_token(issuer: Issuer) -> None:
    issuer.answer = lambda handler: handler.say(b"", 307, Location=issuer.url)
    with pytest.raises(IntrospectionError, match="status 307"):
        ask()
    assert len(issuer.questions) == 1


def test_an_answer_without_end_is_not_read_to_its_end(issuer: Issuer) -> None:
    sent = 0

    def pour(handler: Any) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while sent < 100_000_000:
            sent += handler.wfile.write(b" " * 65_536)

    issuer.answer = pour
    with pytest.raises(IntrospectionError, match="too long"):
        ask()
    assert sent < 50_000_000


def silence(handler: Any) -> None:
    handler.rfile.read(1)


def drip(handler: Any) -> None:
    """Never silent for long, and never done."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def drip_headers(handler: Any) -> None:
    while True:
        handler.wfile.write(b"H")
        time.sleep(0.02)


@pytest.mark.parametrize("behave", [silence, drip, drip_headers])
def test_an_endpoint_that_does_not_come_to_an_end_is_left(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, behave: Any
) -> None:
    monkeypatch.setattr(tokens, "ANSWER_SECONDS", 0.2)
    issuer.answer = behave
    began = time.monotonic()
    with pytest.raises(IntrospectionError):
        ask()
    assert time.monotonic() - began < 5
    # and its thread is free again
    for thread in threading.enumerate():
        if thread.name.startswith("introspection"):
            thread.join(timeout=30)
            assert not thread.is_alive()


def test_an_endpoint_that_is_not_there_is_an_error(settings: Settings) -> None:
    with Issuer() as gone:
        configure(settings, gone.url)
    with pytest.raises(IntrospectionError, match="ConnectionRefusedError"):
        ask()


def test_what_is_said_of_an_error_holds_neither_token_nor_secret(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    issuer.answer = lambda handler: handler.say(TOKEN.encode(), 500)
    with pytest.raises(IntrospectionError) as caught:
        ask()
    assert TOKEN not in repr(caught.value) + caplog.text
    assert "ecret" not in repr(caught.value) + caplog.text


def test_too_many_questions_at_once_are_not_asked(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "THREADS", 1)
    monkeypatch.setattr(tokens, "MOST_WAITING", 2)
    issuer.tokens[TOKEN] = ACTIVE

    async def main() -> list[object]:
        introspector = EndpointIntrospector()
        answers = await asyncio.gather(*(introspector.introspect(TOKEN) for _ in range(5)), return_exceptions=True)
        answers.append(await introspector.introspect(TOKEN))
        introspector.close()
        return answers

    answers = asyncio.run(main())
    assert [type(answer) for answer in answers] == [Grant] * 3 + [TooBusyError] * 2 + [Grant]
    assert len(issuer.questions) == 4


def test_a_question_that_is_given_up_before_its_turn_is_not_asked(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "THREADS", 1)
    go_on = threading.Event()

    def wait(handler: Any) -> None:
        go_on.wait(30)
        handler.say(json.dumps(ACTIVE).encode())

    issuer.answer = wait

    async def main() -> None:
        introspector = EndpointIntrospector()
        first = asyncio.create_task(introspector.introspect(TOKEN))
        second = asyncio.create_task(introspector.introspect("second"))
        while not issuer.questions:
            await asyncio.wait({first}, timeout=0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go_on.set()
        assert await first == GRANT
        assert await introspector.introspect("third") == GRANT
        introspector.close()

    asyncio.run(main())
    assert [form["token"] for _, form, _ in issuer.questions] == [[TOKEN], ["third"]]


# --- TLS ------------------------------------------------------------------------------------------------------


def test_the_endpoints_certificate_is_checked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Issuer(context) as issuer:
        configure(settings, issuer.url)
        issuer.tokens[TOKEN] = ACTIVE
        with pytest.raises(IntrospectionError, match="CERTIFICATE_VERIFY_FAILED"):
            ask()
        assert issuer.questions == []
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert ask() == GRANT


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://id.example.org/introspect?realm=a", None),
        ("https://id.example.org:8443", None),
        ("http://localhost:8080/introspect", None),
        ("http://127.9.9.9/", None),
        ("http://[::1]:8080/", None),
        ("http://id.example.org/", "in the clear"),
        ("http://192.168.1.7/", "in the clear"),
        ("http://localhost.example.org/", "in the clear"),
        ("ftp://id.example.org/", "not an https URL"),
        ("id.example.org/introspect", "not an https URL"),
        ("https:///introspect", "not an https URL"),
        ("", "not an https URL"),
        ("https://user:word@id.example.org/", "a user"),
        ("https://id.example.org/#x", "a fragment"),
        ("https://id.example.org:port/", "port"),
        ("https://[::1/", "Invalid"),
    ],
)
def test_where_tokens_may_be_sent(settings: Settings, url: str, problem: str | None) -> None:
    found = endpoint_problem(url)
    assert found == problem or (found is not None and problem is not None and problem.lower() in found.lower())
    configure(settings, url)
    if problem is not None:
        with pytest.raises(ImproperlyConfigured, match="OAUTH_INTROSPECTION_URL"):
            make_introspector()


def test_without_a_setting_nobody_is_asked(settings: Settings) -> None:
    settings.OAUTH_INTROSPECTOR = ""
    assert make_introspector() is None
    none = Tokens(None, Clock())
    assert asyncio.run(none.grant(TOKEN)) is None
    none.close()


# --- What is remembered -----------------------------------------------------------------------------------------


class Asked:
    """An introspector that counts."""

    def __init__(self, grant: Grant | None) -> None:
        self.grant = grant
        self.tokens: list[str] = []
        self.closed = False

    async def introspect(self, token: str) -> Grant | None:
        self.tokens.append(token)
        return self.grant

    def close(self) -> None:
        self.closed = True


def owner(asked: Tokens, token: str = TOKEN) -> str | None:
    grant = asyncio.run(asked.grant(token))
    return grant and grant.login


@pytest.mark.parametrize("grant", [Grant("jules"), Grant("jules", 1e12), None])
def test_an_answer_is_remembered_for_a_minute(grant: Grant | None) -> None:
    clock, issuer = Clock(), Asked(grant)
    asked = Tokens(issuer, clock)
    for seconds in (0, 59.9):
        assert owner(asked) == (grant and grant.login)
        clock.now += seconds
    assert len(issuer.tokens) == 1
    clock.now += 0.1
    issuer.grant = Grant("alfred")
    assert owner(asked) == "alfred"
    assert len(issuer.tokens) == 2


def test_a_token_is_forgotten_when_it_expires() -> None:
    clock = Clock()
    issuer = Asked(Grant("jules", clock.now + 30))
    asked = Tokens(issuer, clock)
    assert owner(asked) == "jules"
    clock.now += 29.9
    assert owner(asked) == "jules"
    clock.now += 0.1
    assert owner(asked) is None
    assert len(issuer.tokens) == 2


@pytest.mark.parametrize("expires_at", [0, float("nan"), -1e400, 10**400])
def test_a_time_may_be_any_number(expires_at: float) -> None:
    asked = Tokens(Asked(Grant("jules", expires_at)), Clock())
    assert owner(asked) == ("jules" if expires_at == 10**400 else None)


@pytest.mark.parametrize("token", ["", " ", "a b", "é", "a\r\nb", "=", "a=b", "a" * 8193, "\0", "a&active=1"])
def test_what_is_no_token_is_not_asked_for(token: str) -> None:
    """RFC 6750, 2.1: b64token."""
    issuer = Asked(Grant("jules"))
    assert owner(Tokens(issuer, Clock()), token) is None
    assert issuer.tokens == []


@given(st.text(max_size=50))
def test_anything_may_be_sent_as_a_token(token: str) -> None:
    issuer = Asked(Grant("jules"))
    assert owner(Tokens(issuer, Clock()), token) == ("jules" if issuer.tokens else None)


def test_tokens_are_told_apart_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MOST_REMEMBERED", 2)
    issuer = Asked(Grant("jules"))
    asked = Tokens(issuer, Clock())
    for token in "abbacab":
        owner(asked, token)
    assert issuer.tokens == ["a", "b", "c", "a", "b"]
    assert len(asked._remembered) == 2
    assert all(len(digest) == 32 for digest in asked._remembered)
    asked.close()
    assert issuer.closed
