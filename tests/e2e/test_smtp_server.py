"""The real intake: a worker killed at the worst moment, messages larger than its memory may grow, a clean end."""

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.e2e import maildrops
from tests.e2e.database import connected, query
from tests.e2e.filling import address, fill
from tests.e2e.running import Platform, Server, greets, wait_until

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def smtp(platform: Platform) -> Server:
    fill(platform, "mailboxes('jules', 'alfred', 'charles', 'one', 'two')")
    return platform.start_smtp(MAIL_MAX_OCTETS="100000000")


class Client:
    """A client that has come as far as 354."""

    def __init__(self, port: int, *names: str, hello: str = "EHLO") -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=100)
        self.stream = self.connection.makefile("rb")
        assert self.reply() == 220
        recipients = "".join(f"RCPT TO:<{address(name)}>\r\n" for name in names)
        self.connection.sendall(f"{hello} me\r\nMAIL FROM:<a@example.org>\r\n{recipients}DATA\r\n".encode())
        assert [self.reply() for _ in range(len(names) + 3)] == [250] * (len(names) + 2) + [354]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()
        self.connection.close()

    def say(self, octets: bytes) -> int:
        self.connection.sendall(octets)
        return self.reply()

    def reply(self) -> int:
        """The code of one reply; 0 where the connection ends instead."""
        line = b"   -"
        with contextlib.suppress(ConnectionError):
            while line[3:4] == b"-":
                line = self.stream.readline()
            return int(line[:3] or 0)
        return 0


def contents(platform: Platform, name: str) -> list[bytes]:
    """The messages of a mailbox as they are in the database, dots stuffed; each of one piece."""
    maildrops.stored(platform, address(name))
    found = query(
        platform,
        "SELECT c.octets FROM mailstore_content c JOIN accounts_mailbox b ON b.id = c.mailbox_id WHERE b.address = %s "
        "ORDER BY c.uid",
        address(name),
    )
    return [bytes(octets) for (octets,) in found]


@contextlib.contextmanager
def no_delivery(platform: Platform) -> Iterator[None]:
    """Meanwhile every delivery waits in the database."""
    begin = (
        "BEGIN; LOCK TABLE mailstore_maildrop IN ACCESS EXCLUSIVE MODE"
        if platform.database_url.startswith("postgres")
        else "BEGIN IMMEDIATE"
    )
    with connected(platform) as database:
        database.execute(begin)
        yield
        database.execute("ROLLBACK")


def kill_worker(smtp: Server) -> Callable[[], None]:
    """Kill the one worker; what is returned waits until another one serves."""
    (victim,) = smtp.workers()
    os.kill(victim, signal.SIGKILL)

    def until_served_again() -> None:
        wait_until(lambda: smtp.workers() - {victim} != set(), seconds=20, what="another worker")
        wait_until(lambda: greets(smtp.ports["smtp"], b"220"), seconds=20, what="an answer of it")

    return until_served_again


def test_killed_before_the_commit_there_is_neither_a_250_nor_a_message(platform: Platform, smtp: Server) -> None:
    with Client(smtp.ports["smtp"], "alfred") as client, no_delivery(platform):
        client.connection.sendall(b"Subject: killed\r\n\r\nlost\r\n.\r\n")
        client.connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.stream.readline()
        until_served_again = kill_worker(smtp)
    until_served_again()
    with Client(smtp.ports["smtp"], "alfred") as again:
        assert again.say(b"Subject: again\r\n\r\nkept\r\n.\r\n") == 250
    (message,) = contents(platform, "alfred")
    assert message.endswith(b"\r\nSubject: again\r\n\r\nkept\r\n")


def test_killed_at_any_moment_a_250_is_a_message_and_a_message_is_whole(platform: Platform, smtp: Server) -> None:
    """At moments from the end of data to well after the reply, by how long a delivery takes here."""
    text = b"".join(b"..line %d\r\n" % number for number in range(3000))
    answered = {}
    with Client(smtp.ports["smtp"], "jules") as client:
        began = time.monotonic()
        answered[b"m0"] = client.say(b"Subject: m0\r\n\r\n" + text + b".\r\n")
        usual = time.monotonic() - began
    for number in range(8):
        name = b"m%d" % (number + 1)
        with Client(smtp.ports["smtp"], "jules") as client:
            client.connection.sendall(b"Subject: " + name + b"\r\n\r\n" + text + b".\r\n")
            time.sleep(usual * number / 5)
            until_served_again = kill_worker(smtp)
            answered[name] = client.reply()
        until_served_again()
    messages = contents(platform, "jules")
    kept = [name for message in messages for name in re.findall(rb"^Subject: (m\d)\r$", message, re.MULTILINE)]
    assert len(set(kept)) == len(kept) == len(messages)
    assert {name for name, code in answered.items() if code == 250} <= set(kept)
    assert set(answered.values()) <= {0, 250}
    assert {message.partition(b"\r\n\r\n")[2] for message in messages} == {text}


def test_promise_9_a_message_of_40_mb_for_two_does_not_go_through_memory(platform: Platform, smtp: Server) -> None:
    block = b"".join(b".%076d\r\n" % number for number in range(10_000))
    (process,), most, done = smtp.workers(), [0], threading.Event()
    before = anonymous_octets(process)

    def watch() -> None:
        while not done.wait(0.01):
            most.append(anonymous_octets(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Client(smtp.ports["lmtp"], "one", "two", hello="LHLO") as client:
            client.connection.sendall(b"Subject: large\r\n\r\n")
            for _ in range(40_000_000 // len(block)):
                client.connection.sendall(block)
            assert [client.say(b".\r\n"), client.reply()] == [250, 250]
    finally:
        done.set()
        watcher.join()
    assert max(most) - before < 20_000_000
    for name in ("one", "two"):
        assert len(maildrops.stored(platform, address(name)).live) == 1


def anonymous_octets(process: int) -> int:
    """Memory of a process that is no file's."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def test_term_lets_a_message_end_and_then_says_421(platform: Platform) -> None:
    server = platform.start_smtp()
    with (
        Client(server.ports["smtp"], "charles") as sending,
        socket.create_connection(("127.0.0.1", server.ports["lmtp"]), timeout=20) as connection,
        connection.makefile("rb") as idle,
    ):
        assert idle.readline()[:3] == b"220"
        server.process.send_signal(signal.SIGTERM)
        assert idle.read()[:3] == b"421"
        assert sending.say(b"Subject: last\r\n\r\nlast\r\n.\r\n") == 250
        assert sending.reply() == 421
    assert server.stop() == 0
    (message,) = contents(platform, "charles")
    assert message.endswith(b"Subject: last\r\n\r\nlast\r\n")
