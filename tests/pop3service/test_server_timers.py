"""How long a connection may be silent, slow, or not logged in (RFC 1939, 3)."""

from collections.abc import Callable

import pytest

from accounts.sasl import Authenticate
from pop3service import server
from pop3service.server import Limits
from pop3service.states import Ending, Finish
from tests.pop3service.memory import message
from tests.pop3service.serving import MemoryServed, Tls, wait_until

Serve = Callable[..., MemoryServed]


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
        wait_until(lambda: served.work.left is Ending.TIMED_OUT)
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

    @pytest.mark.parametrize(("octets", "stays"), [(1000, 0), (server.SLOWEST_OCTETS // 2, 1)])
    def test_who_takes_too_little_of_much_keeps_no_memory_for_it(self, serve: Serve, octets: int, stays: int) -> None:
        """The reader is slow on purpose: what it takes within the idle time counts, not that it takes something."""
        served = serve(message(300 * 65_536))
        with served.connect(receive_octets=20_000) as client:
            client.log_in()
            client.send(b"RETR 1\r\n")
            (connection,) = served.connections.open
            wait_until(lambda: connection._choked)
            clock = Clock(served)
            assert clock.strike(1) == 1
            for seconds in (300, 600, 900):
                served.thread.call(setattr, connection, "_sent", connection._sent + octets)  # as if it had been taken
                left = clock.strike(seconds)
            assert left == stays
            client.reset()
        wait_until(lambda: served.open() == 0)
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
