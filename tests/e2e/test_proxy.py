"""haproxy in front of the real servers: its clients keep their address, and its word on TLS counts where it is trusted.

haproxy runs on 127.0.0.1 and connects from 127.0.0.2, the one listed proxy; clients have other addresses of loopback.
"""

import poplib
import re
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.filling import address, fill
from tests.e2e.running import PASSWORD, Platform, free_port, greets, wait_until

pytestmark = [pytest.mark.timeout(200), pytest.mark.once]

#: A client whose network is listed, and one whose is not.
LISTED, STRANGER = "127.0.0.9", "127.0.0.10"

_CONFIGURATION = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 10s
    timeout client 15m
    timeout server 15m
listen pop3
    bind 127.0.0.1:{pop3}
    server mail 127.0.0.1:{plain} send-proxy check check-send-proxy inter 100ms source 127.0.0.2
listen pop3s
    bind 127.0.0.1:{pop3s}
    server mail 127.0.0.1:{tls} send-proxy-v2 check check-send-proxy inter 100ms source 127.0.0.2
listen pop3s-ended-here
    bind 127.0.0.1:{ended} ssl crt {pem} alpn pop3
    server mail 127.0.0.1:{plain} send-proxy-v2-ssl check check-send-proxy inter 100ms source 127.0.0.2
listen smtp
    bind 127.0.0.1:{smtp}
    server mail 127.0.0.1:{intake} send-proxy-v2 source 127.0.0.2
"""


@dataclass
class Proxied:
    """The ports of haproxy, those of the servers behind it, and what the servers say."""

    ports: dict[str, int]
    behind: dict[str, int]
    log: Path
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def proxied(
    platform: Platform, tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> Iterator[Proxied]:
    fill(platform, "mailboxes('jules')")
    settings = {"PROXY_NETWORKS": "127.0.0.2/32", "PLAINTEXT_NETWORKS": f"127.0.0.2/32,{LISTED}/32"}
    pop3, smtp = platform.start_pop3(**settings), platform.start_smtp(**settings)
    behind = {**pop3.ports, "intake": smtp.ports["smtp"]}
    ports = {name: free_port() for name in ("pop3", "pop3s", "ended", "smtp")}
    folder = tmp_path_factory.mktemp("haproxy")
    (folder / "both.pem").write_bytes(platform.certfile.read_bytes() + platform.keyfile.read_bytes())
    (folder / "haproxy.cfg").write_text(_CONFIGURATION.format(**ports, **behind, pem=folder / "both.pem"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [require_program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: greets(ports["pop3"], b"+OK"), seconds=40, what="haproxy answers")
        yield Proxied(ports, behind, pop3.log, ssl.create_default_context(cafile=str(platform.authority)))
    finally:
        process.terminate()
        process.wait(20)


class Pop3(poplib.POP3):
    """A POP3 client that has the address it is told."""

    def __init__(self, port: int, source: str, tls: ssl.SSLContext | None = None) -> None:
        self.source, self.context = source, tls
        super().__init__("127.0.0.1", port, timeout=60)

    def _create_socket(self, timeout: float) -> socket.socket:
        plain = socket.create_connection((self.host, self.port), timeout, source_address=(self.source, 0))
        return self.context.wrap_socket(plain, server_hostname="localhost") if self.context else plain

    def log_in(self) -> bytes:
        self.user(address("jules"))
        return self.pass_(PASSWORD)


def test_who_may_send_a_password_in_the_clear_is_the_client_not_the_proxy(proxied: Proxied) -> None:
    listed = Pop3(proxied.ports["pop3"], LISTED)
    assert listed.log_in().startswith(b"+OK")
    listed.quit()
    stranger = Pop3(proxied.ports["pop3"], STRANGER)
    with pytest.raises(poplib.error_proto, match="no password over a connection that is not encrypted"):
        stranger.log_in()
    stranger.close()


@pytest.mark.parametrize("name", ["pop3s", "ended"])
def test_tls_passes_through_the_proxy_or_ends_there(proxied: Proxied, name: str) -> None:
    """Where it ends there, PP2_TYPE_SSL says so of the client's part of the way; the rest is a listed network."""
    client = Pop3(proxied.ports[name], STRANGER, proxied.trusting)
    assert client.log_in().startswith(b"+OK")
    assert "STLS" not in client.capa()
    client.quit()


def test_mail_has_the_client_s_address_in_its_trace(proxied: Proxied) -> None:
    with smtplib.SMTP("127.0.0.1", proxied.ports["smtp"], source_address=(STRANGER, 0)) as smtp:
        smtp.sendmail("alfred@example.org", [address("jules")], b"Subject: traced\r\n\r\n")
    client = Pop3(proxied.ports["pop3"], LISTED)
    client.log_in()
    trace = b" ".join(client.retr(len(client.list()[1]))[1])
    assert re.search(rb"Received: from \S+ \(\[127\.0\.0\.10\]\)", trace), trace
    client.quit()


@pytest.mark.parametrize("name", ["plain", "intake"])
@pytest.mark.parametrize("header", [b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"])
def test_a_header_that_is_not_a_listed_proxy_s_ends_the_connection(proxied: Proxied, name: str, header: bytes) -> None:
    with socket.create_connection(("127.0.0.1", proxied.behind[name]), timeout=60) as connection:
        connection.sendall(header)
        said = b""
        while octets := connection.recv(1000):
            said += octets
    assert said.splitlines()[-1].startswith((b"-ERR a PROXY header", b"421 4.7.0 A PROXY header", b"+OK"))


def test_health_checks_leave_nothing_in_the_log(proxied: Proxied) -> None:
    log = proxied.log.read_text()
    assert "PROXY" not in log
    assert "handshake failed" not in log
