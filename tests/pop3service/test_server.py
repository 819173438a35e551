"""Connections over real sockets: transcripts, order, slow readers, limits, errors, garbage."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.sasl import Authenticate
from mailplatform.arrivals import Arrival
from pop3service.protocol import OUTPUT_HIGH
from pop3service.states import Finish, ReadListing, ReadPiece
from tests.pop3service import transcript
from tests.pop3service.memory import chunks, message
from tests.pop3service.serving import Client, MemoryServed, Tls, started_tls, wait_until

Serve = Callable[..., MemoryServed]

OUR_ERROR = b"-ERR [SYS/TEMP] something failed on our side, try again later"
#: A listing of some 16 kB.
MANY = [b"a: b\n\n"] * 2000


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
            Arrival("127.0.0.1", plaintext=True),
            Arrival("127.0.0.1", "TLSv1.3"),
        ]


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


class TestLimits:
    @pytest.mark.parametrize("with_tls", [False, True])
    def test_so_is_one_too_many_from_an_address(self, serve: Serve, tls: Tls, with_tls: bool) -> None:
        served = serve(most_each=1, tls=tls.server)
        context = tls.client if with_tls else None
        with served.connect(tls=context) as first, served.connect(tls=context) as second:
            first.greet()
            words = b"-ERR [SYS/TEMP] too many connections from your address, end some of them or try again later\r\n"
            assert second.hear_all() == words
            first.say("QUIT")
        wait_until(lambda: served.places.taken == served.places.told == 0)
        with served.connect(tls=context) as third:
            third.greet()

    def test_a_connection_too_many_is_told_so(self, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        served = serve(most=2)
        with served.connect() as first, served.connect() as second, served.connect() as third:
            first.greet()
            second.greet()
            assert third.hear_all() == b"-ERR [SYS/TEMP] too many connections, try again later\r\n"
            assert served.open() == 2
            assert "too many connections: all 2 connections of this worker are taken" in caplog.text
            first.say("QUIT")
            wait_until(lambda: served.open() == 1)
            with served.connect() as fourth:
                fourth.log_in()


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
            client.reset()
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
