"""STARTTLS over real sockets (RFC 3207), and what is sent around it to get past it."""

import asyncio
import contextlib
import ssl

import pytest
import trustme

from smtpservice import server
from tests.smtpservice.serving import (
    ENVELOPE,
    MESSAGE,
    PATIENCE,
    TOLD,
    run,
    serving,
    until,
)


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and one of a client that trusts it."""
    authority = trustme.CA()
    context, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(trusting)
    return context, trusting


def test_rfc_3207_a_message_through_starttls(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def main() -> None:
        async with serving(tls=tls[0]) as running, await running.client() as client:
            assert await client.say(b"STARTTLS\r\n") == ["220 2.0.0"]
            await client.start_tls(tls[1])
            assert await client.say(b"MAIL FROM:<>\r\n") == ["503 5.5.1"]
            assert await client.say(b"EHLO me\r\n") == ["250"]
            assert await client.say(b"STARTTLS\r\n") == ["503 5.5.1"]
            assert await client.say(ENVELOPE, 3) == TOLD
            big = MESSAGE + b"x" * 70 * 40_000
            assert await client.say(big + b"\r\n.\r\nQUIT\r\n", 2) == ["250 2.0.0", "221 2.0.0"]
            assert await client.rest() == b""
            ((request, content, _),) = running.intake.messages
            assert (request.protocol, content) == ("ESMTPS", big + b"\r\n")

    run(main())


@pytest.mark.parametrize(
    "injected", [b"MAIL FROM:<evil@example.org>\r\n", b"EHLO evil\r\n" + ENVELOPE, b"MAIL FR", b"\r"]
)
def test_cve_2011_0411_what_was_sent_behind_starttls_is_not_carried_out(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], injected: bytes
) -> None:
    async def main() -> None:
        async with serving(tls=tls[0]) as running, await running.client() as client:
            assert await client.say(b"STARTTLS\r\n" + injected) == ["220 2.0.0"]
            await client.start_tls(tls[1])
            assert await client.say(b"EHLO me\r\n") == ["250"]
            assert await client.say(b"RCPT TO:<jules@maison.mrs>\r\n") == ["503 5.5.1"]
            assert await client.say(b"NOOP\r\n") == ["250 2.0.0"]
            assert running.intake.messages == []

    run(main())


def test_what_comes_in_the_clear_after_220_breaks_the_handshake(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def main() -> None:
        async with serving(tls=tls[0]) as running, await running.client() as client:
            assert await client.say(b"STARTTLS\r\n") == ["220 2.0.0"]
            client.writer.write(b"EHLO evil\r\n" + ENVELOPE + MESSAGE + b".\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"250" not in await client.rest()
            await running.until_empty()
            assert running.intake.messages == []
            async with await running.client() as other:
                assert await other.say(ENVELOPE, 3) == TOLD

    run(main())


def test_a_handshake_that_does_not_come_ends(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.1)

    async def main() -> None:
        async with serving(tls=tls[0]) as running, await running.client() as client:
            assert await client.say(b"STARTTLS\r\n") == ["220 2.0.0"]
            await running.until_empty()

    run(main())


def test_starttls_at_the_end_of_a_backlog_that_had_to_wait(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def main() -> None:
        async with serving(tls=tls[0]) as running, await running.client() as client:
            running.intake.found.clear()
            backlog = b"NOOP " + b"x" * 1500 + b"\r\n"
            client.writer.write(b"MAIL FROM:<>\r\nRCPT TO:<jules@maison.mrs>\r\n" + backlog * 60 + b"STARTTLS\r\n")
            await until(lambda: running.connection._paused)
            running.intake.found.set()
            assert await client.say(b"", 63) == ["250 2.1.0", "250 2.1.5", *["250 2.0.0"] * 60, "220 2.0.0"]
            await client.start_tls(tls[1])
            assert await client.say(b"EHLO me\r\n" + ENVELOPE + MESSAGE + b".\r\n", 5) == ["250", *TOLD, "250 2.0.0"]

    run(main())


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
def test_a_client_that_leaves_in_the_middle_of_a_handshake_is_forgotten(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], sent: bytes
) -> None:
    async def main() -> None:
        async with serving(tls=tls[0]) as running, await running.client() as client:
            assert await client.say(b"STARTTLS\r\n") == ["220 2.0.0"]
            await client.say(sent, 0)
            client.writer.transport.abort()
            await running.until_empty()

    run(main())


def test_the_server_ends_in_the_middle_of_a_handshake(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def main() -> None:
        async with serving(tls=tls[0]) as running, await running.client() as client:
            assert await client.say(b"STARTTLS\r\n") == ["220 2.0.0"]
            async with asyncio.timeout(PATIENCE):
                await running.connections.end()

    run(main())
