"""RFC 8461: the policies of domains, read over HTTPS from a server of the test's own."""

import asyncio
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme

from smtpservice.relay import mta_sts
from smtpservice.relay.mta_sts import Policies, Policy, parse
from smtpservice.relay.routes import Router
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.relay.relaying import HOST, run

TEXT = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmx: *.example.net\r\nmax_age: 86400\r\n"
RECORD = {
    "_mta-sts.example.org TXT": ['"v=STSv1; id=20260101T1;"'],
    "mta-sts.example.org A": ["127.0.0.1"],
}


class Web:
    """An HTTPS server that gives one answer, and counts who asks."""

    def __init__(self, authority: trustme.CA, name: str = "mta-sts.example.org") -> None:
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(self.tls)
        #: Writes before the last field of the header.
        self.drip: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.status, self.kind, self.text, self.asked, self.port = "200 OK", "text/plain; charset=utf-8", TEXT, 0, 0

    @contextmanager
    def serving(self) -> Iterator["Web"]:
        web = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert (self.path, self.headers["Host"]) == ("/.well-known/mta-sts.txt", "mta-sts.example.org")
                web.asked += 1
                body = web.text.encode()
                self.wfile.write(f"HTTP/1.1 {web.status}\r\nContent-Type: {web.kind}\r\n".encode())
                if web.drip is not None:
                    web.drip(self)
                self.wfile.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

        class Server(HTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A client that does not like the certificate, or the length, goes away."""

        server = Server(("127.0.0.1", 0), Answer)
        server.socket = self.tls.wrap_socket(server.socket, server_side=True)
        self.port = server.server_port
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            serving.join()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def with_policies(
    web: Web,
    authority: trustme.CA,
    use: Callable[[Policies, Clock], Awaitable[None]],
    records: dict[str, list[str]] | None = None,
    **more: object,
) -> None:
    async def main() -> None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with web.serving():
            async with NameServer(RECORD if records is None else records, **more).serving() as names:
                router, clock = Router(name_servers=[names.address], ourselves=HOST, ipv6=False), Clock()
                await use(Policies(router, port=web.port, context=context, clock=clock), clock)

    run(main())


def test_a_policy_is_read_once_and_again_when_it_is_old_or_another(authority: trustme.CA) -> None:
    web, records = Web(authority), dict(RECORD)

    async def use(policies: Policies, clock: Clock) -> None:
        for _ in range(2):
            found = await policies.find("example.org")
            assert found == Policy("enforce", ("mail.example.org", "*.example.net"), 86400)
        assert web.asked == 1
        records["_mta-sts.example.org TXT"] = ['"v=STSv1; id=other"']
        web.text = TEXT.replace("enforce", "testing")
        found = await policies.find("example.org")
        assert found is not None
        assert (found.mode, web.asked) == ("testing", 2)
        clock.seconds += 86401
        await policies.find("example.org")
        assert web.asked == 3

    with_policies(web, authority, use, records)


def test_what_a_server_says_instead_is_shown_without_its_control_characters(
    authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    web = Web(authority)
    web.status = "\x1b[2J\rsmtpservice: nothing to see here"

    async def use(policies: Policies, clock: Clock) -> None:
        assert await policies.find("example.org") is None

    with_policies(web, authority, use)
    (record,) = caplog.records
    assert record.getMessage().isprintable()


def test_the_second_address_is_tried_where_the_first_does_not_answer(authority: trustme.CA) -> None:
    async def use(policies: Policies, clock: Clock) -> None:
        assert await policies.find("example.org")

    with_policies(Web(authority), authority, use, RECORD | {"mta-sts.example.org A": ["127.0.0.99", "127.0.0.1"]})


def test_a_server_that_drips_holds_no_thread(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those threads are few, and without them nobody's policy is read."""
    monkeypatch.setattr(mta_sts, "FETCH_SECONDS", 0.6)
    web, gone = Web(authority), threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            for _ in range(60):
                handler.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            gone.set()

    web.drip = drip

    async def use(policies: Policies, clock: Clock) -> None:
        assert await policies.find("example.org") is None
        assert await asyncio.to_thread(gone.wait, 2.0)

    with_policies(web, authority, use)


def test_a_policy_that_cannot_be_read_any_more_holds_for_as_long_as_it_said(authority: trustme.CA) -> None:
    web, records = Web(authority), dict(RECORD)

    async def use(policies: Policies, clock: Clock) -> None:
        assert await policies.find("example.org")
        web.status = "500 Internal Server Error"
        records["_mta-sts.example.org TXT"] = ['"v=STSv1; id=other"']
        for _ in range(3):
            assert await policies.find("example.org")
        assert web.asked == 2, "it is not asked for with each message"
        del records["_mta-sts.example.org TXT"]
        assert await policies.find("example.org")
        clock.seconds += 86401
        assert await policies.find("example.org") is None

    with_policies(web, authority, use, records)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "301 Moved Permanently"},
        {"status": "404 Not Found"},
        {"kind": "text/html"},
        {"text": "hello"},
        {"text": TEXT + "x" * mta_sts.POLICY_OCTETS},
    ],
)
def test_what_is_no_policy_is_none(authority: trustme.CA, change: dict[str, str]) -> None:
    web = Web(authority)
    vars(web).update(change)

    async def use(policies: Policies, clock: Clock) -> None:
        for _ in range(2):
            assert await policies.find("example.org") is None
        assert web.asked == 1
        clock.seconds += mta_sts.AGAIN + 1
        await policies.find("example.org")
        assert web.asked == 2

    with_policies(web, authority, use)


def test_a_policy_from_somebody_else_is_none(authority: trustme.CA) -> None:
    async def use(policies: Policies, clock: Clock) -> None:
        assert await policies.find("example.org") is None

    with_policies(Web(authority, "other.example.org"), authority, use)
    with_policies(Web(trustme.CA()), authority, use)


@pytest.mark.parametrize(
    "records",
    [
        {},
        {"_mta-sts.example.org TXT": ['"v=STSv1; id=1"']},
        {"_mta-sts.example.org TXT": ['"v=STSv1; id=1"', '"v=STSv1; id=2"'], "mta-sts.example.org A": ["127.0.0.1"]},
        {"_mta-sts.example.org TXT": ['"v=STSv2; id=1"'], "mta-sts.example.org A": ["127.0.0.1"]},
    ],
)
def test_a_domain_without_one_record_has_no_policy(authority: trustme.CA, records: dict[str, list[str]]) -> None:
    async def use(policies: Policies, clock: Clock) -> None:
        assert await policies.find("example.org") is None

    with_policies(Web(authority), authority, use, records)


def test_a_dns_that_is_away_is_no_policy(authority: trustme.CA) -> None:
    async def use(policies: Policies, clock: Clock) -> None:
        assert await policies.find("example.org") is None

    with_policies(Web(authority), authority, use, away={"_mta-sts.example.org"})


def test_what_is_remembered_is_bounded(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mta_sts, "REMEMBERED", 1)
    records = RECORD | {"_mta-sts.other.example TXT": ['"v=STSv1; id=1"']}

    async def use(policies: Policies, clock: Clock) -> None:
        for domain in ("example.org", "other.example"):
            await policies.find(domain)
        assert list(policies._known) == ["other.example"]

    with_policies(Web(authority), authority, use, records)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.org", True),
        ("other.example.org", False),
        ("a.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
    ],
)
def test_rfc_8461_4_1_hosts(host: str, *, allowed: bool) -> None:
    assert parse(TEXT).allows(host) is allowed


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.replace("STSv1", "STSv2"),
        TEXT.replace("enforce", "maybe"),
        TEXT.replace("86400", "a day"),
        "version: STSv1\nmode: enforce\nmax_age: 1\n",
    ],
)
def test_what_is_not_a_policy(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_a_policy_of_none_needs_no_hosts_and_lines_may_end_in_lf() -> None:
    assert parse("version: STSv1\nmode: none\nmax_age: 1\n") == Policy("none", (), 1)
