"""Where mail for a domain is taken, and how: its own hosts, or a smarthost."""

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme

from smtpservice.relay.destinations import Attempt, Destination, Login, MailExchanges, Smarthost
from smtpservice.relay.mta_sts import Policy
from smtpservice.relay.peer import PeerError, TlsError
from smtpservice.relay.routes import RouteError, Router
from tests.smtpservice.relay.authorities import Holder, context_of
from tests.smtpservice.relay.authorities import server as issued_by
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


class Said:
    """MTA-STS policies as a test has them."""

    def __init__(self, mode: str, *hosts: str) -> None:
        self._policy = Policy(mode, hosts, 86400)

    async def find(self, domain: str) -> Policy:
        return self._policy


def held_to(names: NameServer, server: ScriptedPeer, authority: trustme.CA | None = None, **more: Any) -> MailExchanges:
    verified = ssl.create_default_context()
    if authority is not None:
        authority.configure_trust(verified)
    router = Router(name_servers=[names.address], ourselves=HOST, ipv6=False)
    return MailExchanges(router, hostname=HOST, port=server.port, timeouts=SHORT, verified=verified, **more)


@pytest.mark.parametrize(
    ("mode", "name", "good"),
    [
        ("enforce", "a.example", True),
        ("enforce", "other.example", False),
        ("testing", "other.example", True),
        ("none", "other.example", True),
    ],
)
def test_rfc_8461_5_a_host_has_to_prove_its_name_where_the_policy_is_enforced(
    mode: str, name: str, *, good: bool
) -> None:
    async def use(names: NameServer) -> None:
        made = trustme.CA()
        server = ScriptedPeer(tls=server_tls(made, name))
        async with server.serving():
            there = held_to(names, server, made, policies=Said(mode, "a.example", "b.example"))
            first = (await attempts(there))[0]
            if good:
                assert await connected(first)
            else:
                with pytest.raises(TlsError):
                    await first.connect()
                assert server.connections == 1, "and not in the clear"

    with_names(use)


def test_rfc_8461_5_a_host_that_is_not_in_the_policy_is_passed_over() -> None:
    async def use(names: NameServer) -> None:
        found = held_to(names, ScriptedPeer(), policies=Said("enforce", "b.example")).attempts("example.org")
        assert [(await anext(found)).name for _ in range(2)] == ["b.example", "b.example"]
        with pytest.raises(RouteError) as raised:
            await anext(found)
        assert raised.value.reply.code == 451
        testing = await attempts(held_to(names, ScriptedPeer(), policies=Said("testing", "b.example")))
        assert [attempt.name for attempt in testing][:1] == ["a.example"]

    with_names(use)


@pytest.mark.parametrize(
    ("usage", "meant", "name", "good"),
    [
        (3, "own", "whatever.example", True),
        (3, "other", "a.example", False),
        (2, "root", "a.example", True),
        (2, "root", "example.org", True),  # RFC 7672, 3.2.2: the domain, whose MX records are signed
        (2, "root", "whatever.example", False),
        (2, "other", "a.example", False),
        (1, "other", "whatever.example", True),  # not for SMTP: TLS has to be
    ],
)
def test_rfc_7672_a_host_is_held_to_its_key(usage: int, meant: str, name: str, *, good: bool) -> None:
    root = Holder("root")
    own = issued_by(root, name)
    data = hashlib.sha256({"own": own, "root": root, "other": Holder("root")}[meant].der).hexdigest()
    server = ScriptedPeer(tls=context_of(own, root))

    async def main() -> None:
        async with server.serving():
            zone = ZONE | {f"_{server.port}._tcp.a.example TLSA": [f"{usage} 0 1 {data}"]}
            async with NameServer(zone, signed=True).serving() as names:
                first = (await attempts(held_to(names, server, dane=True)))[0]
                if good:
                    assert await connected(first)
                else:
                    with pytest.raises(TlsError, match="DANE"):
                        await first.connect()
                server.tls = None
                with pytest.raises(TlsError):
                    await first.connect()

    run(main())


def test_rfc_7672_where_the_dns_does_not_tell_the_key_nothing_is_sent() -> None:
    async def main() -> None:
        zone = ZONE | {"_25._tcp.b.example X": []}
        async with NameServer(zone, signed=True, away={"_25._tcp.a.example"}).serving() as names:
            there = held_to(names, ScriptedPeer(port=25), dane=True).attempts("example.org")
            assert (await anext(there)).name == "b.example"

    run(main())
