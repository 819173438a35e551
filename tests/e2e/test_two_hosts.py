"""The founding story: two hosts, jules.maison.mrs on SQLite and alfred.maison.mrs on PostgreSQL, and a laptop.

jules has an account on the first, alfred on the second, charles on both. They write to each other across the hosts, and
from the laptop, which has nothing but a mail client, charles reads both of his mailboxes and sends through either host.
"""

import asyncio
import contextlib
import poplib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import dkim
import psycopg
import pytest
import trustme

from tests import run as suite
from tests.e2e.database import query
from tests.e2e.networks import Network, network
from tests.e2e.running import PASSWORD, Platform, Server, wait_until
from tests.messages import canonical, hard_messages
from tests.smtpservice.relay.names import NameServer

pytestmark = pytest.mark.once
DOMAINS = {"jules": "jules.maison.mrs", "alfred": "alfred.maison.mrs"}
#: Seconds a message may take from one host to the other; it takes one.
ARRIVAL = 60.0


@dataclass(eq=False)
class Host:
    """One host with its platform and its servers."""

    name: str
    network: Network
    platform: Platform
    smtp: Server | None = None

    @property
    def address(self) -> str:
        return self.network.addresses(self.name)[0]

    def serve_smtp(self) -> None:
        ports, where = self.network.ports, self.network.addresses(self.name)
        binds = [f"--smtp-bind={f'[{address}]' if ':' in address else address}:{ports['smtp']}" for address in where]
        certificate = ("--certfile", str(self.platform.certfile), "--keyfile", str(self.platform.keyfile))
        submission = f"--submission-bind={self.address}:{ports['submission']}"
        self.smtp = self.platform.start("smtpserve", *binds, submission, *certificate, ports=ports)
        self.smtp.wait_for(lambda: self._answers(ports["submission"]))

    def serve_pop3(self) -> None:
        ports = self.network.ports
        certificate = ("--certfile", str(self.platform.certfile), "--keyfile", str(self.platform.keyfile))
        binds = [f"--bind={self.address}:{ports['pop3']}", f"--tls-bind={self.address}:{ports['pop3s']}"]
        server = self.platform.start("pop3serve", *binds, *certificate, ports=ports)
        server.wait_for(lambda: self._answers(ports["pop3"]))

    def _answers(self, port: int) -> bool:
        def connects() -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection((self.address, port), timeout=5).close()
                return True
            return False

        return self.network.on("laptop", connects)


@pytest.fixture(autouse=True)
def lines_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """poplib takes none above 2048 octets; servers send what is in the message."""
    monkeypatch.setattr(poplib, "_MAXLINE", 10_000_000)


class Laptop:
    """A mail client on a host of its own."""

    def __init__(self, network: Network, authority: Path) -> None:
        self._network = network
        self._tls = ssl.create_default_context(cafile=authority)

    def send(self, through: Host, login: str, recipients: list[str], *messages: bytes) -> None:
        """Submit over one connection, with STARTTLS and the account's password."""

        def submit() -> None:
            with smtplib.SMTP(through.address, self._network.ports["submission"], "laptop.example", 30) as client:
                client.starttls(context=self._tls)
                client.login(login, PASSWORD)
                for message in messages:
                    assert client.sendmail(login, recipients, message) == {}

        self._network.on("laptop", submit)

    def read(self, host: Host, login: str) -> list[bytes]:
        """All messages of a mailbox, by STLS, without the trace headers and what submission has put on top."""

        def fetch() -> list[bytes]:
            box = poplib.POP3(host.address, self._network.ports["pop3"], timeout=30)
            box.stls(self._tls)
            box.user(login)
            box.pass_(PASSWORD)
            messages = [b"\r\n".join(box.retr(number)[1]) + b"\r\n" for number in range(1, box.stat()[0] + 1)]
            box.quit()
            return messages

        return self._network.on("laptop", fetch)

    def wait_for(self, host: Host, login: str, message: bytes) -> None:
        """Wait until the mailbox has it, byte for byte behind its trace headers."""
        found: list[bytes] = []

        def arrived() -> bool:
            found[:] = self.read(host, login)
            return any(one.endswith(message) for one in found)

        wait_until(arrived, seconds=ARRIVAL, what=f"{login} gets it")
        assert sum(one.endswith(message) for one in found) == 1


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host, Laptop]]:
    """jules' host, alfred's, and the laptop; all of it is gone afterwards."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(network("jules", "alfred", "laptop"))
        authority = trustme.CA()
        directory = tmp_path_factory.mktemp("hosts")
        authority.cert_pem.write_to_path(str(directory / "authority.pem"))
        stack.enter_context(names_served(made))
        databases = {
            "jules": f"sqlite:///{directory}/jules.sqlite3",
            "alfred": stack.enter_context(database_of_alfred(directory)),
        }
        threads = stack.enter_context(ThreadPoolExecutor())
        both = list(threads.map(lambda name: make_host(name, made, authority, directory, databases[name]), DOMAINS))
        try:
            yield both[0], both[1], Laptop(made, directory / "authority.pem")
        finally:
            list(threads.map(Server.stop, [server for host in both for server in host.platform.servers]))


@contextlib.contextmanager
def names_served(made: Network) -> Iterator[None]:
    """A name server in the switch's namespace that knows both domains."""
    records: dict[str, list[str]] = {}
    for name, domain in DOMAINS.items():
        records[f"{domain} MX"] = [f"10 {domain}."]
        records[f"{domain} A"] = made.addresses(name)[:1]
        if made.has_ipv6:
            records[f"{domain} AAAA"] = made.addresses(name)[1:]
    host, _, port = made.name_server.partition("#")
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with NameServer(records).serving(host, int(port or 53)):
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: made.on("switch", lambda: asyncio.run(serve())))
    thread.start()
    assert ready.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def database_of_alfred(directory: Path) -> Iterator[str]:
    """PostgreSQL, which a process of any namespace reaches by its socket in the file system; SQLite without it."""
    programs = suite.postgresql_programs()
    if programs is None:
        yield f"sqlite:///{directory}/alfred.sqlite3"
        return
    with suite.postgresql(programs) as url:
        with psycopg.connect(url) as connection:
            (folder,) = connection.execute("SHOW unix_socket_directories").fetchone() or ("",)
        yield f"postgres://postgres@:{urlsplit(url).port}/{folder}/postgres"


def make_host(name: str, made: Network, authority: trustme.CA, directory: Path, database_url: str) -> Host:
    """A host with its accounts and its servers."""
    folder = directory / name
    folder.mkdir()
    issued = authority.issue_cert(DOMAINS[name], *made.addresses(name))
    certfile, keyfile = folder / "certificate.pem", folder / "key.pem"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(certfile), append=True)
    issued.private_key_pem.write_to_path(str(keyfile))
    platform = Platform(folder, database_url, certfile, keyfile, directory / "authority.pem", prefix=made.prefix(name))
    platform.settings = {
        "MAIL_HOSTNAME": DOMAINS[name],
        "RELAY_NAME_SERVERS": made.name_server,
        "RELAY_PORT": str(made.ports["smtp"]),
        "RELAY_IPV6": str(int(made.has_ipv6)),
        "COLLECT_NETWORKS": "0.0.0.0/0,::/0",
        "SSL_CERT_FILE": str(directory / "authority.pem"),
    }
    make = (
        "from django.core.management import call_command; call_command('migrate', verbosity=0);"
        "from accounts.services import *; create_domain(name={!r});"
        "[create_account(username=name, password={!r}) for name in ({!r}, 'charles')]"
    )
    platform.manage("shell", "-c", make.format(DOMAINS[name], PASSWORD, name))
    host = Host(name, made, platform)
    host.serve_smtp()
    host.serve_pop3()
    return host


def letter(author: str, subject: str, message: bytes = b"") -> bytes:
    """A message as a mail client sends it, with all that submission would add."""
    head = f"From: {author}\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\nMessage-ID: <{subject}@laptop.example>\r\n"
    return f"{head}Subject: {subject}\r\n\r\n".encode() + (message or b"Until Sunday.\r\n..dots\r\n.\r\n")


def missing(sent: list[bytes], found: list[bytes]) -> list[bytes]:
    """Messages that are not there behind a trace header."""
    return [message for message in sent if not any(one.endswith(message) for one in found)]


JULES, ALFRED = "jules@jules.maison.mrs", "alfred@alfred.maison.mrs"
CHARLES_1, CHARLES_2 = "charles@jules.maison.mrs", "charles@alfred.maison.mrs"


def test_jules_writes_to_alfred(hosts: tuple[Host, Host, Laptop]) -> None:
    one, two, laptop = hosts
    message = letter(JULES, "to-alfred")
    laptop.send(one, JULES, [ALFRED], message)
    laptop.wait_for(two, ALFRED, message)


def test_alfred_writes_to_charles_on_both_hosts(hosts: tuple[Host, Host, Laptop]) -> None:
    one, two, laptop = hosts
    message = letter(ALFRED, "to-charles", "8-bit: é\r\n".encode() + b"x" * 900 + b"\r\n")
    laptop.send(two, ALFRED, [CHARLES_1, CHARLES_2], message)
    laptop.wait_for(one, CHARLES_1, message)
    laptop.wait_for(two, CHARLES_2, message)


def test_charles_sends_through_either_host_to_both_of_the_others(hosts: tuple[Host, Host, Laptop]) -> None:
    one, two, laptop = hosts
    for host, login in ((one, CHARLES_1), (two, CHARLES_2)):
        message = letter(login, f"from-{host.name}")
        laptop.send(host, login, [JULES, ALFRED], message)
        laptop.wait_for(one, JULES, message)
        laptop.wait_for(two, ALFRED, message)


def test_a_large_message_crosses_the_hosts(hosts: tuple[Host, Host, Laptop]) -> None:
    one, two, laptop = hosts
    message = letter(JULES, "large", b".a line of text that begins with a dot\r\n" * 100_000)
    laptop.send(one, JULES, [CHARLES_2], message)
    laptop.wait_for(two, CHARLES_2, message)


def test_text_of_all_kinds_arrives_as_it_was_sent(hosts: tuple[Host, Host, Laptop]) -> None:
    one, two, laptop = hosts
    sent = [letter(ALFRED, name.replace(" ", "-"), canonical(text)) for name, text in hard_messages().items()]
    laptop.send(two, ALFRED, [JULES], *sent)
    wait_until(
        lambda: missing(sent, laptop.read(one, JULES)) == [],
        seconds=ARRIVAL,
        what="all of them arrive",
    )


def test_what_is_submitted_is_signed_and_the_signature_holds_on_the_other_host(
    hosts: tuple[Host, Host, Laptop],
) -> None:
    one, two, laptop = hosts
    made = one.platform.manage("dkimkey", DOMAINS["jules"], "--make", "ed25519", "--selector", "s")
    one.platform.manage("dkimkey", DOMAINS["jules"], "--sign-with", "s", "--unchecked")
    published = "".join(made.partition("IN TXT (")[2].split('"')[1::2]).encode()
    # Without Date and Message-ID, which submission adds and which are signed too.
    laptop.send(one, JULES, [ALFRED], f"From: {JULES}\r\nSubject: signed\r\n\r\n.dot\r\n\r\n".encode())
    found: list[bytes] = []

    def arrived() -> bool:
        found[:] = [message for message in laptop.read(two, ALFRED) if b"Subject: signed\r\n" in message]
        return bool(found)

    wait_until(arrived, seconds=ARRIVAL, what="it arrives")
    assert dkim.DKIM(found[0]).verify(dnsfunc=lambda name, timeout=5: published)
    assert b"\r\nMessage-ID: <" in found[0]


def test_mail_waits_while_a_host_is_down_and_arrives_when_it_is_back(hosts: tuple[Host, Host, Laptop]) -> None:
    one, two, laptop = hosts
    assert two.smtp is not None
    two.smtp.stop()
    message = letter(JULES, "while-down")
    laptop.send(one, JULES, [CHARLES_1, ALFRED], message)
    laptop.wait_for(one, CHARLES_1, message)
    ask = "SELECT address, state, last_reply FROM smtpservice_queuedrecipient"
    waiting: list[tuple[str, str, str]] = []

    def has_been_tried() -> bool:
        waiting[:] = query(one.platform, ask)
        return any("No connection to alfred.maison.mrs" in reply for _address, _state, reply in waiting)

    wait_until(has_been_tried, seconds=ARRIVAL, what="it waits in the queue")
    assert [(address, state) for address, state, _reply in waiting] == [(ALFRED, "waiting")]
    two.serve_smtp()
    retry = (
        "from smtpservice.models import *; from smtpservice.care import *;"
        "print(retry_now(recipient_ids=[row.pk for row in QueuedRecipient.objects.all()]))"
    )
    assert "1" in one.platform.manage("shell", "-c", retry)
    laptop.wait_for(two, ALFRED, message)
    wait_until(lambda: query(one.platform, ask) == [], seconds=ARRIVAL, what="the queue is empty")


def test_charles_collects_from_each_host_into_the_other_and_has_all_of_it_once(
    hosts: tuple[Host, Host, Laptop],
) -> None:
    one, two, laptop = hosts
    sent = {one: letter(JULES, "to-collect-1"), two: letter(ALFRED, "to-collect-2")}
    here = {one: CHARLES_1, two: CHARLES_2}
    for host, message in sent.items():
        laptop.send(host, JULES if host is one else ALFRED, [here[host]], message)
        laptop.wait_for(host, here[host], message)
    for host, other in ((one, two), (two, one)):
        url = f"pop3s://{here[other]}@{DOMAINS[other.name]}:{host.network.ports['pop3s']}"
        arguments = ("collect", here[host], "--from", url, "--password-stdin")
        host.platform.manage(*arguments, stdin=f"{PASSWORD}\n".encode())
    numbers = []
    for host in (one, two) * 2:
        wait_until(partial(has_collected, host, here[host]), seconds=ARRIVAL, what="all is collected")
        numbers.append(len(laptop.read(host, here[host])))
    assert numbers[:2] == numbers[2:]  # nothing goes round
    for host, message in product(sent, sent.values()):
        laptop.wait_for(host, here[host], message)


def has_collected(host: Host, login: str) -> bool:
    """Look now; False where a worker does so, or somebody reads there, at this moment."""
    with contextlib.suppress(AssertionError):
        host.platform.manage("collect", login)
        return True
    return False
