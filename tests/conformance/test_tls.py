"""RFC 2595: STLS; RFC 8314: TLS from the first octet; RFC 8996 and RFC 7301: how TLS is spoken."""

import socket
import ssl
import warnings
from collections.abc import Callable

import pytest

from tests.conformance.client import Client
from tests.conformance.conftest import Fetch
from tests.conformance.target import Target

Connect = Callable[..., Client]


class TestStls:
    """RFC 2595, 4."""

    def test_it_is_announced_and_works(self, connect: Connect) -> None:
        """RFC 2595, 4: STLS is announced, and begins TLS."""
        client = connect()
        assert "STLS" in client.capabilities()
        client.start_tls().log_in()
        client.ok("NOOP")

    def test_no_greeting_follows(self, connect: Connect) -> None:
        """RFC 2595, 4: No greeting follows the handshake; the state is AUTHORIZATION."""
        client = connect().start_tls()
        client.refused("NOOP")
        client.rows("CAPA")

    def test_within_tls_it_is_announced_no_more(self, connect: Connect) -> None:
        """RFC 2595, 4: Within TLS it is announced no more and refused."""
        for client in (connect().start_tls(), connect(tls=True)):
            assert "STLS" not in client.capabilities()
            client.refused("STLS")
            client.rows("CAPA")

    def test_after_the_login(self, fetch: Fetch) -> None:
        """RFC 2595, 4: After the login it is announced no more and refused."""
        client = fetch()
        assert "STLS" not in client.capabilities()
        client.refused("STLS")
        client.ok("NOOP")

    def test_what_comes_with_it_is_thrown_away(self, connect: Connect) -> None:
        """RFC 2595, 4; CVE-2011-0411: What was sent in the clear behind it is not carried out within TLS."""
        for behind in (b"CAPA\r\n", b"CA", b"USER jules\r\nPASS x\r\n", b"QUIT\r\n"):
            client = connect()
            client.send(b"STLS\r\n" + behind)
            assert client.status().startswith(b"+OK")
            try:
                client.handshake()
            except (ssl.SSLError, ConnectionError):
                continue  # the handshake fails where the octets are taken for a part of it, and that is as safe
            client.refused("FROB")
            client.rows("CAPA")

    def test_what_came_before_it_is_forgotten(self, connect: Connect) -> None:
        """RFC 2595, 4: A name that was sent in the clear is forgotten."""
        client = connect()
        client.ok(b"USER " + client.target.user.encode())
        client.start_tls()
        client.refused(b"PASS " + client.target.password.encode())

    def test_arguments(self, connect: Connect) -> None:
        """RFC 2595, 4: It has no argument."""
        client = connect()
        client.refused("STLS now")
        client.rows("CAPA")


class TestImplicit:
    def test_it_works(self, connect: Connect) -> None:
        """RFC 8314, 3.1: TLS begins with the first octet of a port of its own."""
        client = connect(tls=True)
        assert client.greeting.startswith(b"+OK")
        client.log_in()
        client.ok("STAT")

    def test_alpn(self, connect: Connect) -> None:
        """RFC 7301, 3.2: The protocol "pop3" is agreed on."""
        assert connect(tls=True, alpn=("pop3",)).socket.selected_alpn_protocol() == "pop3"

    def test_versions(self, target: Target) -> None:
        """RFC 9325, 3.1.1: TLS 1.2 and 1.3 are spoken."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = target.trust()
            context.minimum_version = context.maximum_version = version
            with (
                socket.create_connection(target.tls, timeout=30) as raw,
                context.wrap_socket(raw, server_hostname=target.name) as connection,
            ):
                assert connection.recv(3) == b"+OK"

    def test_old_versions(self, target: Target) -> None:
        """RFC 8996, 5: TLS 1.1 is not."""
        context = target.trust()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(target.tls, timeout=30) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(raw, server_hostname=target.name)
