"""RFC 5321, 5.1: where mail for a domain goes, as a name server says it."""

from collections.abc import Awaitable, Callable

import pytest

from smtpservice.relay import routes
from smtpservice.relay.routes import Exchange, RouteError, Router
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.relay.relaying import HOST, run


def ask(names: NameServer, use: Callable[[Router], Awaitable[None]], *, ipv6: bool = True) -> None:
    async def main() -> None:
        async with names.serving():
            await use(Router(name_servers=[names.address], ourselves=HOST, ipv6=ipv6))

    run(main())


def exchanges(records: dict[str, list[str]], domain: str = "example.org", **more: object) -> list[str]:
    """The hosts in order, or the reply that there is none."""
    found: list[str] = []

    async def use(router: Router) -> None:
        try:
            found.extend(exchange.name for exchange in await router.exchanges(domain))
        except RouteError as error:
            found.append(f"{error.reply.code} {error.reply.status}")

    ask(NameServer(records, **more), use)
    return found


def test_the_most_preferred_comes_first() -> None:
    records = {"example.org MX": ["20 b.example.", "10 A.Example.", "30 c.example."]}
    assert exchanges(records) == ["a.example", "b.example", "c.example"]


def test_those_alike_are_in_random_order() -> None:
    records = {"example.org MX": [f"10 h{n}.example." for n in range(6)] + ["5 first.example."]}
    orders = [exchanges(records) for _ in range(10)]
    assert {order[0] for order in orders} == {"first.example"}
    assert len({tuple(order) for order in orders}) > 1


def test_without_mx_the_domain_itself_is_its_host() -> None:
    assert exchanges({"example.org A": ["192.0.2.1"]}) == ["example.org"]


def test_rfc_7505_a_null_mx_takes_no_mail() -> None:
    assert exchanges({"example.org MX": ["0 ."]}) == ["556 5.1.10"]


def test_a_domain_that_does_not_exist_is_a_failure_and_a_dns_that_is_away_is_not() -> None:
    assert exchanges({}) == ["550 5.1.2"]
    assert exchanges({}, away={"example.org"}) == ["451 4.4.3"]


@pytest.mark.parametrize("domain", ["example..org", ".example.org", f"{'x' * 64}.org", ".".join(["x" * 50] * 6), "."])
def test_what_no_domain_can_be_called_does_not_exist(domain: str) -> None:
    assert exchanges({"example.org A": ["192.0.2.1"]}, domain) == ["550 5.1.2"]


def test_a_name_server_that_says_nothing_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "DNS_SECONDS", 0.2)
    assert exchanges({}, silent=True) == ["451 4.4.3"]


def test_no_name_server_at_all_is_a_dns_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unconfigured(routes.dns.asyncresolver.Resolver):
        def __init__(self, *, configure: bool = True) -> None:
            if configure:
                raise routes.dns.resolver.NoResolverConfiguration
            super().__init__(configure=False)

    monkeypatch.setattr(routes.dns.asyncresolver, "Resolver", Unconfigured)

    async def main() -> None:
        with pytest.raises(RouteError) as raised:
            await Router(name_servers=[], ourselves=HOST).exchanges("example.org")
        assert raised.value.reply.code == 451

    run(main())
    assert "RELAY_NAME_SERVERS" in caplog.text


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (["10 a.example.", f"20 {HOST}.", "30 c.example."], ["a.example"]),
        ([f"20 {HOST.upper()}.", "20 b.example.", "30 c.example."], ["554 5.4.6"]),
    ],
)
def test_rfc_5321_5_1_where_we_are_an_exchange_ourselves(records: list[str], found: list[str]) -> None:
    assert exchanges({"example.org MX": records}) == found


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("[192.0.2.1]", ["192.0.2.1"]),
        ("[ipv6:2001:DB8::1]", ["2001:db8::1"]),
        ("[x.example]", ["550 5.1.2"]),
    ],
)
def test_rfc_5321_4_1_3_address_literals(domain: str, found: list[str]) -> None:
    assert exchanges({}, domain) == found


def test_signed_answers_are_noticed() -> None:
    async def use(router: Router) -> None:
        assert await router.exchanges("example.org") == [Exchange("a.example", secure=True)]

    ask(NameServer({"example.org MX": ["10 a.example."]}, signed=True), use)


ZONE = {"a.example A": ["192.0.2.1", "192.0.2.2"], "a.example AAAA": ["2001:db8::1"], "four.example A": ["192.0.2.4"]}


@pytest.mark.parametrize(
    ("name", "ipv6", "found"),
    [
        ("a.example", True, ["2001:db8::1", "192.0.2.1", "192.0.2.2"]),
        ("a.example", False, ["192.0.2.1", "192.0.2.2"]),
        ("four.example", True, ["192.0.2.4"]),
        ("192.0.2.9", True, ["192.0.2.9"]),
        ("nowhere.example", True, []),
    ],
)
def test_addresses_of_a_host(name: str, found: list[str], *, ipv6: bool) -> None:
    async def use(router: Router) -> None:
        assert sorted(await router.addresses(name)) == sorted(found)
        assert (await router.addresses(name))[:1] == found[:1] or len(found) > 1

    ask(NameServer(ZONE), use, ipv6=ipv6)


def test_addresses_that_the_dns_does_not_tell_are_not_none() -> None:
    async def use(router: Router) -> None:
        with pytest.raises(RouteError) as raised:
            await router.addresses("a.example")
        assert raised.value.reply.status == "4.4.3"

    ask(NameServer(ZONE, away={"a.example"}), use)
