"""TLS over real sockets: from the first octet (RFC 8314), and by STLS (RFC 2595)."""

import contextlib
import socket
import ssl
from collections.abc import Callable

import pytest

from pop3service.server import Limits
from pop3service.states import Ending
from tests.pop3service.serving import Client, MemoryServed, Tls, started_tls, wait_until

Serve = Callable[..., MemoryServed]


def _shaken_hands(encrypted: ssl.SSLObject) -> bool:
    try:
        encrypted.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


class TestImplicitTls:
    def test_it_agrees_on_pop3_and_offers_no_stls(self, serve: Serve, tls: Tls) -> None:
        with serve(tls=tls.server).connect(tls=tls.client) as client:
            client.greet()
            assert isinstance(client.socket, ssl.SSLSocket)
            assert client.socket.selected_alpn_protocol() == "pop3"
            assert b"STLS" not in client.capabilities()
            assert client.say("STLS") == b"-ERR this connection is encrypted already"


class TestStls:
    """RFC 2595, 4; edge 15."""

    def test_commands_in_the_packet_of_stls_are_thrown_away(self, serve: Serve, tls: Tls) -> None:
        with serve(tls=tls.server).connect() as client:
            client.greet()
            client.send(b"STLS\r\nCAPA\r\n")
            assert client.hear() == b"+OK begin TLS negotiation"
            client.start_tls(tls.client)
            assert client.say("QUIT") == b"+OK dewey POP3 server signing off"
            assert client.closed()

    def test_half_a_command_in_the_clear_is_not_completed_inside_tls(self, serve: Serve, tls: Tls) -> None:
        with serve(tls=tls.server).connect() as client:
            client.greet()
            client.send(b"STLS\r\nCA")
            assert client.hear() == b"+OK begin TLS negotiation"
            client.start_tls(tls.client)
            assert client.say("PA") == b"-ERR unknown command: CAPA lists what this server offers"
            assert b"TOP" in client.capabilities()

    def test_the_name_that_was_given_before_is_forgotten(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server)
        with served.connect() as client:
            client.greet()
            client.say("USER mrose")
            client.say("STLS")
            client.start_tls(tls.client)
            assert client.say("PASS secret") == b"-ERR send USER before PASS"
        assert served.work.maildrop.requests == []

    def test_after_the_login_it_is_refused_and_the_session_goes_on(self, serve: Serve, tls: Tls) -> None:
        with serve(tls=tls.server).connect() as client:
            client.log_in()
            assert client.say("STLS") == b"-ERR STLS is not possible now: you are logged in already"
            assert client.say("STAT") == b"+OK 0 0"

    def test_twice_is_refused_and_the_session_goes_on(self, serve: Serve, tls: Tls) -> None:
        with started_tls(serve(tls=tls.server), tls) as client:
            assert client.say("STLS") == b"-ERR this connection is encrypted already"
            assert client.say("USER mrose").startswith(b"+OK")

    def test_capabilities_are_others_inside(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server, plaintext=False)
        with served.connect() as client:
            client.greet()
            before = client.capabilities()
            assert client.say("USER mrose").startswith(b"-ERR no password over a connection that is not encrypted")
            client.say("STLS")
            client.start_tls(tls.client)
            inside = client.capabilities()
            assert b"STLS" in before - inside
            assert b"USER" in inside - before
            assert client.say("USER mrose").startswith(b"+OK")

    def test_the_tls_of_one_connection_is_not_that_of_the_next(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server, plaintext=False)
        with started_tls(served, tls), served.connect() as other:
            other.greet()
            assert b"STLS" in other.capabilities()
            assert other.say("USER mrose").startswith(b"-ERR")

    def test_without_a_certificate_it_is_refused(self, serve: Serve) -> None:
        with serve().connect() as client:
            client.greet()
            assert client.say("STLS") == b"-ERR this server has no certificate, TLS is not available"
            assert client.say("USER mrose").startswith(b"+OK")

    def test_a_command_in_the_packet_that_ends_the_handshake_is_heard(self, serve: Serve, tls: Tls) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        encrypted = tls.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with serve(tls=tls.server).connect() as client:
            client.greet()
            client.say("STLS")
            while not _shaken_hands(encrypted):
                client.send(outgoing.read())
                incoming.write(client.socket.recv(65_536))
            encrypted.write(b"USER mrose\r\nPASS secret\r\nQUIT\r\n")
            client.send(outgoing.read())
            answers = 0
            while answers < 3:
                incoming.write(client.socket.recv(65_536))
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                    while record := encrypted.read():
                        answers += record.count(b"+OK")

    @pytest.mark.parametrize("hello", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01", b""])
    def test_a_handshake_that_fails_ends_the_connection(self, serve: Serve, tls: Tls, hello: bytes) -> None:
        served = serve(tls=tls.server)
        with served.connect() as client:
            client.greet()
            client.say("STLS")
            client.send(hello)
            client.socket.shutdown(socket.SHUT_WR)
            assert b"ERR" not in client.hear_all()
            wait_until(lambda: served.open() == 0)
        assert served.work.left

    def test_a_handshake_that_does_not_come_ends_the_connection(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server, limits=Limits(login_seconds=0.1))
        with served.connect() as client:
            client.greet()
            client.say("STLS")
            assert client.closed()
            wait_until(lambda: served.open() == 0)

    def test_a_shutdown_says_nothing_in_the_middle_of_a_handshake(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server)
        with served.connect() as client:
            client.greet()
            client.say("STLS")
            served.thread.run(served.connections.drain())
            assert client.closed()


class TestFarewell:
    """RFC 8446, 6.1: close_notify, and no waiting for the client's."""

    @pytest.mark.parametrize("by_stls", [False, True])
    def test_it_follows_the_last_words_and_the_connection_is_closed(
        self, serve: Serve, tls: Tls, by_stls: bool
    ) -> None:
        served = serve(tls=tls.server)
        with started_tls(served, tls) if by_stls else served.connect(tls=tls.client) as client:
            assert _last_words(client, b"QUIT\r\n").endswith(b"+OK dewey POP3 server signing off\r\n")
            with socket.socket(fileno=client.socket.detach()) as wire:
                wire.settimeout(5)  # the client says nothing more, and TLS itself would wait half a minute
                assert wire.recv(1) == b""
            wait_until(lambda: served.open() == 0)

    def test_it_follows_what_the_client_has_not_taken_yet(self, serve: Serve, tls: Tls) -> None:
        served = serve(*[b"a: b\n\n"] * 2000, tls=tls.server)
        with served.connect(tls=tls.client, receive_octets=20_000) as client:
            client.log_in()
            client.send(b"LIST\r\n" * 500)
            (connection,) = served.connections.open
            wait_until(lambda: connection._choked)
            served.thread.call(connection.end, "it is over", Ending.ADMIN)
            assert _last_words(client, b"STAT\r\n").startswith(b"+OK 2000 messages")

    def test_who_goes_without_a_farewell_of_their_own_leaves_no_trace(
        self, serve: Serve, tls: Tls, caplog: pytest.LogCaptureFixture
    ) -> None:
        served = serve(tls=tls.server)
        with served.connect(tls=tls.client) as client:
            client.log_in()
            client.send(b"QUIT\r\n")
        wait_until(lambda: served.open() == 0)
        assert served.work.left
        assert caplog.text == ""


def _last_words(client: Client, said: bytes) -> bytes:
    """All that the server answers, until its close_notify. Raises ssl.SSLEOFError where it closes without one."""
    assert isinstance(client.socket, ssl.SSLSocket)
    client.socket.suppress_ragged_eofs = False
    client.send(said)
    heard = b""
    while octets := client.socket.recv(65_536):
        heard += octets
    return heard
