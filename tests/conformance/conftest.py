"""Where the conformance tests are pointed: at the server of this project in its test database, or wherever options say.

    pytest tests/conformance --pop3 mail.example.org:110 --pop3-tls mail.example.org:995 --pop3-user jules \\
        --pop3-password 'correct  horse' --pop3-load 'ssh mail.example.org deliver jules'

The mailbox is emptied again and again. docs/conformance.md has more, and a run beside Dovecot.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accounts.lookup import find_mailboxes
from accounts.services import create_account, create_domain
from tests.conformance.client import Client
from tests.conformance.target import Target, address, loader
from tests.mailstore.mailboxes import fill
from tests.pop3service.conftest import quick_hashes, serve_mailboxes, thread, tls
from tests.pop3service.serving import DatabaseServed, Tls

__all__ = ["quick_hashes", "serve_mailboxes", "thread", "tls"]  # fixtures

USER, PASSWORD = "jules@maison.mrs", "correct  horse"

#: Logs in to the mailbox, in which are these messages and no other.
Fetch = Callable[..., Client]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "another POP3 server to hold against the RFCs")
    group.addoption("--pop3", metavar="HOST:PORT", help="where it serves in the clear; without it, ours is tested")
    group.addoption("--pop3-tls", metavar="HOST:PORT", help="where it serves with TLS from the first octet")
    group.addoption("--pop3-name", metavar="HOST", default="localhost", help="its name in the certificate")
    group.addoption("--pop3-ca", metavar="FILE", help="the authority of its certificate")
    group.addoption("--pop3-user", metavar="NAME", help="the account; its mailbox is emptied")
    group.addoption("--pop3-password", metavar="WORD", help="best with two spaces in it, which are legal")
    group.addoption(
        "--pop3-load",
        metavar="HOW",
        help="lmtp://HOST:PORT/ADDRESS, maildir:FOLDER or a command that takes a message",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    if not item.config.getoption("pop3", None):
        item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    if request.config.getoption("pop3", None):
        return _elsewhere(request.config)
    return _here(request.getfixturevalue("serve_mailboxes"), request.getfixturevalue("tls"))


def _elsewhere(config: pytest.Config) -> Target:
    options = {name: config.getoption(f"pop3_{name}") for name in ("tls", "name", "ca", "user", "password", "load")}
    if missing := [f"--pop3-{name}" for name in options if not options[name] and name != "ca"]:
        raise pytest.UsageError(f"with --pop3, these are needed too: {' '.join(missing)}")
    load, exact = loader(options["load"])
    target = Target(
        plain=address(config.getoption("pop3")),
        tls=address(options["tls"]),
        user=options["user"],
        password=options["password"],
        load=load,
        exact=exact,
        name=options["name"],
        authorities=Path(options["ca"]) if options["ca"] else None,
    )
    _empty(target)
    return target


def _empty(target: Target) -> None:
    with Client(target, tls=True).log_in() as client:
        for number in range(1, int(client.ok("STAT").split()[0]) + 1):
            client.ok(f"DELE {number}")
        client.quit()


def _here(serve: Callable[..., DatabaseServed], tls: Tls) -> Target:
    create_account(username="jules", password=PASSWORD, domains=[create_domain(name="maison.mrs")])
    (mailbox,) = find_mailboxes([USER])
    assert mailbox is not None
    served = serve(tls=tls.server)
    return Target(
        plain=("127.0.0.1", served.plain),
        tls=("127.0.0.1", served.tls),
        user=USER,
        password=PASSWORD,
        load=lambda message: _fill(mailbox.id, message),
        authorities=tls.authority,
    )


def _fill(mailbox_id: int, message: bytes) -> None:
    fill(mailbox_id, message)


@pytest.fixture
def connect(target: Target) -> Iterator[Callable[..., Client]]:
    """Connect, by TLS from the first octet or in the clear."""
    clients: list[Client] = []

    def connect(*, tls: bool = False, alpn: tuple[str, ...] = ()) -> Client:
        clients.append(Client(target, tls=tls, alpn=alpn))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def fetch(target: Target, connect: Callable[..., Client]) -> Fetch:
    def fetch(*messages: bytes) -> Client:
        for message in messages:
            target.load(message)
        return connect().log_in()

    return fetch
