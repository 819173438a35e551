"""Where mail for a domain is taken, and how: its own hosts, or a smarthost."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme

from smtpservice.relay.destinations import Attempt, Destination, Login, Smarthost
from smtpservice.relay.peer import PeerError, TlsError
from smtpservice.relay.routes import RouteError, Router
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.relay.peers import ScriptedPeer
from tests.smtpservice.relay.relaying import HOST, SHORT, exchanges, run
from tests.smtpservice.serving import until

ZONE = {
    "example.org MX": ["10 a.example.", "20 b.example."],
    "a.example A": ["127.0.0.1"],
    "b.example A": ["127.0.0.2", "127.0.0.3"],
    "smarthost.example A": ["127.0.0.1"],
}


async def attempts(destination: Destination, domain: str = "example.org") -> list[Attempt]:
    return [attempt async for attempt in destination.attempts(domain)]


def with_names(use: Callable[[NameServer], Awaitable[None]], **more: object) -> None:
    async def main() -> None:
        async with NameServer(ZONE, **more).serving() as names:
            await use(names)

    run(main())


def test_each_address_of_each_host_in_order() -> None:
    async def use(names: NameServer) -> None:
        found = await attempts(exchanges(names.address, 25))
        assert [attempt.name for attempt in found] == ["a.example", "b.example", "b.example"]
        assert found[0].address == "127.0.0.1"
        assert {attempt.address for attempt in found[1:]} == {"127.0.0.2", "127.0.0.3"}

    with_names(use)


def test_a_host_that_the_dns_does_not_tell_leaves_the_others_and_is_not_forgotten() -> None:
    async def use(names: NameServer) -> None:
        found = exchanges(names.address, 25).attempts("example.org")
        assert [(await anext(found)).name for _ in range(2)] == ["b.example", "b.example"]
        with pytest.raises(RouteError):
            await anext(found)

    with_names(use, away={"a.example"})


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


async def connected(attempt: Attempt) -> bool:
    """Whether the connection is encrypted."""
    peer = await attempt.connect()
    await peer.close()
    return peer.is_encrypted


def test_rfc_7435_tls_is_used_whoever_signed_the_certificate() -> None:
    async def use(names: NameServer) -> None:
        server = ScriptedPeer(tls=server_tls(trustme.CA(), "somebody.example"))
        async with server.serving():
            assert await connected((await attempts(exchanges(names.address, server.port)))[0])

    with_names(use)


def test_where_tls_fails_mail_goes_in_the_clear() -> None:
    async def use(names: NameServer) -> None:
        server = ScriptedPeer({"STARTTLS": "454 4.7.0 not now"}, tls=server_tls(trustme.CA(), "a.example"))
        async with server.serving():
            assert not await connected((await attempts(exchanges(names.address, server.port)))[0])
        assert server.connections == 2

    with_names(use)


def smarthost(names: NameServer, server: ScriptedPeer, tls: str, login: Login | None = None) -> Smarthost:
    router = Router(name_servers=[names.address], ourselves=HOST, ipv6=False)
    return Smarthost(
        router, host="smarthost.example", port=server.port, tls=tls, login=login, hostname=HOST, timeouts=SHORT
    )


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that this process trusts."""
    made, plain = trustme.CA(), ssl.create_default_context

    def trusting(*arguments: object, **more: object) -> ssl.SSLContext:
        context = plain(*arguments, **more)
        made.configure_trust(context)
        return context

    monkeypatch.setattr("smtpservice.relay.destinations.ssl.create_default_context", trusting)
    return made


def test_a_smarthost_takes_mail_for_every_domain_with_tls_and_a_login(authority: trustme.CA) -> None:
    async def use(names: NameServer) -> None:
        server = ScriptedPeer(
            {"EHLO": "250-smarthost.example\r\n250 AUTH PLAIN"}, tls=server_tls(authority, "smarthost.example")
        )
        async with server.serving():
            there = smarthost(names, server, "starttls", Login("us", "secret"))
            assert there.together
            for domain in ("example.org", "nowhere.example"):
                (attempt,) = await attempts(there, domain)
                assert await connected(attempt)
        assert "AUTH PLAIN AHVzAHNlY3JldA==" in server.commands

    with_names(use)


def test_a_smarthost_with_another_certificate_gets_neither_password_nor_mail() -> None:
    async def use(names: NameServer) -> None:
        server = ScriptedPeer(tls=server_tls(trustme.CA(), "smarthost.example"))
        async with server.serving():
            (attempt,) = await attempts(smarthost(names, server, "starttls", Login("us", "secret")))
            with pytest.raises(TlsError):
                await attempt.connect()
        assert not any(command.startswith(("AUTH", "MAIL")) for command in server.commands)

    with_names(use)


def test_a_smarthost_that_offers_no_tls_is_not_trusted_unless_that_was_said() -> None:
    async def use(names: NameServer) -> None:
        server = ScriptedPeer()
        async with server.serving():
            (attempt,) = await attempts(smarthost(names, server, "starttls"))
            with pytest.raises(TlsError):
                await attempt.connect()
            (attempt,) = await attempts(smarthost(names, server, "none"))
            assert not await connected(attempt)

    with_names(use)


def test_rfc_8314_3_3_a_smarthost_with_tls_from_the_first_octet(authority: trustme.CA) -> None:
    async def use(names: NameServer) -> None:
        server = ScriptedPeer()

        listener = await asyncio.start_server(
            server._serve, "127.0.0.1", 0, ssl=server_tls(authority, "smarthost.example")
        )
        server.port = listener.sockets[0].getsockname()[1]
        (attempt,) = await attempts(smarthost(names, server, "tls"))
        peer = await attempt.connect()
        assert peer.is_encrypted
        await peer.close()
        listener.close()
        plain = ScriptedPeer()
        async with plain.serving():
            (attempt,) = await attempts(smarthost(names, plain, "tls"))
            with pytest.raises(PeerError):
                await attempt.connect()

    with_names(use)


def test_a_refused_login_leaves_no_connection_open(authority: trustme.CA) -> None:
    async def use(names: NameServer) -> None:
        server = ScriptedPeer({"EHLO": "250-smarthost.example\r\n250 AUTH PLAIN", "AUTH": "535 5.7.8 no"})
        async with server.serving():
            (attempt,) = await attempts(smarthost(names, server, "none", Login("us", "wrong")))
            with pytest.raises(PeerError):
                await attempt.connect()

            await until(lambda: server.open == 0)

    with_names(use)
