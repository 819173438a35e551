"""Before a session: whose address it has, which headers of proxies are believed, and TLS from the first octet."""

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest

from mailplatform import gate
from mailplatform.arrivals import Arrival
from mailplatform.proxies import Origin
from tests.mailplatform.gates import Caller, Echo, Gated, Memory, gated
from tests.mailplatform.headers_of_proxies import LOCAL, PROXY, UNSPEC, binary, version_1, version_2
from tests.pop3service.conftest import tls as tls  # the fixture
from tests.pop3service.serving import LoopThread, Tls, loop_thread, wait_until

HERE = ["127.0.0.1/32"]
HEADERS = [version_1("192.0.2.7"), version_2("192.0.2.7")]


@pytest.fixture(scope="module")
def thread() -> Iterator[LoopThread]:
    with loop_thread() as thread:
        yield thread


@pytest.fixture
def behind_a_proxy(thread: LoopThread, tls: Tls) -> Iterator[Gated]:
    """A server whose clients, the tests, are proxies."""
    with gated(thread, tls, proxies=HERE) as served:
        yield served


@pytest.fixture
def in_the_open(thread: LoopThread, tls: Tls) -> Iterator[Gated]:
    with gated(thread, tls, proxies=["192.0.2.0/24"], plaintext=HERE) as served:
        yield served


class TestWithoutAProxy:
    def test_the_address_is_that_of_the_connection(self, in_the_open: Gated) -> None:
        with Caller(in_the_open.plain) as caller:
            assert caller.hear() == "127.0.0.1 - True"
            caller.send(b"hello\n")
            assert caller.hear() == "hello"

    @pytest.mark.parametrize("header", HEADERS)
    def test_a_header_is_not_believed(self, in_the_open: Gated, header: bytes) -> None:
        """It goes to the session, as a command that is none."""
        with Caller(in_the_open.plain) as caller:
            caller.send(header)
            assert caller.hear() == "127.0.0.1 - True"

    @pytest.mark.parametrize("header", HEADERS)
    def test_a_header_before_the_handshake_ends_the_connection(self, in_the_open: Gated, header: bytes) -> None:
        with Caller(in_the_open.encrypted) as caller:
            caller.send(header)
            wait_until(lambda: in_the_open.waiting() == 0)
            with contextlib.suppress(ConnectionError):
                assert b"127.0.0.1" not in caller.socket.recv(1000)

    def test_who_has_gone_before_the_loop_came_to_it_is_nobody(self, in_the_open: Gated) -> None:
        class Gone:
            aborted = False

            def get_extra_info(self, name: str) -> None:
                return None

            def abort(self) -> None:
                self.aborted = True

        transport = Gone()
        in_the_open.gate.entry(Echo, tls=False).connection_made(transport)
        assert transport.aborted

    def test_ipv4_on_a_socket_of_ipv6_is_ipv4(self) -> None:
        assert gate._spelled("::ffff:192.0.2.7") == "192.0.2.7"
        assert gate._spelled("2001:db8::7") == "2001:db8::7"


class TestTls:
    """RFC 8314, 3: TLS from the first octet."""

    def test_the_session_begins_when_it_is_up(self, in_the_open: Gated, tls: Tls) -> None:
        with Caller(in_the_open.encrypted) as caller:
            caller.start_tls(tls.client)
            assert caller.hear() == "127.0.0.1 TLSv1.3 False"
            caller.send(b"hello\n")
            assert caller.hear() == "hello"
        assert in_the_open.waiting() == 0

    def test_what_comes_in_the_packet_that_ends_the_handshake_is_heard(self, in_the_open: Gated, tls: Tls) -> None:
        with Caller(in_the_open.encrypted) as caller:
            memory = Memory(tls.client)
            while not memory.shaken():
                caller.send(memory.outgoing.read())
                memory.incoming.write(caller.socket.recv(65_536))
            memory.tls.write(b"early\n")
            caller.send(memory.outgoing.read())
            heard = b""
            while not heard.endswith(b"early\n"):
                memory.incoming.write(caller.socket.recv(65_536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    while True:
                        heard += memory.tls.read()
            assert heard == b"127.0.0.1 TLSv1.3 False\nearly\n"

    @pytest.mark.parametrize("hello", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01", b""])
    def test_a_handshake_that_fails_ends_the_connection(self, in_the_open: Gated, hello: bytes) -> None:
        with Caller(in_the_open.encrypted) as caller:
            caller.send(hello)
            caller.socket.shutdown(socket.SHUT_WR)
            wait_until(lambda: in_the_open.waiting() == 0)

    def test_one_that_does_not_come_is_not_waited_for(
        self, in_the_open: Gated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gate, "HANDSHAKE_SECONDS", 0.05)
        with Caller(in_the_open.encrypted) as caller:
            assert caller.ended()
        assert in_the_open.waiting() == 0

    def test_the_end_of_the_server_ends_it(self, in_the_open: Gated) -> None:
        with Caller(in_the_open.encrypted) as caller:
            wait_until(lambda: in_the_open.waiting() == 1)
            in_the_open.thread.call(in_the_open.gate.close)
            assert caller.ended()


class TestBehindAProxy:
    @pytest.mark.parametrize("apart", [False, True])
    @pytest.mark.parametrize("header", HEADERS)
    def test_the_address_is_that_of_the_header(self, behind_a_proxy: Gated, header: bytes, apart: bool) -> None:
        with Caller(behind_a_proxy.plain) as caller:
            caller.send_apart(header) if apart else caller.send(header + b"and more\n")
            assert caller.hear() == "192.0.2.7 - False"
            if not apart:
                assert caller.hear() == "and more"
        assert behind_a_proxy.waiting() == 0

    @pytest.mark.parametrize("together", [False, True])
    @pytest.mark.parametrize("header", HEADERS)
    def test_the_header_comes_before_the_handshake(
        self, behind_a_proxy: Gated, tls: Tls, header: bytes, together: bool
    ) -> None:
        with Caller(behind_a_proxy.encrypted) as caller:
            if together:
                memory = Memory(tls.client)
                memory.shaken()
                caller.send(header + memory.outgoing.read())
                while not memory.shaken():
                    memory.incoming.write(caller.socket.recv(65_536))
                caller.send(memory.outgoing.read())
                while not memory.tls.pending():
                    memory.incoming.write(caller.socket.recv(65_536))
                    with contextlib.suppress(ssl.SSLWantReadError):
                        assert memory.tls.read() == b"192.0.2.7 TLSv1.3 False\n"
                        break
            else:
                caller.send(header)
                caller.start_tls(tls.client)
                assert caller.hear() == "192.0.2.7 TLSv1.3 False"

    @pytest.mark.parametrize(
        "octets", [b"USER marie\r\n", b"PROXY TCP4 nowhere\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"]
    )
    @pytest.mark.parametrize("encrypted", [False, True])
    def test_a_missing_header_ends_the_connection_without_a_word(
        self, behind_a_proxy: Gated, octets: bytes, encrypted: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Caller(behind_a_proxy.encrypted if encrypted else behind_a_proxy.plain) as caller:
            caller.send(octets)
            assert caller.ended()
        assert "127.0.0.1 is in PROXY_NETWORKS, and instead of a PROXY header there came" in caplog.text

    @pytest.mark.parametrize("octets", [b"", b"PROXY TC", version_2("192.0.2.7")[:-1]])
    def test_so_does_one_that_does_not_come_to_its_end(
        self, behind_a_proxy: Gated, octets: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(gate, "HEADER_SECONDS", 0.05)
        with Caller(behind_a_proxy.plain) as caller:
            caller.send(octets)
            assert caller.ended()
        assert "PROXY header" in caplog.text
        assert behind_a_proxy.waiting() == 0

    def test_who_only_looks_whether_somebody_listens_is_no_matter(
        self, behind_a_proxy: Gated, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Caller(behind_a_proxy.plain):
            wait_until(lambda: behind_a_proxy.waiting() == 1)
        wait_until(lambda: behind_a_proxy.waiting() == 0)
        assert caplog.text == ""

    @pytest.mark.parametrize(
        ("header", "known"),
        [
            (binary(LOCAL, UNSPEC), "127.0.0.1 - False"),
            (binary(PROXY, UNSPEC), "- False"),
            (b"PROXY UNKNOWN\r\n", "- False"),
        ],
    )
    def test_health_checks_are_greeted(self, behind_a_proxy: Gated, header: bytes, known: str) -> None:
        with Caller(behind_a_proxy.plain) as caller:
            caller.send(header)
            assert caller.hear() == known

    def test_the_end_of_the_server_ends_what_waits_for_its_header(self, behind_a_proxy: Gated) -> None:
        with Caller(behind_a_proxy.plain) as caller:
            wait_until(lambda: behind_a_proxy.waiting() == 1)
            behind_a_proxy.thread.call(behind_a_proxy.gate.close)
            assert caller.ended()


NEAR, FAR = "10.0.0.1", "192.0.2.1"


@pytest.mark.parametrize(
    ("proxy", "origin", "arrival"),
    [
        # Promise 6: both parts of the way are encrypted, or their networks listed.
        (NEAR, Origin("10.0.0.7"), Arrival("10.0.0.7", plaintext=True)),
        (NEAR, Origin("192.0.2.7"), Arrival("192.0.2.7")),
        (FAR, Origin("10.0.0.7"), Arrival("10.0.0.7")),
        # PP2_TYPE_SSL: the client's part is encrypted, that behind the proxy is not.
        (NEAR, Origin("192.0.2.7", "TLSv1.3"), Arrival("192.0.2.7", "TLSv1.3")),
        (FAR, Origin("192.0.2.7", "TLSv1.3"), Arrival("192.0.2.7")),
        # A client that is not named is in no network.
        (NEAR, Origin(), Arrival("")),
    ],
)
def test_what_crosses_in_the_clear_crosses_both_parts_of_the_way(
    thread: LoopThread, tls: Tls, proxy: str, origin: Origin, arrival: Arrival
) -> None:
    with gated(thread, tls, proxies=[NEAR, FAR], plaintext=["10.0.0.0/8"]) as served:
        for known, wanted in (
            (served.gate.handed_on(proxy, origin), arrival),
            (served.gate.direct(NEAR), Arrival(NEAR, plaintext=True)),
        ):
            assert known == wanted
            known.leave()


def test_tls_without_a_certificate_is_a_bug_of_ours(thread: LoopThread, tls: Tls) -> None:
    with gated(thread, tls) as served:
        served.gate.tls = None
        with pytest.raises(RuntimeError, match="without a certificate"):
            served.thread.call(gate._shake_hands, served.gate, None, None, Arrival("192.0.2.1"))


class TestPlaces:
    """Limits hold before the session: for the address of a header, and for handshakes that do not end."""

    def test_who_comes_too_often_is_told_so(self, thread: LoopThread, tls: Tls) -> None:
        with gated(thread, tls, proxies=HERE, most_each=2) as served:
            with Caller(served.plain) as first, Caller(served.plain) as second, Caller(served.plain) as third:
                for caller in (first, second):
                    caller.send(version_1("192.0.2.7"))
                    assert caller.hear() == "192.0.2.7 - False"
                third.send(version_1("192.0.2.7"))
                assert [third.hear(), third.hear()] == ["192.0.2.7 - False", "FROM_ADDRESS"]
                with Caller(served.plain) as neighbour:
                    neighbour.send(version_1("192.0.2.8"))
                    assert neighbour.hear() == "192.0.2.8 - False"
            wait_until(lambda: served.places.taken == 0)

    def test_health_checks_and_clients_without_a_name_count_in_all_alone(self, thread: LoopThread, tls: Tls) -> None:
        with gated(thread, tls, proxies=HERE, most=3, most_each=1) as served, contextlib.ExitStack() as stack:
            for header in (binary(LOCAL, UNSPEC), binary(PROXY, UNSPEC), b"PROXY UNKNOWN\r\n"):
                caller = stack.enter_context(Caller(served.plain))
                caller.send(header)
                assert caller.hear() in ("127.0.0.1 - False", "- False")
            last = stack.enter_context(Caller(served.plain))
            last.send(version_1("192.0.2.7"))
            assert [last.hear(), last.hear()] == ["192.0.2.7 - False", "IN_ALL"]

    def test_half_of_those_from_an_address_may_be_in_a_handshake(
        self, thread: LoopThread, tls: Tls, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        with gated(thread, tls, most_each=4) as served:
            with Caller(served.encrypted), Caller(served.encrypted):
                wait_until(lambda: served.waiting() == 2)
                with Caller(served.encrypted) as third:
                    assert third.ended()
                with Caller(served.plain) as plain:
                    assert plain.hear() == "127.0.0.1 - False"
            wait_until(lambda: served.places.taken == 0)
            with Caller(served.encrypted) as fourth:
                fourth.start_tls(tls.client)
                assert fourth.hear() == "127.0.0.1 TLSv1.3 False"
                assert not served.places.shaking
        assert "127.0.0.1: too many TLS handshakes at once" in caplog.text

    def test_who_does_not_listen_to_it_is_cut_off(
        self, thread: LoopThread, tls: Tls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mailplatform.places.TOLD_AT_ONCE", 0)
        with gated(thread, tls, most=1) as served, Caller(served.plain) as first:
            first.hear()
            with Caller(served.plain) as second:
                assert second.ended()
