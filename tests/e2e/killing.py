"""Workers that are killed, and what their clients and their maildrops are then."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.e2e.database import query
from tests.e2e.filling import address
from tests.e2e.maildrops import Stored, stored, worker_of
from tests.e2e.pop3 import Pop3
from tests.e2e.running import Platform, Server, wait_until

#: Seconds until a client that lost its server is served again, as promised.
RECONNECT_SECONDS = 5
#: Seconds until a worker is replaced.
REPLACE_SECONDS = 30

#: The message with a number, from 1, of a mailbox.
Message = Callable[[str, int], bytes]


@contextmanager
def somebody_else(server: Server, name: str, message: Message, messages: int) -> Iterator[None]:
    """A client that fetches its mail all the time, in one session that nothing may disturb."""
    failures: list[Exception] = []
    done = threading.Event()

    def fetch() -> None:
        number = 0
        while not done.is_set() and not failures:
            number = number % messages + 1
            try:
                assert client.message(number) == message(name, number)
                client.do("NOOP")
            except Exception as error:
                failures.append(error)
            done.wait(0.02)

    with Pop3(server.ports["plain"]).log_in(address(name)) as client:
        fetching = threading.Thread(target=fetch)
        fetching.start()
        try:
            yield
        finally:
            done.set()
            fetching.join()
        assert failures == []
        client.do("QUIT")


def open_beside(server: Server, platform: Platform, name: str, other: str, **options: int) -> tuple[Pop3, int]:
    """A session with another worker than the open one of `other`, and that worker."""
    spared = worker_of(platform, address(other))
    while True:
        client = Pop3(server.ports["plain"], **options).log_in(address(name))
        worker = worker_of(platform, address(name))
        if worker != spared:
            return client, worker
        client.do("QUIT")
        client.close()


def kill(server: Server, worker: int) -> None:
    assert worker in server.workers()
    os.kill(worker, signal.SIGKILL)


def come_back(server: Server, platform: Platform, name: str, message: Message, *, workers: int) -> Stored:
    """Log in anew, as a client does that lost its server; what is stored, and the same is served.

    An AssertionError where that takes longer than promised, or there are not so many workers again soon.
    """
    with _reconnected(server, address(name)) as client:
        kept = stored(platform, address(name))
        assert client.do("STAT").startswith(b"+OK %d " % len(kept.live))
        uids = sorted(kept.live)
        for number in {1, len(uids)} if uids else ():
            assert client.message(number) == message(name, uids[number - 1])
        client.do("QUIT")
    wait_until(
        lambda: server.workers() <= registered(platform) and len(server.workers()) == workers,
        seconds=REPLACE_SECONDS,
        what="the worker is replaced",
    )
    return kept


def _reconnected(server: Server, login: str) -> Pop3:
    deadline = time.monotonic() + RECONNECT_SECONDS
    while True:
        try:
            client = Pop3(server.ports["plain"], timeout=RECONNECT_SECONDS)
            try:
                return client.log_in(login)
            except BaseException:
                client.close()
                raise
        except (OSError, AssertionError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not served within {RECONNECT_SECONDS} s") from error
        time.sleep(0.02)


def registered(platform: Platform) -> set[int]:
    """The workers whose locks count."""
    return {int(pid) for (pid,) in query(platform, "SELECT pid FROM pop3service_worker")}


def delete(client: Pop3, count: int) -> None:
    """Mark the first messages as deleted, all in one packet."""
    client.socket.sendall(b"".join(b"DELE %d\r\n" % number for number in range(1, count + 1)))
    assert all(client.line().startswith(b"+OK") for _ in range(count))


def last_words(client: Pop3) -> bytes:
    """The next reply, or nothing where the server went before it was sent."""
    try:
        return client.line()
    except OSError:
        return b""
