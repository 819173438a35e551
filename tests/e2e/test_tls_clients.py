"""TLS with programs that people use, where nothing goes without it: from the first octet, and by STLS.

No network is listed for passwords in the clear, so a client that does not encrypt gets nothing. What else these clients
do is in test_clients.py.
"""

import base64
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.e2e.clients import CLIENTS, Account
from tests.e2e.filling import address, fill, message
from tests.e2e.pop3 import Pop3
from tests.e2e.running import PASSWORD, Platform, Server

pytestmark = [pytest.mark.timeout(200), pytest.mark.once]

MESSAGES = [message("jules", number) for number in (1, 2, 3)]
OTHER = "pop.alfred.example"


@pytest.fixture(scope="module")
def other_domain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate of another domain and another authority."""
    directory = tmp_path_factory.mktemp("other")
    authority = trustme.CA()
    issued = authority.issue_cert(f"*.{OTHER.partition('.')[2]}")
    issued.private_key_and_cert_chain_pem.write_to_path(str(directory / "both.pem"))
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))
    return {name: directory / f"{name}.pem" for name in ("both", "authority")}


@pytest.fixture(scope="module")
def pop3(platform: Platform, other_domain: dict[str, Path]) -> Server:
    fill(platform, "mailboxes('jules', messages=3)")
    both = str(other_domain["both"])
    return platform.start_pop3("--certfile", both, "--keyfile", both, workers=2, PLAINTEXT_NETWORKS="192.0.2.0/24")


@pytest.mark.parametrize("stls", [False, True], ids=["implicit", "stls"])
@pytest.mark.parametrize("name", ["curl", "fetchmail", "mpop"])
def test_clients_that_insist_on_tls_fetch(
    name: str, stls: bool, pop3: Server, platform: Platform, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    """RFC 8314, 3.1, and RFC 2595, 4: `curl --ssl-reqd`, fetchmail with STLS, mpop."""
    require_program(CLIENTS[name].program)
    port = pop3.ports["plain" if stls else "tls"]
    account = Account(port, address("jules"), PASSWORD, platform.authority, stls)
    assert CLIENTS[name].fetch(account, tmp_path, True) == MESSAGES


def test_without_tls_a_client_gets_nothing(pop3: Server, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit code"):
        CLIENTS["curl"].fetch(Account(pop3.ports["plain"], address("jules"), PASSWORD), tmp_path, True)


@pytest.mark.parametrize("options", [("tls",), ("plain", "-starttls", "pop3")], ids=["implicit", "stls"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client_fetches(
    options: tuple[str, ...], version: str, pop3: Server, platform: Platform, require_program: Callable[[str], str]
) -> None:
    port, *starttls = options
    trust = ["-CAfile", str(platform.authority), "-verify_return_error", "-verify_hostname", "localhost"]
    said = s_client(
        [
            require_program("openssl"),
            "s_client",
            "-connect",
            f"127.0.0.1:{pop3.ports[port]}",
            *starttls,
            version,
            *trust,
        ],
        f"USER {address('jules')}\r\nPASS {PASSWORD}\r\nRETR 2\r\nQUIT\r\n",
    )
    assert MESSAGES[1].replace(b"\r\n.", b"\r\n..") + b".\r\n+OK" in said


def s_client(command: list[str], commands: str) -> bytes:
    """What the server says to these commands. `-quiet`: a line that begins with Q or R is the server's, not s_client's."""
    run = subprocess.run(
        [*command, "-servername", "localhost", "-quiet"],
        input=commands.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_each_domain_has_its_certificate(pop3: Server, platform: Platform, other_domain: dict[str, Path]) -> None:
    """RFC 6066, 3: the client checks it for the name it asked for."""
    for name, authority in ((OTHER, other_domain["authority"]), ("localhost", platform.authority)):
        context = ssl.create_default_context(cafile=str(authority))
        with (
            socket.create_connection(("127.0.0.1", pop3.ports["tls"]), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            assert connection.recv(3) == b"+OK"


@pytest.mark.parametrize("stls", [False, True], ids=["995", "110"])
def test_thunderbird_s_settings_fetch(stls: bool, pop3: Server, platform: Platform) -> None:
    """SSL/TLS or STARTTLS with "normal password": what Thunderbird says, one command after the other.

    It asks for CAPA, after STLS once more, takes AUTH PLAIN where that is listed, and sends the response by itself.
    """
    context = ssl.create_default_context(cafile=str(platform.authority))
    with Pop3(pop3.ports["plain" if stls else "tls"], tls=None if stls else context) as client:
        if stls:
            assert b"STLS" in client.rows("CAPA")
            client.do("STLS")
            client.start_tls(context)
        capabilities = client.rows("CAPA")
        assert any(line.startswith(b"SASL") and b"PLAIN" in line.split() for line in capabilities)
        assert b"UIDL" in capabilities
        client.send("AUTH PLAIN")
        assert client.line() == b"+ "
        client.do(base64.b64encode(f"\0{address('jules')}\0{PASSWORD}".encode()).decode())
        client.do("STAT")
        assert len(client.rows("LIST")) == len(client.rows("UIDL")) == 3
        assert client.message(3) == MESSAGES[2]
        client.do("QUIT")
