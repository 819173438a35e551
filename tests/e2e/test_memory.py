"""Messages of 100 MB for many clients at once: the right octets for each, and the server hardly grows."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.filling import address, fill, message
from tests.e2e.maildrops import locked
from tests.e2e.pop3 import Pop3
from tests.e2e.running import Platform, Server, wait_until

OCTETS = 100_000_000
#: Clients that fetch it at once, and clients that ask for it and then do not read.
READERS, STALLED = 20, 100
#: Every so many of the clients come with TLS.
TLS_EACH = 4
#: MB that all processes of the server together may grow by, as promised.
GROWTH = 100

pytestmark = pytest.mark.timeout(300)  # two gigabytes are a matter of seconds, unless somebody else has the processors


@pytest.fixture(scope="module")
def server(platform: Platform) -> Server:
    fill(
        platform,
        f"mailboxes('whole', messages=1, octets={OCTETS})",
        f"mailboxes(*{[f'user{number}' for number in range(STALLED)]})",
        "share('whole')",
    )
    return platform.start_pop3(workers=1)


def _memory(server: Server) -> float:
    """MB of memory that the processes use; what they share is counted once."""
    kilobytes = 0
    for process in (server.process.pid, *server.workers()):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kilobytes += int(line.split()[1])
    return kilobytes / 1000


@contextmanager
def _growth(server: Server) -> Iterator[Callable[[], float]]:
    """Watch the server; the answer is by how many MB it grew at most."""
    before, most, done = _memory(server), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.1):  # to look costs the kernel more than to serve does
            most = max(most, _memory(server))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield lambda: most - before
    finally:
        done.set()
        watching.join()


def _log_in(server: Server, platform: Platform, number: int, *, receive_octets: int = 0) -> Pop3:
    tls = None if number % TLS_EACH else ssl.create_default_context(cafile=str(platform.authority))
    client = Pop3(server.ports["tls" if tls else "plain"], tls=tls, receive_octets=receive_octets)
    return client.log_in(address(f"user{number}"))


def test_twenty_clients_fetch_it_at_once(server: Server, platform: Platform) -> None:
    sent = message("whole", 1, OCTETS).replace(b"\r\n.", b"\r\n..") + b".\r\n"

    def fetch(number: int) -> bool:
        with _log_in(server, platform, number) as client:
            client.do("RETR 1")
            right = client.hears(sent)
            client.do("QUIT")
        return right

    with _growth(server) as growth, ThreadPoolExecutor(READERS) as threads:
        assert list(threads.map(fetch, range(READERS))) == [True] * READERS
    assert growth() < GROWTH


def test_clients_that_do_not_read_pin_no_memory(server: Server, platform: Platform) -> None:
    with _growth(server) as growth:
        clients = [_log_in(server, platform, number, receive_octets=20_000) for number in range(STALLED)]
        for client in clients:
            client.do("RETR 1")
        time.sleep(1)  # until every one of them has got what its connection takes
        for client in clients:
            client.close()
        wait_until(lambda: locked(platform) == 0, seconds=30, what="every lock is freed")
    assert growth() < GROWTH
