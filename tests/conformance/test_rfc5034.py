"""RFC 5034: AUTH; RFC 4616: PLAIN; RFC 5802 and RFC 7677: SCRAM. All by TLS, where every mechanism may be used."""

from base64 import b64decode, b64encode
from collections.abc import Callable

import pytest
from scramp import ScramClient

from tests.conformance.client import Client
from tests.conformance.conftest import Fetch
from tests.conformance.target import Target

Connect = Callable[..., Client]


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect(tls=True)


def plain(target: Target, password: str = "", authzid: str = "") -> bytes:
    return b64encode(f"{authzid}\0{target.user}\0{password or target.password}".encode())


class TestAuth:
    """RFC 5034, 4."""

    def test_with_an_initial_response(self, client: Client, target: Target) -> None:
        """4: The first response may come with the command."""
        client.ok(b"AUTH PLAIN " + plain(target))
        client.ok("STAT")

    def test_without_one(self, client: Client, target: Target) -> None:
        """4: Without it the challenge is '+', a blank and nothing."""
        assert client.challenge("AUTH PLAIN") == b""
        client.ok(plain(target))
        client.ok("STAT")

    def test_mechanisms_in_any_case(self, client: Client, target: Target) -> None:
        """4: Names of mechanisms are the same in capitals and small letters."""
        client.ok(b"auth plain " + plain(target))

    def test_an_empty_initial_response(self, client: Client) -> None:
        """4: '=' is an initial response of no octets, and no challenge is sent for it."""
        client.refused("AUTH PLAIN =")
        client.rows("CAPA")

    def test_cancelling(self, client: Client) -> None:
        """4: '*' cancels, and the session goes on."""
        client.challenge("AUTH PLAIN")
        client.refused("*")
        client.log_in()

    def test_what_is_not_base64(self, client: Client) -> None:
        """4: What is not base64 is answered -ERR, and the session goes on."""
        for junk in ("!", "AGp1bGVz AA==", "A", "é"):
            client.challenge("AUTH PLAIN")
            client.refused(junk)
            client.rows("CAPA")

    def test_unknown_mechanisms(self, client: Client) -> None:
        """4: A mechanism that the server does not know is answered -ERR."""
        for name in ("FROB", "PLAINLY", "SCRAM-SHA-256-PLUS-ULTRA"):
            client.refused(f"AUTH {name}")
            client.rows("CAPA")

    def test_a_wrong_password(self, client: Client, target: Target) -> None:
        """4: After a failure other ways of logging in work: USER and PASS."""
        client.refused(b"AUTH PLAIN " + plain(target, "wrong"))
        client.log_in()

    def test_after_the_login(self, fetch: Fetch) -> None:
        """4: After the login it is refused."""
        client = fetch()
        client.refused("AUTH PLAIN")
        client.ok("NOOP")

    def test_long_responses(self, client: Client, target: Target) -> None:
        """4: A response may be longer than a command, and come in pieces."""
        client.challenge("AUTH PLAIN")
        response = plain(target, "x" * 3000)
        for start in range(0, len(response), 999):
            client.send(response[start : start + 999])
        client.refused("")
        client.log_in()

    def test_pipelined(self, client: Client, target: Target) -> None:
        """4; RFC 2449, 6.6: What is sent behind a complete AUTH runs once, after it."""
        client.send(b"AUTH PLAIN " + plain(target) + b"\r\nSTAT\r\nNOOP\r\nQUIT\r\n")
        assert [client.status()[:3] for _ in range(4)] == [b"+OK"] * 4
        assert client.closed()

    def test_a_list(self, client: Client) -> None:
        """4, as Outlook asks: AUTH alone, also with a blank, lists the mechanisms."""
        assert b"PLAIN" in client.rows("AUTH")
        assert b"PLAIN" in client.rows("AUTH ")


class TestPlain:
    """RFC 4616, 2."""

    def test_messages_of_another_form(self, client: Client) -> None:
        """RFC 4616, 2: A message of another form is refused."""
        for message in (b"", b"\0", b"jules", b"a\0b", b"a\0b\0c\0d"):
            client.challenge("AUTH PLAIN")
            client.refused(b64encode(message))
            client.rows("CAPA")

    def test_an_own_authzid(self, client: Client, target: Target) -> None:
        """RFC 4616, 2: One may name oneself as the identity to act for."""
        client.ok(b"AUTH PLAIN " + plain(target, authzid=target.user))

    def test_another_authzid(self, client: Client, target: Target) -> None:
        """RFC 4616, 2: One may not name another one, unless that was permitted."""
        client.refused(b"AUTH PLAIN " + plain(target, authzid="nobody-of-this-name@example.org"))


class TestScram:
    """RFC 5802; RFC 7677."""

    @pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
    def test_it_works(self, client: Client, target: Target, mechanism: str) -> None:
        """RFC 5802, 3; RFC 7677, 3: SCRAM: both sides prove that they know the password."""
        scram = begin(client, mechanism, target.password)
        scram.set_server_final(b64decode(client.challenge(final(scram))).decode())
        client.ok("")
        client.ok("STAT")

    def test_a_wrong_password(self, client: Client) -> None:
        """RFC 5802, 3: A wrong proof is refused, and the session goes on."""
        client.refused(final(begin(client, "SCRAM-SHA-1", "wrong")))
        client.log_in()


def begin(client: Client, mechanism: str, password: str) -> ScramClient:
    """Exchange the first messages."""
    assert mechanism in client.capabilities()["SASL"]
    scram = ScramClient([mechanism], client.target.user, password)
    first = b64encode(scram.get_client_first().encode())
    scram.set_server_first(b64decode(client.challenge(b"AUTH %s %s" % (mechanism.encode(), first))).decode())
    return scram


def final(scram: ScramClient) -> bytes:
    return b64encode(scram.get_client_final().encode())
