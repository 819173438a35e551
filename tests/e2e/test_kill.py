"""`kill -9` of a worker at any moment: no message is lost or half deleted, and who comes back is served.

A message that is not in its maildrop any more is on the shelf, and all its octets are there: that is looked at each
time (tests.e2e.maildrops). The clients of the other worker notice nothing.
"""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.e2e.filling import address, fill, message
from tests.e2e.killing import come_back, delete, kill, last_words, open_beside, registered, somebody_else
from tests.e2e.maildrops import Stored, all_deleted, held_up, untouched
from tests.e2e.pop3 import Pop3
from tests.e2e.running import Platform, Server, wait_until

#: More messages than one statement names, so that their deletion has a middle.
MANY = 600
#: Octets of a message that no buffer of the system takes in as a whole.
LARGE = 8_000_000
ROUNDS = 6
OTHER = "other"


@pytest.fixture(scope="module")
def server(platform: Platform) -> Iterator[Server]:
    """Two workers, one of which is killed again and again while the other one serves somebody all the time."""
    rounds = [f"round{number}" for number in range(ROUNDS)]
    fill(
        platform,
        f"mailboxes('large', messages=2, octets={LARGE})",
        f"mailboxes('before', 'after', 'alone', 'everything', '{OTHER}', messages=20)",
        f"mailboxes(*{['stopped', 'waiting', 'usual', *rounds]}, messages={MANY})",
    )
    server = platform.start_pop3(workers=2)
    with somebody_else(server, OTHER, message, 20):
        yield server


def _open(server: Server, platform: Platform, name: str, **options: int) -> tuple[Pop3, int]:
    return open_beside(server, platform, name, OTHER, **options)


def _come_back(server: Server, platform: Platform, name: str, *, workers: int = 2) -> Stored:
    return come_back(server, platform, name, message, workers=workers)


def test_in_the_middle_of_retr(server: Server, platform: Platform) -> None:
    client, worker = _open(server, platform, "large", receive_octets=100_000)
    with client:
        client.do("DELE 2")
        client.do("RETR 1")
        kill(server, worker)
        got = client.rest()
        assert 0 < len(got) < LARGE
    kept = come_back(server, platform, "large", lambda name, number: message(name, number, LARGE), workers=2)
    assert kept == untouched(2)


def test_before_quit(server: Server, platform: Platform) -> None:
    client, worker = _open(server, platform, "before")
    with client:
        assert client.message(1) == message("before", 1)
        delete(client, 20)
        kill(server, worker)
        assert client.rest() == b""
    assert _come_back(server, platform, "before") == untouched(20)


def test_in_the_middle_of_quit_before_its_transaction(server: Server, platform: Platform) -> None:
    client, worker = _open(server, platform, "stopped")
    with client:
        delete(client, MANY)
        os.kill(worker, signal.SIGSTOP)
        client.send("QUIT")
        kill(server, worker)
        assert client.rest() == b""
    assert _come_back(server, platform, "stopped") == untouched(MANY)


def test_in_the_middle_of_quit_in_its_transaction(server: Server, platform: Platform) -> None:
    client, worker = _open(server, platform, "waiting")
    with client:
        delete(client, MANY)
        with held_up(platform, address("waiting"), MANY - 1) as is_there:
            client.send("QUIT")
            wait_until(is_there, seconds=20, what="QUIT is in its transaction")
            kill(server, worker)
            assert client.rest() == b""
    assert _come_back(server, platform, "waiting") == untouched(MANY)


def test_at_any_moment_of_quit(server: Server, platform: Platform) -> None:
    """All of the session's deletions happened or none; all of them where QUIT was answered."""
    client, _ = _open(server, platform, "usual")
    with client:
        delete(client, MANY)
        began = time.monotonic()
        client.do("QUIT")
        usual = time.monotonic() - began
    for number in range(ROUNDS):
        name = f"round{number}"
        client, worker = _open(server, platform, name)
        with client:
            delete(client, MANY)
            client.send("QUIT")
            time.sleep(usual * 1.5 * number / (ROUNDS - 1))
            kill(server, worker)
            answer = last_words(client)
        kept = _come_back(server, platform, name)
        if answer:
            assert answer.startswith(b"+OK")
            assert kept == all_deleted(MANY)
        else:
            assert kept in [untouched(MANY), all_deleted(MANY)]


def test_after_quit_was_answered(server: Server, platform: Platform) -> None:
    client, worker = _open(server, platform, "after")
    with client:
        delete(client, 20)
        client.do("QUIT")
        kill(server, worker)
    assert _come_back(server, platform, "after") == all_deleted(20)


def test_the_only_worker(server: Server, platform: Platform) -> None:
    alone = platform.start_pop3(workers=1)
    with Pop3(alone.ports["plain"]).log_in(address("alone")) as client:
        delete(client, 20)
        (worker,) = alone.workers()
        kill(alone, worker)
        assert client.rest() == b""
    assert _come_back(alone, platform, "alone", workers=1) == untouched(20)
    assert worker not in registered(platform)
    alone.stop()


def test_every_process_of_the_server(server: Server, platform: Platform) -> None:
    """A new server knows at once that the locks of the old one are void."""
    first = platform.start_pop3(workers=2)
    with Pop3(first.ports["plain"]).log_in(address("everything")) as client:
        delete(client, 20)
        for process in (first.process.pid, *first.workers()):
            os.kill(process, signal.SIGKILL)
        assert client.rest() == b""
    first.process.wait()
    second = platform.start_pop3(workers=1)
    assert _come_back(second, platform, "everything", workers=1) == untouched(20)
    second.stop()
