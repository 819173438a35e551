"""Connections over real sockets."""

from collections.abc import Callable

import pytest

from pop3service.protocol import OUTPUT_HIGH
from pop3service.states import ReadListing
from tests.pop3service.serving import MemoryServed, Tls

Serve = Callable[..., MemoryServed]


class TestSlowReader:
    """Edge 22: what a client does not take is not held in memory."""

    @pytest.mark.parametrize("with_tls", [False, True])
    def test_commands_wait_while_it_does_not_read(self, serve: Serve, tls: Tls, with_tls: bool) -> None:
        served = serve(*[b"a: b\n\n"] * 2000, tls=tls.server)
        with served.connect(tls=tls.client if with_tls else None, receive_octets=20_000) as client:
            client.log_in()
            for _ in range(500):
                client.send(b"LIST\r\n")
                served.thread.call(lambda: None)  # a turn of the loop for each, so that they do not arrive together
            (connection,) = served.connections.open
            assert served.work.maildrop.requests[-1:] == [ReadListing()]
            assert connection._transport.get_write_buffer_size() < 2 * OUTPUT_HIGH
            assert connection._session.commands < 500
            client.send(b"QUIT\r\n")
            assert client.hear_all().count(b"\r\n.\r\n") == 500
        assert served.finished


class TestMuchToSay:
    def test_a_long_reply_gives_way_to_the_other_connections(self, serve: Serve) -> None:
        served = serve(*[b"a: b\n\n"] * 20_000)
        with served.connect() as client:
            client.log_in()
            (connection,) = served.connections.open

            def write_until_it_gives_way() -> bool:
                connection.data_received(b"LIST\r\nQUIT\r\n")
                return connection._session.closed

            assert not served.thread.call(write_until_it_gives_way)
            assert client.hear_all().count(b"\r\n") == 20_000 + 3
        assert served.finished
