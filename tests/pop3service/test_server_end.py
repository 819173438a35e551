"""Every way in which a connection ends: QUIT, a drop, half an end, a shutdown."""

import socket
from collections.abc import Callable

import pytest

from accounts.sasl import Authenticate
from pop3service import server
from pop3service.protocol import MAX_REFUSALS
from pop3service.states import Ending, Finish, ReadPiece
from tests.pop3service.memory import message
from tests.pop3service.serving import PATIENCE, MemoryServed, Tls, wait_until

Serve = Callable[..., MemoryServed]

SHUTDOWN = b"-ERR [SYS/TEMP] the server is shutting down, try again later; nothing was deleted\r\n"
#: A listing of some 16 kB.
MANY = [b"a: b\n\n"] * 2000


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
        wait_until(lambda: served.works != [] and served.work.left is Ending.DROPPED)
        assert served.open() == 0
        assert served.finished is None

    def test_a_reset_in_the_middle_of_a_message(self, serve: Serve) -> None:
        served = serve(message(300 * 65_536))  # more than the kernel takes, however well it knows the way
        with served.connect(receive_octets=20_000) as client:
            client.log_in()
            client.send(b"RETR 1\r\n")
            (connection,) = served.connections.open
            wait_until(lambda: connection._choked)
            client.reset()
        wait_until(lambda: served.open() == 0)
        assert served.work.left

    def test_a_connection_that_goes_while_its_request_is_under_way(self, serve: Serve) -> None:
        served = serve(slow=(Authenticate,))
        with served.connect() as client:
            client.greet()
            client.send(b"USER mrose\r\nPASS secret\r\n")
            wait_until(lambda: served.work.waiting != [])
            client.reset()
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
        wait_until(lambda: served.work.left is not None)
        tally = served.work.maildrop.tally
        assert (tally.retrieved, tally.retrieved_octets, tally.topped) == (1, 100, 0)
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
        assert served.work.left is Ending.BROKEN_OFF


class TestEndSome:
    def test_those_with_the_name_are_told_and_nothing_is_deleted(self, serve: Serve) -> None:
        served = serve(message(100))
        with served.connect() as one:
            one.log_in().say("DELE 1")
            served.work.names = ("one",)
            with served.connect() as other:
                other.log_in()
                served.thread.call(served.connections.end_some, {"one", "two"}, "it is over", Ending.ADMIN)
                assert one.hear_all() == b"-ERR [SYS/TEMP] it is over\r\n"
                assert other.say("NOOP") == b"+OK"
        assert served.works[0].left is Ending.ADMIN
        assert served.finished is None


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
        draining.result(PATIENCE)
        assert [work.left for work in served.works] == [Ending.SERVER] * 3
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
