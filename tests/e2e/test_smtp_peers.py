"""Mail programs of other people send hard messages by SMTP and LMTP; what poplib reads back is what was sent.

Compared to the octet, but for line ends and the trace header that delivery puts on top.
"""

import email
import email.policy
import poplib
import re
import smtplib
import socket
import subprocess
from collections.abc import Callable, Iterable

import pytest

from tests.e2e.running import PASSWORD, Platform, Server
from tests.messages import all_messages, canonical, hard_messages, retrieved

DOMAIN = "jules.maison.mrs"
SENDER = "alfred@alfred.maison.mrs"
TRACE = re.compile(
    rb"Return-Path: <alfred@alfred\.maison\.mrs>\r\nDelivered-To: ([^\r]+)\r\nReceived: (?:[^\r]|\r\n[ \t])+\r\n"
)
PROTOCOLS = ("smtp", "lmtp")

Send = Callable[[int, str, list[str], Iterable[bytes]], None]
"""Sends messages to a port, by a protocol, to each of the recipients."""


def with_end(message: bytes) -> bytes:
    """A message can only be sent with a line end at its end (RFC 5321, 4.1.1.4)."""
    return message if message.endswith(b"\r\n") or not message else message + b"\r\n"


def stuffed(message: bytes) -> bytes:
    """What goes over the wire (RFC 5321, 4.5.2), up to and with the dot that ends it."""
    lines = message.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + b"."


def by_socket(port: int, protocol: str, recipients: list[str], messages: Iterable[bytes]) -> None:
    """Any octets at all, each message with its commands in one write."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        replies = connection.makefile("rb")
        hello = b"LHLO" if protocol == "lmtp" else b"HELO"
        connection.sendall(hello + b" [127.0.0.1]\r\n")
        while replies.readline()[:4] != b"250 ":
            pass
        envelope = f"MAIL FROM:<{SENDER}>\r\n" + "".join(f"RCPT TO:<{name}>\r\n" for name in recipients) + "DATA\r\n"
        stored = len(recipients) if protocol == "lmtp" else 1
        for message in messages:
            connection.sendall(envelope.encode() + stuffed(message) + b"\r\n")
            codes = [replies.readline()[:3] for _ in range(len(recipients) + 2 + stored)]
            assert codes == [b"250"] * (len(recipients) + 1) + [b"354"] + [b"250"] * stored
        connection.sendall(b"QUIT\r\n")
        assert replies.read().startswith(b"221")


def by_smtplib(port: int, protocol: str, recipients: list[str], messages: Iterable[bytes]) -> None:
    with (smtplib.LMTP if protocol == "lmtp" else smtplib.SMTP)("127.0.0.1", port, timeout=30) as client:
        for message in messages:
            assert client.sendmail(SENDER, recipients, message, ["BODY=8BITMIME"]) == {}
            for _ in recipients[1:] if protocol == "lmtp" else ():
                assert client.getreply()[0] == 250  # smtplib reads the first of LMTP's replies alone


def by_swaks(port: int, protocol: str, recipients: list[str], messages: Iterable[bytes]) -> None:
    for message in messages:
        command = [
            "swaks",
            "--server",
            "127.0.0.1",
            "--port",
            str(port),
            "--from",
            SENDER,
            "--to",
            ",".join(recipients),
        ]
        options = ["--protocol", "LMTP"] if protocol == "lmtp" else ["--protocol", "ESMTP", "--pipeline", "-tls"]
        run(*command, *options, "--silent", "2", "--no-data-fixup", "--data", "-", stdin=stuffed(message))


def by_msmtp(port: int, protocol: str, recipients: list[str], messages: Iterable[bytes]) -> None:
    command = [
        "msmtp",
        "-C",
        "/dev/null",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--protocol={protocol}",
        f"--from={SENDER}",
    ]
    as_it_is = ["--set-from-header=off", "--set-date-header=off", "--set-msgid-header=off", "--remove-bcc-headers=off"]
    for message in messages:
        run(*command, *as_it_is, "--", *recipients, stdin=message)


def run(*command: str, stdin: bytes) -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (
        f"{command}: {done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}"
    )


ALL = [with_end(message) for message in all_messages().values()]
#: For programs that take a process for each message: without large ones, and without none, which swaks cannot say.
HARD = [with_end(message) for message in hard_messages().values() if 0 < len(message) < 20_000]

#: Name -> the program it needs, what sends by it, and the messages; a message in four where each costs a process.
PEERS: dict[str, tuple[str, Send, list[bytes]]] = {
    "socket": ("", by_socket, ALL),
    "smtplib": ("", by_smtplib, [canonical(message) for message in ALL]),
    "swaks": ("swaks", by_swaks, HARD[::4]),
    "msmtp": ("msmtp", by_msmtp, [canonical(message).replace(b"\r\n", b"\n") for message in HARD[1::4]]),
}


def mailboxes(peer: str, protocol: str) -> list[str]:
    """Two of them, so that each message goes to more than one recipient."""
    return [f"{peer}-{protocol}-{number}@{DOMAIN}" for number in (1, 2)]


@pytest.fixture(scope="module")
def smtp(platform: Platform) -> Server:
    names = [name for peer in PEERS for protocol in PROTOCOLS for name in mailboxes(peer, protocol)]
    platform.manage("shell", "-c", _LOAD.format(domain=DOMAIN, password=PASSWORD, addresses=names))
    return platform.start_smtp("--certfile", str(platform.certfile), "--keyfile", str(platform.keyfile))


_LOAD = """
from accounts.services import create_account, create_domain, create_mailbox
domain = create_domain(name="{domain}")
user = create_account(username="jules", password="{password}")
for address in {addresses}:
    create_mailbox(user=user, domain=domain, local_part=address.partition("@")[0])
create_account(username="zoë", password="{password}", domains=[create_domain(name="münchen.example")])
"""


@pytest.fixture(scope="module")
def pop3(platform: Platform, smtp: Server) -> Server:
    return platform.start_pop3()


def fetched(port: int, address: str) -> list[bytes]:
    """All messages of a mailbox, without their trace headers, as poplib reads them."""
    client = poplib.POP3("127.0.0.1", port, timeout=30)
    client.user(address)
    client.pass_(PASSWORD)
    messages = []
    for number in range(1, client.stat()[0] + 1):
        message = b"".join(line + b"\r\n" for line in client.retr(number)[1])
        trace = TRACE.match(message)
        assert trace is not None, message[:500]
        assert trace[1].decode() == address
        messages.append(message[trace.end() :])
    client.quit()
    return messages


@pytest.mark.once
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("peer", PEERS)
def test_what_a_peer_sends_is_what_poplib_reads(
    peer: str,
    protocol: str,
    smtp: Server,
    pop3: Server,
    require_program: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("poplib._MAXLINE", 10**6)  # poplib refuses longer lines, which are legal in POP3
    program, send, messages = PEERS[peer]
    if program:
        require_program(program)
    assert len(messages) >= 10
    recipients = mailboxes(peer, protocol)
    send(smtp.ports[protocol], protocol, recipients, messages)
    for recipient in recipients:
        got = fetched(pop3.ports["plain"], recipient)
        assert len(got) == len(messages)
        for number, (one, message) in enumerate(zip(got, messages, strict=True)):
            assert one == retrieved(message), f"message {number}"


LETTER = "From: Jürgen <jürgen@böse.example>\r\nTo: zoë@münchen.example\r\nSubject: Grüße\r\n\r\nnaïve\r\n".encode()


@pytest.mark.parametrize("utf8", [True, False])
def test_rfc_6530_a_letter_in_utf_8_from_its_envelope_to_its_reader(smtp: Server, pop3: Server, utf8: bool) -> None:
    """SMTPUTF8 (6531) in; out as it came for a client that says UTF8 (6856), in ASCII (6857) for one that does not."""
    with smtplib.SMTP("127.0.0.1", smtp.ports["smtp"]) as sender:
        assert (
            sender.sendmail("jürgen@böse.example", ["ZOË@München.example"], LETTER, ["SMTPUTF8", "BODY=8BITMIME"]) == {}
        )
    client = poplib.POP3("127.0.0.1", pop3.ports["plain"], timeout=30)
    client.encoding = "utf-8"
    if utf8:
        client.utf8()
    client.user("Zoë%MÜNCHEN.example")
    client.pass_(PASSWORD)
    count, octets = client.stat()
    listed = [int(line.split()[1]) for line in client.list()[1]]
    messages = [b"".join(line + b"\r\n" for line in client.retr(number)[1]) for number in range(1, count + 1)]
    client.quit()
    assert list(map(len, messages)) == listed
    assert sum(listed) == octets
    header, _, body = messages[-1].partition(b"\r\n\r\n")
    assert body == "naïve\r\n".encode()
    assert header.isascii() is not utf8
    if utf8:
        assert messages[-1].startswith("Return-Path: <jürgen@böse.example>\r\n".encode())
        assert messages[-1].endswith(LETTER)
    else:
        letter = email.message_from_bytes(messages[-1], policy=email.policy.default)
        assert letter["Subject"] == "Grüße"
        assert [group.display_name for group in letter["To"].groups] == ["zoë@münchen.example"]
        assert letter["From"].groups[0].display_name.split() == ["Jürgen", "jürgen@böse.example"]
