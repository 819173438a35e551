"""The POP3 client: what servers send as they should, and what no server may do to it."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from mailstore import pop3_client
from mailstore.pop3_client import BadMessageError, Pop3Client, Pop3Error, RefusedError
from tests.mailstore.pop3_server import DROP, SILENCE, ScriptedPop3

MESSAGES = [(b"a", b"Subject: one\r\n\r\n.dot\r\n..\r\n"), (b"b", b""), (b"c", b"x" * 100_000 + b"\r\n.\r\r\n")]


@contextlib.contextmanager
def session(server: ScriptedPop3, seconds: float = 5.0) -> Iterator[Pop3Client]:
    with server.serving(), Pop3Client(socket.create_connection(("127.0.0.1", server.port)), seconds=seconds) as client:
        yield client


def retrieve(client: Pop3Client, number: int, *, most: int = 10**6, seconds: float = 5.0) -> bytes:
    return b"".join(client.retrieve(number, most=most, seconds=seconds))


class Given:
    """A socket that gives octets in these chunks."""

    def __init__(self, octets: bytes, size: int) -> None:
        self._chunks = [octets[start : start + size] for start in range(0, len(octets), size)]
        self._chunks += [b"+OK next\r\n"]

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, octets: bytes) -> None:
        pass

    def recv(self, octets: int) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


class TestGoodServers:
    def test_a_session_from_the_greeting_to_quit(self) -> None:
        server = ScriptedPop3(list(MESSAGES))
        with session(server) as client:
            client.greet()
            client.login("charles", "two  words ")
            assert client.unique_ids() == {1: b"a", 2: b"b", 3: b"c"}
            assert client.sizes() == {number: len(octets) for number, (_, octets) in enumerate(MESSAGES, start=1)}
            assert [retrieve(client, number) for number in (1, 2, 3)] == [octets for _, octets in MESSAGES]
            client.delete(1)
            client.quit()
        assert server.commands[:2] == ["USER charles", "PASS two  words "]
        assert server.messages == MESSAGES[1:]

    @given(st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a", b"\0"]), max_size=30), st.integers(1, 20))
    def test_rfc1939_3_what_was_stuffed_comes_out_as_it_was_in_chunks_of_any_size(
        self, parts: list[bytes], size: int
    ) -> None:
        message = b"".join(parts) + b"\r\n"
        sent = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
        client = Pop3Client(Given(b"+OK\r\n" + sent + b".\r\n", size))  # type: ignore[arg-type]
        assert retrieve(client, 1) == message
        client.command("NOOP", doing="to go on")

    def test_the_octets_of_a_refusal_are_shown_as_text(self) -> None:
        with session(ScriptedPop3(script={"PASS": b"-ERR [SYS/TEMP] later \x1b[2J\xff\r\n"})) as client:
            client.greet()
            with pytest.raises(RefusedError, match="later") as refused:
                client.login("charles", "x")
            assert refused.value.is_temporary
            assert str(refused.value).isprintable()


class TestTls:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    def contexts(self, authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("pop.example.org").configure_cert(server)
        authority.configure_trust(client)
        return server, client

    def test_rfc2595_4_stls(self, authority: trustme.CA) -> None:
        server, trusting = self.contexts(authority)
        with session(ScriptedPop3(list(MESSAGES), tls=server)) as client:
            client.greet()
            client.start_tls(trusting, "pop.example.org")
            assert client.unique_ids()[1] == b"a"
            client.abort()  # from another thread as a rule: whoever waits is told that it has ended
            with pytest.raises(Pop3Error):
                client.quit()

    def test_a_certificate_of_another_name_or_of_nobody_is_refused(self, authority: trustme.CA) -> None:
        server, trusting = self.contexts(authority)
        for host, context in (("other.example.org", trusting), ("pop.example.org", ssl.create_default_context())):
            with (
                session(ScriptedPop3(tls=server, implicit=True)) as client,
                pytest.raises(Pop3Error, match="certificate of"),
            ):
                client.begin_tls(context, host)

    def test_what_came_before_the_handshake_is_no_answer_within_it(self, authority: trustme.CA) -> None:
        server, trusting = self.contexts(authority)
        with session(ScriptedPop3(tls=server, script={"STLS": b"+OK\r\n+OK injected\r\n"})) as client:
            client.greet()
            with pytest.raises(Pop3Error, match="before TLS"):
                client.start_tls(trusting, "pop.example.org")

    def test_a_server_without_tls(self) -> None:
        with session(ScriptedPop3()) as client, pytest.raises(Pop3Error, match="no TLS"):
            client.begin_tls(ssl.create_default_context(), "pop.example.org")

    def test_a_handshake_that_does_not_end_is_broken_off(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = Pop3Client(socket.create_connection(listener.getsockname()), seconds=60.0)
            connection = listener.accept()[0]

            def abort() -> None:
                connection.recv(1)  # the handshake has begun
                client.abort()

            thread = threading.Thread(target=abort)
            thread.start()
            began = time.monotonic()
            with client, connection, pytest.raises(Pop3Error, match="no TLS"):
                client.begin_tls(ssl.create_default_context(), "pop.example.org")
            thread.join()
        assert time.monotonic() - began < 30


class TestHostileServers:
    @pytest.mark.parametrize(
        ("reply", "words"),
        [
            (b"+OK " + b"x" * 100_000, "line without an end"),
            (b"220 smtp.example.org\r\n", "no POP3 server"),
            (b"-ERR go away\r\n", "takes nobody"),
            (b"\r\n", "no POP3 server"),
            (DROP, "closed the connection"),
            (SILENCE, "does not answer|takes too long"),
        ],
    )
    def test_greetings(self, reply: bytes, words: str) -> None:
        with session(ScriptedPop3(script={"": reply}), seconds=0.3) as client, pytest.raises(Pop3Error, match=words):
            client.greet()

    @pytest.mark.parametrize(
        "listing", [b"x a\r\n", b"1\r\n", b"99999999999 a\r\n", b"-1 a\r\n", b"1 " + b"x" * 3000 + b"\r\n"]
    )
    def test_listings_that_are_none(self, listing: bytes) -> None:
        with session(ScriptedPop3(script={"UIDL": b"+OK\r\n" + listing + b".\r\n"})) as client:
            client.greet()
            with pytest.raises(Pop3Error, match=r"lists|without an end"):
                client.unique_ids()

    def test_a_listing_without_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pop3_client, "MAX_LISTED", 3)
        with session(ScriptedPop3(script={"LIST": b"+OK\r\n" + b"1 1\r\n" * 5})) as client:
            client.greet()
            with pytest.raises(Pop3Error, match="more than 3 messages"):
                client.sizes()

    def test_a_listing_of_long_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pop3_client, "LISTING_OCTETS", 4000)
        listing = b"+OK\r\n" + b"".join(b"%d %s\r\n" % (n, b"x" * 1500) for n in range(3)) + b".\r\n"
        with session(ScriptedPop3(script={"UIDL": listing})) as client:
            client.greet()
            with pytest.raises(Pop3Error, match="more than 4000 octets"):
                client.unique_ids()

    def test_a_message_without_an_end_is_broken_off_at_its_limit(self) -> None:
        endless = b"+OK 10 octets\r\n" + b"x" * 300_000
        with session(ScriptedPop3(list(MESSAGES), {"RETR": endless})) as client:
            client.greet()
            with pytest.raises(BadMessageError, match="more than 200000"):
                retrieve(client, 1, most=200_000)

    def test_a_dot_that_is_not_doubled_is_no_way_to_speak_for_the_server(self) -> None:
        """As Dovecot sends a message whose first line is a dot: the rest is a stranger's text."""
        unstuffed = b"+OK\r\n.\r\n+OK 5 octets\r\nSubject: forged\r\n\r\n.\r\n"
        with session(ScriptedPop3(list(MESSAGES), {"RETR": unstuffed})) as client:
            client.greet()
            with pytest.raises(BadMessageError, match="behind the end"):
                retrieve(client, 1)

    def test_octets_that_drip_come_to_an_end(self) -> None:
        stop = threading.Event()

        def drip(listener: socket.socket) -> None:
            connection = listener.accept()[0]
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"+OK hello\r\n+OK\r\n")
                while not stop.wait(0.02):
                    connection.sendall(b"x")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=drip, args=(listener,))
            thread.start()
            with Pop3Client(socket.create_connection(listener.getsockname()), seconds=20.0) as client:
                client.greet()
                with pytest.raises(Pop3Error, match=r"takes too long|does not answer"):
                    retrieve(client, 1, seconds=0.3)
            stop.set()
            thread.join()


def test_nothing_is_read_whole() -> None:
    """A message of 20 MB in one line comes in chunks of what is read at once."""
    octets = b"+OK\r\n" + b"x" * 20_000_000 + b"\r\n.\r\n"
    client = Pop3Client(Given(octets, pop3_client.READ_OCTETS))  # type: ignore[arg-type]
    largest = total = 0
    for chunk in client.retrieve(1, most=10**9, seconds=60):
        largest, total = max(largest, len(chunk)), total + len(chunk)
    assert largest <= pop3_client.READ_OCTETS + 5
    assert total == 20_000_002
