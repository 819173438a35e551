"""Connections over real sockets: order, TLS, slow readers, timers, limits, errors, and every way to end."""

import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pop3service import server
from pop3service.protocol import MAX_REFUSALS, OUTPUT_HIGH
from pop3service.server import Arrival, Limits
from pop3service.states import Authenticate, Finish, ReadListing, ReadPiece
from tests.pop3service import transcript
from tests.pop3service.memory import chunks, message
from tests.pop3service.serving import Client, MemoryServed, Tls, wait_until

Serve = Callable[..., MemoryServed]

SHUTDOWN = b"-ERR [SYS/TEMP] the server is shutting down, try again later; nothing was deleted\r\n"
OUR_ERROR = b"-ERR [SYS/TEMP] something failed on our side, try again later"
#: A listing of some 16 kB.
MANY = [b"a: b\n\n"] * 2000


@contextlib.contextmanager
def started_tls(served: MemoryServed, tls: Tls) -> Iterator[Client]:
    """A client that has begun in the clear and has TLS now."""
    with served.connect() as client:
        client.greet()
        assert client.say("STLS") == b"+OK begin TLS negotiation"
        client.start_tls(tls.client)
        yield client


def _shaken_hands(encrypted: ssl.SSLObject) -> bool:
    try:
        encrypted.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def capabilities(client: Client) -> set[bytes]:
    return set(client.ask("CAPA").split(b"\r\n"))


@pytest.mark.parametrize("path", transcript.ALL, ids=lambda path: path.stem)
class TestTranscripts:
    """The dialogues of the protocol's tests, over a socket."""

    @pytest.mark.parametrize("size", [1, 7, 4096])
    def test_in_the_clear(self, serve: Serve, path: Path, size: int) -> None:
        wanted = transcript.read(path)
        with serve(*wanted.messages).connect() as client:
            for octets in chunks(wanted.said, size):
                client.send(octets)
            assert client.hear_all() == wanted.answered

    @pytest.mark.parametrize("size", [1, 4096])
    def test_over_tls(self, serve: Serve, tls: Tls, path: Path, size: int) -> None:
        wanted = transcript.read(path)
        with serve(*wanted.messages, tls=tls.server).connect(tls=tls.client) as client:
            for octets in chunks(wanted.said, size):
                client.send(octets)
            assert client.hear_all() == wanted.answered

    def test_after_stls(self, serve: Serve, tls: Tls, path: Path) -> None:
        wanted = transcript.read(path)
        with started_tls(serve(*wanted.messages, tls=tls.server), tls) as client:
            client.send(wanted.said)
            assert client.hear_all() == wanted.answered.partition(b"\r\n")[2]


class TestArrival:
    def test_the_session_is_told_where_its_client_is_and_whether_it_has_tls(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server)
        with served.connect() as plain, served.connect(tls=tls.client) as encrypted:
            plain.greet()
            encrypted.greet()
        assert sorted(served.arrivals, key=lambda arrival: arrival.encrypted) == [
            Arrival("127.0.0.1", encrypted=False),
            Arrival("127.0.0.1", encrypted=True),
        ]

    def test_implicit_tls_agrees_on_pop3_and_offers_no_stls(self, serve: Serve, tls: Tls) -> None:
        with serve(tls=tls.server).connect(tls=tls.client) as client:
            client.greet()
            assert isinstance(client.socket, ssl.SSLSocket)
            assert client.socket.selected_alpn_protocol() == "pop3"
            assert b"STLS" not in capabilities(client)
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
            assert b"TOP" in capabilities(client)

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
            before = capabilities(client)
            assert client.say("USER mrose").startswith(b"-ERR no password over a connection that is not encrypted")
            client.say("STLS")
            client.start_tls(tls.client)
            assert before - capabilities(client) == {b"STLS"}
            assert capabilities(client) - before == {b"USER"}
            assert client.say("USER mrose").startswith(b"+OK")

    def test_the_tls_of_one_connection_is_not_that_of_the_next(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server, plaintext=False)
        with started_tls(served, tls), served.connect() as other:
            other.greet()
            assert b"STLS" in capabilities(other)
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


class TestOrder:
    def test_what_is_sent_behind_pass_waits_for_it(self, serve: Serve) -> None:
        """Edge 16: PASS and STAT in one packet, while the hash runs in a thread."""
        served = serve(message(100), slow=(Authenticate,))
        with served.connect() as client:
            client.greet()
            client.send(b"USER mrose\r\nPASS secret\r\nSTAT\r\nDELE 1\r\nSTAT\r\n")
            assert client.hear() == b"+OK now send PASS"
            wait_until(lambda: served.work.waiting != [])
            client.send(b"QUIT\r\n")
            served.thread.call(lambda: None)
            assert len(served.work.waiting) == 1
            served.thread.call(served.work.answer)
            assert client.hear_all().splitlines() == [
                b"+OK maildrop has 1 message (100 octets)",
                b"+OK 1 100",
                b"+OK message 1 deleted",
                b"+OK 0 0",
                b"+OK dewey POP3 server signing off (maildrop empty)",
            ]
        assert served.finished == Finish([11], [])

    def test_a_client_that_sends_without_end_has_to_wait(self, serve: Serve) -> None:
        """Commands behind a request pile up to a bound, then the client's own socket is full."""
        served = serve(slow=(Authenticate,))
        with served.connect() as client:
            client.greet()
            client.send(b"USER mrose\r\nPASS secret\r\n")
            wait_until(lambda: served.work.waiting != [])
            client.socket.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.send(b"NOOP\r\n" * 10_000_000)
            (connection,) = served.connections.open
            assert len(connection._session._input) < 1_000_000
            served.thread.call(served.work.answer)
            client.socket.settimeout(10)
            assert client.hear() == b"+OK now send PASS"
            assert client.hear().startswith(b"+OK maildrop")
            assert [client.hear() for _ in range(1000)] == [b"+OK"] * 1000


class TestSlowReader:
    """Edge 22: what a client does not take is not held in memory."""

    @pytest.mark.parametrize("with_tls", [False, True])
    def test_commands_wait_while_it_does_not_read(self, serve: Serve, tls: Tls, with_tls: bool) -> None:
        served = serve(*MANY, tls=tls.server)
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

    @pytest.mark.parametrize("with_tls", [False, True])
    def test_a_message_is_read_no_faster_than_it_goes(self, serve: Serve, tls: Tls, with_tls: bool) -> None:
        pieces = 200
        served = serve(message(pieces * 65_536), tls=tls.server)
        with served.connect(tls=tls.client if with_tls else None, receive_octets=20_000) as client:
            client.log_in()
            assert client.say("RETR 1") == b"+OK %d octets" % (pieces * 65_536)
            (connection,) = served.connections.open
            wait_until(lambda: connection._choked)
            asked = [request for request in served.work.maildrop.requests if isinstance(request, ReadPiece)]
            assert len(asked) < pieces - 50
            assert connection._transport.get_write_buffer_size() < 3 * 65_536
            assert len(client.hear_lines()) == pieces * 65_536
            assert client.say("STAT").startswith(b"+OK 1 ")


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


class Clock:
    """The time as the connections of a server are told it, in seconds from their beginning."""

    def __init__(self, served: MemoryServed) -> None:
        self._thread = served.thread
        self._connections = served.connections
        self._began = served.thread.loop.time()

    def strike(self, seconds: float) -> int:
        """It is so late; how many connections stay open."""
        for connection in list(self._connections.open):
            self._thread.call(connection.check_time, self._began + seconds)
        self._thread.call(lambda: None)  # connections that are dropped are gone with the loop's next turn
        return len(self._connections.open)


class TestTimers:
    """RFC 1939, 3; edge 22. The limits are 600 seconds, and 60 for the login."""

    @pytest.fixture(autouse=True)
    def no_sweep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server does not look at its own clock: a test strikes the hours."""
        monkeypatch.setattr(server, "SWEEP_SECONDS", 10_000)

    def test_an_idle_session_is_ended_in_silence_and_deletes_nothing(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Edge 13."""
        monkeypatch.setattr(server, "SWEEP_SECONDS", 0.02)
        served = serve(message(100), limits=Limits(idle_seconds=0.5))
        with served.connect() as client:
            client.log_in()
            client.say("DELE 1")
            assert client.closed()
        wait_until(lambda: served.work.left)
        assert served.finished is None

    def test_half_a_command_is_no_activity(self, serve: Serve) -> None:
        served = serve()
        with served.connect() as client:
            client.log_in()
            clock = Clock(served)
            assert clock.strike(1) == 1
            client.send(b"NOO")
            (connection,) = served.connections.open
            wait_until(lambda: connection._session._input == b"NOO")
            assert clock.strike(600) == 1
            assert clock.strike(602) == 0
            assert client.closed()

    def test_commands_are(self, serve: Serve) -> None:
        served = serve()
        with served.connect() as client:
            client.log_in()
            clock = Clock(served)
            for turn in range(5):
                assert clock.strike(500 * turn) == 1
                assert client.say("NOOP") == b"+OK"
            assert clock.strike(2500) == 1
            assert clock.strike(3101) == 0

    @pytest.mark.parametrize("with_tls", [False, True])
    def test_so_is_output_that_goes(self, serve: Serve, tls: Tls, with_tls: bool) -> None:
        served = serve(message(300 * 65_536), tls=tls.server)
        with served.connect(tls=tls.client if with_tls else None, receive_octets=20_000) as client:
            client.log_in()
            client.send(b"RETR 1\r\n")
            (connection,) = served.connections.open
            clock = Clock(served)
            for turn in range(5):
                wait_until(lambda: connection._choked)
                assert clock.strike(500 * turn) == 1
                asked = len(served.work.maildrop.requests)
                while len(served.work.maildrop.requests) == asked:
                    client.socket.recv(65_536)
            wait_until(lambda: connection._choked)
            assert clock.strike(2500) == 1
            assert clock.strike(3101) == 0
            assert not client.hear_all().endswith(b"\r\n.\r\n")
        assert served.work.left

    def test_work_that_takes_long_is_waited_for(self, serve: Serve) -> None:
        served = serve(slow=(Authenticate, Finish))
        with served.connect() as client:
            client.greet()
            clock = Clock(served)
            for turn, commands in enumerate((b"USER mrose\r\nPASS secret\r\n", b"QUIT\r\n"), 1):
                client.send(commands)
                wait_until(lambda: served.work.waiting != [])
                assert clock.strike(turn * 10_000) == 1
                served.thread.call(served.work.answer)
            assert client.hear_all().count(b"+OK") == 3

    def test_the_login_has_a_timer_that_commands_do_not_wind(self, serve: Serve) -> None:
        served = serve()
        with served.connect() as client, served.connect() as logged_in:
            client.greet()
            logged_in.log_in()
            clock = Clock(served)
            for turn in range(6):
                assert client.ask("CAPA")
                assert clock.strike(10 * turn) == 2
            assert clock.strike(61) == 1
            assert client.closed()
            assert logged_in.say("NOOP") == b"+OK"


class TestLimits:
    def test_a_connection_too_many_is_told_so(self, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        served = serve(limits=Limits(max_connections=2))
        with served.connect() as first, served.connect() as second, served.connect() as third:
            first.greet()
            second.greet()
            assert third.hear_all() == b"-ERR [SYS/TEMP] too many connections, try again later\r\n"
            assert served.open() == 2
            assert "2 connections are open, 127.0.0.1 is refused" in caplog.text
            first.say("QUIT")
            wait_until(lambda: served.open() == 1)
            with served.connect() as fourth:
                fourth.log_in()


class TestEnd:
    def test_quit_is_answered_after_the_work(self, serve: Serve) -> None:
        """Edge 14."""
        served = serve(message(100), slow=(Finish,))
        with served.connect() as client:
            client.log_in()
            client.say("DELE 1")
            client.send(b"QUIT\r\n")
            wait_until(lambda: served.work.waiting != [])
            client.socket.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.hear()
            served.thread.call(served.work.answer)
            client.socket.settimeout(10)
            assert client.hear_all() == b"+OK dewey POP3 server signing off (maildrop empty)\r\n"

    @pytest.mark.parametrize("said", [b"", b"USER mro", b"USER mrose\r\nPASS secret\r\nDELE 1\r\nQUI"])
    def test_a_dropped_connection_deletes_nothing(self, serve: Serve, said: bytes) -> None:
        """Edge 13; and half a command that is never finished is none."""
        served = serve(message(100))
        with served.connect() as client:
            client.greet()
            client.send(said)
        wait_until(lambda: served.works != [] and served.work.left)
        assert served.open() == 0
        assert served.finished is None

    def test_a_reset_in_the_middle_of_a_message(self, serve: Serve) -> None:
        served = serve(message(60 * 65_536))
        with served.connect(receive_octets=20_000) as client:
            client.log_in()
            client.send(b"RETR 1\r\n")
            (connection,) = served.connections.open
            wait_until(lambda: connection._choked)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_until(lambda: served.open() == 0)
        assert served.work.left

    def test_a_connection_that_goes_while_its_request_is_under_way(self, serve: Serve) -> None:
        served = serve(slow=(Authenticate,))
        with served.connect() as client:
            client.greet()
            client.send(b"USER mrose\r\nPASS secret\r\n")
            wait_until(lambda: served.work.waiting != [])
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_until(lambda: served.work.left)
        served.thread.call(served.work.answer)

    def test_a_client_that_only_stops_sending_gets_its_answers(self, serve: Serve) -> None:
        served = serve(message(100), slow=(Authenticate,))
        with served.connect() as client:
            client.send(b"USER mrose\r\nPASS secret\r\nSTAT\r\nRETR 1\r\n")
            client.socket.shutdown(socket.SHUT_WR)
            wait_until(lambda: served.works != [] and served.work.waiting != [])
            served.thread.call(served.work.answer)
            assert client.hear_all().endswith(b"\r\n.\r\n")
        wait_until(lambda: served.work.left)
        assert served.finished is None

    def test_the_end_of_tls_is_the_end_of_the_connection(
        self, serve: Serve, tls: Tls, caplog: pytest.LogCaptureFixture
    ) -> None:
        served = serve(tls=tls.server)
        with served.connect(tls=tls.client) as client:
            client.log_in()
            client.socket = client.socket.unwrap()
            assert client.closed()
        wait_until(lambda: served.open() == 0)
        assert served.work.left
        assert caplog.text == ""

    def test_even_where_they_are_more_than_the_buffers_hold(self, serve: Serve) -> None:
        served = serve(*MANY)
        with served.connect(receive_octets=20_000) as client:
            client.send(b"USER mrose\r\nPASS secret\r\n" + b"LIST\r\n" * 500)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.hear_all().count(b"\r\n.\r\n") == 500

    def test_the_maildrop_is_left_at_once_though_the_client_does_not_take_the_end(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server)
        with served.connect(tls=tls.client) as client:
            client.log_in()
            client.send(b"X\r\n" * MAX_REFUSALS)
            wait_until(lambda: served.work.left)
            assert client.hear_all().count(b"-ERR") == MAX_REFUSALS
        wait_until(lambda: served.open() == 0)
        assert served.work.left


class TestShutdown:
    """Edges 13 and 27."""

    def test_idle_sessions_are_told_and_nothing_is_deleted(self, serve: Serve, tls: Tls) -> None:
        served = serve(message(100), tls=tls.server)
        with served.connect() as new, served.connect() as old, served.connect(tls=tls.client) as encrypted:
            new.greet()
            for client in (old, encrypted):
                client.log_in()
                client.say("DELE 1")
            draining = served.thread.start(served.connections.drain())
            assert [client.hear_all() for client in (new, old, encrypted)] == [SHUTDOWN] * 3
        draining.result(1)
        assert all(work.left for work in served.works)
        assert [work.maildrop.finished for work in served.works] == [None, None, None]

    def test_a_new_connection_is_told_too(self, serve: Serve) -> None:
        served = serve()
        served.thread.run(served.connections.drain())
        with served.connect() as client:
            assert client.hear_all() == SHUTDOWN
        assert served.works == []

    def test_a_running_update_ends_and_is_answered(self, serve: Serve) -> None:
        served = serve(message(100), slow=(Finish,))
        with served.connect() as client:
            client.log_in()
            client.say("DELE 1")
            client.send(b"QUIT\r\n")
            wait_until(lambda: served.work.waiting != [])
            served.thread.loop.call_soon_threadsafe(served.thread.loop.call_later, 0.1, served.work.answer)
            served.thread.run(served.connections.drain())
            assert client.hear_all() == b"+OK dewey POP3 server signing off (maildrop empty)\r\n"
        assert served.finished == Finish([11], [])

    def test_even_where_it_takes_longer_than_last_words(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "LAST_WORDS_SECONDS", 0.05)
        self.test_a_running_update_ends_and_is_answered(serve)

    def test_a_login_under_way_is_told_and_given_up(self, serve: Serve) -> None:
        served = serve(slow=(Authenticate,))
        with served.connect() as client:
            client.greet()
            client.send(b"USER mrose\r\nPASS secret\r\n")
            wait_until(lambda: served.work.waiting != [])
            served.thread.run(served.connections.drain())
            assert client.hear_all() == b"+OK now send PASS\r\n" + SHUTDOWN
            served.thread.call(served.work.answer)
        assert served.work.left

    def test_a_message_that_is_being_sent_has_no_end(self, serve: Serve) -> None:
        served = serve(message(3 * 65_536), slow=(ReadPiece,))
        with served.connect() as client:
            client.log_in()
            client.send(b"RETR 1\r\n")
            wait_until(lambda: served.work.waiting != [])
            served.thread.call(served.work.answer)
            assert client.hear().startswith(b"+OK")
            served.thread.run(served.connections.drain())
            heard = client.hear_all()
            assert len(heard) == 65_536
            assert b"-ERR" not in heard

    def test_who_does_not_take_the_last_words_is_dropped(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "LAST_WORDS_SECONDS", 0.05)
        served = serve(*MANY)
        with served.connect(receive_octets=20_000) as client:
            client.log_in()
            client.send(b"LIST\r\n" * 500)
            (connection,) = served.connections.open
            wait_until(lambda: connection._choked)
            served.thread.run(served.connections.drain())
            assert served.open() == 0

    def test_in_a_hurry_there_are_last_words_too(self, serve: Serve) -> None:
        served = serve()
        with served.connect() as client:
            client.log_in()
            served.thread.run(served.connections.end())
            assert client.hear_all() == SHUTDOWN

    def test_in_a_hurry_an_update_goes_on_without_its_client(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "HURRIED_SECONDS", 0.05)
        served = serve(message(100), slow=(Finish,))
        with served.connect() as client:
            client.log_in()
            client.send(b"DELE 1\r\nQUIT\r\n")
            wait_until(lambda: served.work.waiting != [])
            served.thread.run(served.connections.end())
            assert client.hear_all() == b"+OK message 1 deleted\r\n"
            served.thread.call(served.work.answer)
        assert served.finished == Finish([11], [])


class TestErrors:
    """Promise 8: -ERR [SYS/TEMP] without detail, and all of it in the log."""

    @pytest.mark.parametrize("slow", [(), (ReadListing,)])
    def test_work_that_fails(self, serve: Serve, caplog: pytest.LogCaptureFixture, slow: tuple[type, ...]) -> None:
        served = serve(message(100), broken=(ReadListing,), slow=slow)
        with served.connect() as other, served.connect() as client:
            other.log_in()
            client.log_in()
            for _ in range(2):
                client.send(b"LIST\r\n")
                if slow:
                    wait_until(lambda: served.work.waiting != [])
                    served.thread.call(served.work.answer)
                assert client.hear() == OUR_ERROR
            assert client.say("STAT") == other.say("STAT") == b"+OK 1 100"
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
        assert "127.0.0.1: ReadListing failed" in caplog.text
        assert "OSError: the database is away" in caplog.text

    def test_work_that_is_given_up(self, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        served = serve(slow=(Authenticate,))
        with served.connect() as client:
            client.greet()
            client.say("USER mrose")
            client.send(b"PASS secret\r\n")
            wait_until(lambda: served.work.waiting != [])
            served.thread.call(served.work.waiting[0][1].cancel)
            assert client.hear() == OUR_ERROR
        assert "Authenticate was given up" in caplog.text
        assert "secret" not in caplog.text

    @pytest.mark.parametrize("with_tls", [False, True])
    def test_work_that_fails_when_the_client_has_gone_is_logged(
        self, serve: Serve, tls: Tls, caplog: pytest.LogCaptureFixture, with_tls: bool
    ) -> None:
        served = serve(message(100), slow=(Finish,), broken=(Finish,), tls=tls.server)
        with served.connect(tls=tls.client if with_tls else None) as client:
            client.log_in()
            client.send(b"DELE 1\r\nQUIT\r\n")
            wait_until(lambda: served.work.waiting != [])
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_until(lambda: served.work.left)
        served.thread.call(served.work.answer)
        wait_until(lambda: "127.0.0.1: Finish failed" in caplog.text)

    def test_a_quit_that_fails_is_answered_so_and_ends_the_session(self, serve: Serve) -> None:
        served = serve(message(100), broken=(Finish,))
        with served.connect() as client:
            client.log_in()
            client.say("DELE 1")
            assert client.say("QUIT") == OUR_ERROR
            assert client.closed()


class TestGarbage:
    @pytest.mark.parametrize("octets", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 100_000, b"\r" * 5000])
    def test_octets_without_a_line_end_wait_for_one(self, serve: Serve, octets: bytes) -> None:
        served = serve()
        with served.connect() as client:
            client.greet()
            client.send(octets)
            assert client.say(b"").startswith(b"-ERR ")
            assert client.say("USER mrose").startswith(b"+OK")

    def test_plain_text_on_the_port_of_tls_harms_nobody(self, serve: Serve, tls: Tls) -> None:
        served = serve(tls=tls.server)
        with Client(served.tls) as client:
            client.send(b"USER mrose\r\n")
            assert b"+OK" not in client.hear_all()
        with served.connect(tls=tls.client) as client:
            client.log_in()
