"""Every client fetches the same messages from the real servers, and each byte of them is compared.

The messages are the files of CPython's own email tests and the project's hard cases. They came in twice: by
`importmail`, and by SMTP and LMTP, which put a trace header on top. The imported ones are fetched in the clear and kept,
the received ones are fetched by TLS and deleted.
"""

import itertools
import re
import smtplib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.clients import CLIENTS, Account, Client
from tests.e2e.running import PASSWORD, Platform, Server
from tests.messages import all_messages, retrieved

DOMAIN = "jules.maison.mrs"
MESSAGES = [retrieved(message) for message in all_messages().values()]
ORIGINS = ("imported", "received")
TRACE = re.compile(
    rb"Return-Path: <alfred@alfred\.maison\.mrs>\r\n"
    rb"Delivered-To: (?P<address>[^\r]+)\r\n"
    rb"Received: from (?:[^\r]|\r\n[ \t])+\r\n"
)

pytestmark = pytest.mark.timeout(300)


def mailbox(origin: str, client: str) -> str:
    return f"{origin}-{client}"


MAILBOXES = {origin: [mailbox(origin, client) for client in CLIENTS] for origin in ORIGINS}


@pytest.fixture(scope="module")
def pop3(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with one mailbox for each client and origin, and all messages in each of them."""
    folder = tmp_path_factory.mktemp("messages")
    for number, message in enumerate(all_messages().values()):
        (folder / f"{number:04}.eml").write_bytes(message or b"\n")  # a file of no octets is no message
    platform.manage("shell", "-c", _LOAD.format(domain=DOMAIN, password=PASSWORD, folder=folder, **MAILBOXES))
    _send(platform.start_smtp().ports, [f"{name}@{DOMAIN}" for name in MAILBOXES["received"]])
    return platform.start_pop3()


_LOAD = """
from pathlib import Path
from django.core.management import call_command
from accounts.services import create_account, create_domain
create_domain(name="{domain}")
for name in {imported} + {received}:
    create_account(username=name, password="{password}")
for name in {imported}:
    call_command("importmail", name + "@{domain}", *sorted(Path("{folder}").iterdir()), verbosity=0)
"""


def _send(ports: dict[str, int], addresses: list[str]) -> None:
    """Each message to everybody, in turn by SMTP and by LMTP."""
    sender = "alfred@alfred.maison.mrs"
    with smtplib.SMTP("127.0.0.1", ports["smtp"]) as smtp, smtplib.LMTP("127.0.0.1", ports["lmtp"]) as lmtp:
        for by_smtp, by_lmtp in itertools.zip_longest(MESSAGES[::2], MESSAGES[1::2]):
            assert smtp.sendmail(sender, addresses, by_smtp) == {}
            if by_lmtp is not None:
                assert lmtp.sendmail(sender, addresses, by_lmtp) == {}
                # One reply for each recipient (RFC 2033, 4.2), of which smtplib reads the first.
                assert {lmtp.getreply()[0] for _ in addresses[1:]} == {250}


def _raw(account: Account) -> list[bytes]:
    """All messages as the server sends them, read without any client's library."""
    with socket.create_connection(("127.0.0.1", account.port), timeout=30) as connection:
        stream = connection.makefile("rwb")
        stream.write(f"USER {account.login}\r\nPASS {account.password}\r\nSTAT\r\n".encode())
        stream.flush()
        status = [stream.readline() for _ in range(4)]
        assert all(line.startswith(b"+OK") for line in status), status
        fetched = []
        for number in range(1, int(status[-1].split()[1]) + 1):
            stream.write(b"RETR %d\r\n" % number)
            stream.flush()
            assert stream.readline().startswith(b"+OK")
            lines = iter(stream.readline, b".\r\n")
            fetched.append(b"".join(line.removeprefix(b".") for line in lines))
        stream.write(b"QUIT\r\n")
        stream.flush()
        assert stream.readline().startswith(b"+OK")
    return fetched


def test_what_the_server_sends_is_what_was_imported(pop3: Server) -> None:
    account = Account(pop3.ports["plain"], f"{MAILBOXES['imported'][0]}@{DOMAIN}", PASSWORD)
    assert _raw(account) == MESSAGES


def test_what_the_server_sends_is_a_trace_header_and_what_was_received(pop3: Server) -> None:
    account = Account(pop3.ports["plain"], f"{MAILBOXES['received'][0]}@{DOMAIN}", PASSWORD)
    fetched = _raw(account)
    assert len(fetched) == len(MESSAGES)
    for got, message in zip(fetched, MESSAGES, strict=True):
        trace = TRACE.match(got)
        assert trace is not None, got[:500]
        assert trace["address"].decode() == account.login
        assert got[trace.end() :] == message


@pytest.mark.once
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("name", CLIENTS)
def test_every_byte_arrives(
    name: str,
    origin: str,
    pop3: Server,
    platform: Platform,
    tmp_path: Path,
    require_program: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = CLIENTS[name]
    require_program(client.program)
    monkeypatch.setattr("poplib._MAXLINE", 10**6)  # poplib refuses longer lines, which are legal in POP3
    login = f"{mailbox(origin, name)}@{DOMAIN}"
    plain = Account(pop3.ports["plain"], login, PASSWORD)
    sent = _raw(plain)

    keep = origin == "imported"
    account = plain if keep else Account(pop3.ports["tls"], login, PASSWORD, platform.authority)
    fetched = client.fetch(account, tmp_path, keep)

    _compare(client, sent, fetched)
    assert _raw(plain) == (sent if keep else [])


def _compare(client: Client, sent: list[bytes], fetched: list[bytes]) -> None:
    assert len(fetched) == len(sent)
    compared = [(got, client.as_written(want)) for got, want in zip(fetched, sent, strict=True) if client.carries(want)]
    assert len(compared) >= 40
    for number, (got, want) in enumerate(compared):
        assert got == want, f"message {number} of those compared"
