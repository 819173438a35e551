"""Bad input at the real server: a clear reply each, nothing stored, and its memory stays bounded.

One mailbox, one server; at the end the mailbox is as empty, and the worker as small, as in the beginning.
"""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import maildrops
from tests.e2e.filling import address, fill
from tests.e2e.running import Platform, Server

pytestmark = pytest.mark.once

#: MAIL_MAX_OCTETS of the server; the messages below have 25 MB more.
MOST = 2_000_000
OVER = MOST + 25_000_000
#: Octets by which the worker may grow meanwhile.
GROWTH = 25_000_000


@pytest.fixture(scope="module")
def smtp(platform: Platform) -> Iterator[Server]:
    fill(platform, "mailboxes('jules')")
    server = platform.start_smtp(MAIL_MAX_OCTETS=str(MOST))
    (process,) = server.workers()
    before = anonymous_octets(process)
    yield server
    assert server.workers() == {process}, "a worker died of it"
    assert anonymous_octets(process) - before < GROWTH
    assert not maildrops.stored(platform, address("jules")).live


def anonymous_octets(process: int) -> int:
    """Memory of a process that is no file's."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


class Client:
    """The other end of a connection, which has been greeted and has said its name."""

    def __init__(self, server: Server, name: str = "smtp") -> None:
        self.connection = socket.create_connection(("127.0.0.1", server.ports[name]), timeout=60)
        self.stream = self.connection.makefile("rb")
        hello = b"LHLO me\r\n" if name == "lmtp" else b"EHLO me\r\n"
        assert self.codes(hello, 2) == ["220", "250"]

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()
        self.connection.close()

    def send(self, octets: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.connection.sendall(octets)

    def codes(self, octets: bytes, replies: int = 1) -> list[str]:
        """Send, and hear so many replies: of each the code, and the enhanced one where there is one."""
        self.send(octets)
        return [self.code() for _ in range(replies)]

    def code(self) -> str:
        line = b"   -"
        while line[3:4] == b"-":
            line = self.stream.readline()
        return " ".join(word for word in line.decode().split()[:2] if word[0].isdigit())


MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = f"RCPT TO:<{address('jules')}>\r\n".encode()
OPENED = ["250 2.1.0", "250 2.1.5", "354"]


@pytest.mark.parametrize("name", ["smtp", "lmtp"])
def test_half_a_message_is_none(smtp: Server, name: str) -> None:
    with Client(smtp, name) as client:
        assert client.codes(MAIL + RCPT + b"DATA\r\n", 3) == OPENED
        client.send(b"Subject: half\r\n\r\nhalf a line")
    with Client(smtp, name) as client:
        assert client.codes(MAIL + RCPT + b"BDAT 1000\r\nhalf", 2) == OPENED[:2]


def test_a_command_line_of_a_megabyte(smtp: Server) -> None:
    with Client(smtp) as client:
        assert client.codes(b"NOOP " + b"x" * 1_000_000 + b"\r\n") == ["500 5.5.2"]
        assert client.codes(b"x" * 1_000_000 + b"\r\n" + b"NOOP\r\n", 2) == ["500 5.5.2", "250 2.0.0"]


@pytest.mark.parametrize(
    "line", [b"NO\0OP\r\n", b"MAIL FROM:<a\0@x.org>\r\n", b"NOOP\rQUIT\r\n", b"\0\0\0\r\n", b"NOOP\n"]
)
def test_nul_and_bare_line_ends_in_commands(smtp: Server, line: bytes) -> None:
    with Client(smtp) as client:
        assert client.codes(line) == ["500 5.5.2"]
        assert client.codes(b"NOOP\r\n") == ["250 2.0.0"]


@pytest.mark.parametrize("end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\0\n.\r\n"])
def test_no_other_end_smuggles_a_second_message_in(smtp: Server, end: bytes) -> None:
    with Client(smtp) as client:
        assert client.codes(MAIL + RCPT + b"DATA\r\n", 3) == OPENED
        # All of it is one message so far: what looks like commands is not answered, and nothing is stored.
        client.send(b"x" + end + MAIL + RCPT + b"DATA\r\nsmuggled\r\n")
        client.connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.stream.readline()


def test_ten_thousand_recipients(smtp: Server) -> None:
    with Client(smtp) as client:
        assert client.codes(MAIL) == OPENED[:1]
        heard = [code for _ in range(100) for code in client.codes(RCPT * 100, 100)]
        assert heard == ["250 2.1.5"] * 100 + ["452 4.5.3"] * 9_900
    with Client(smtp) as client:
        assert client.codes(MAIL) == OPENED[:1]
        client.send(b"".join(b"RCPT TO:<nobody%d@x.org>\r\n" % number for number in range(10_000)))
        heard = [line[:3] for line in client.stream.read().decode().splitlines()]
        assert (heard.count("550"), heard[-1]) == (101, "421")
        assert set(heard) == {"550", "452", "421"}  # 452: more than a hundred at once are not even looked up


def test_a_message_over_the_limit_is_refused_by_its_size(smtp: Server) -> None:
    with Client(smtp) as client:
        assert client.codes(b"MAIL FROM:<a@example.org> SIZE=%d\r\n" % OVER) == ["552 5.3.4"]
        assert client.codes(MAIL) == OPENED[:1]


@pytest.mark.parametrize("name", ["smtp", "lmtp"])
def test_a_message_over_the_limit_is_refused_in_flight(smtp: Server, name: str) -> None:
    block = b"x" * 76 + b"\r\n"
    with Client(smtp, name) as client:
        assert client.codes(MAIL + RCPT + b"DATA\r\n", 3) == OPENED
        for _ in range(OVER // (78 * 1000)):
            client.send(block * 1000)
        assert client.codes(b".\r\nNOOP\r\n", 2) == ["552 5.3.4", "250 2.0.0"]


def test_chunks_over_the_limit(smtp: Server) -> None:
    with Client(smtp) as client:
        assert client.codes(MAIL + RCPT, 2) == OPENED[:2]
        sizes = [MOST, *[5_000_000] * 5]
        heard = [client.codes(b"BDAT %d\r\n%s" % (size, b"x" * size))[0] for size in sizes]
        assert heard == ["250 2.0.0"] + ["552 5.3.4"] * 5
