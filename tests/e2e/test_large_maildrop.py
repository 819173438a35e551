"""A maildrop of 100,000 messages: STAT at once, LIST and UIDL in a second, and nobody else waits for them."""

import statistics
import threading

import pytest

from tests.e2e.database import execute, query
from tests.e2e.filling import address, fill, message
from tests.e2e.pop3 import Pop3
from tests.e2e.running import Platform, Server
from tests.e2e.stopwatch import involved, seconds

MESSAGES, DIFFERENT = 100_000, 1000
BIG, SMALL = address("big"), address("small")
#: Seconds, as promised.
STAT_SECONDS, LISTING_SECONDS = 0.05, 1.0
#: Seconds that another session may have to wait beside them.
BESIDE_SECONDS = 0.05


@pytest.fixture(scope="module")
def server(platform: Platform) -> Server:
    fill(
        platform,
        f"mailboxes('big', messages={DIFFERENT}, octets=60)",
        f"repeat('big', {MESSAGES // DIFFERENT})",
        "mailboxes('small', messages=1)",
    )
    return platform.start_pop3()


def _log_in(server: Server, login: str = BIG) -> Pop3:
    return Pop3(server.ports["plain"]).log_in(login)


def _forget_listings(platform: Platform) -> None:
    """As if a message had come or gone: what the server remembers of the maildrop is old.

    One row: two, in an order other than the product's, wait in a circle with the lock of a session that is being freed.
    """
    ((big,),) = query(platform, "SELECT id FROM accounts_mailbox WHERE address = %s", BIG)
    execute(platform, "UPDATE mailstore_maildrop SET version = version + 1 WHERE mailbox_id = %s", big)


def test_login_and_stat_take_50_ms(server: Server, platform: Platform) -> None:
    def look() -> None:
        clients.append(_log_in(server))
        assert clients[-1].do("STAT").startswith(b"+OK %d " % MESSAGES)

    times, clients = [], list[Pop3]()
    for _ in range(11):
        times.append(seconds(look, involved(server, platform)))
        with clients.pop() as client:
            client.do("QUIT")
    assert statistics.median(times[1:]) < STAT_SECONDS  # once it is warm: from the second time on


@pytest.mark.parametrize("command", ["LIST", "UIDL"])
@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_a_listing_takes_a_second(server: Server, platform: Platform, command: str, cold: bool) -> None:
    times = []
    for _ in range(5):
        if cold:
            _forget_listings(platform)
        with _log_in(server) as client:
            times.append(seconds(lambda: client.text(command), involved(server, platform)))
            client.do("QUIT")
    assert statistics.median(times) < LISTING_SECONDS


def test_every_line_is_right(server: Server, platform: Platform) -> None:
    with _log_in(server) as client:
        _, count, octets = client.do("STAT").split()
        sizes = [row.split() for row in client.rows("LIST")]
        unique_ids = [row.split() for row in client.rows("UIDL")]
        assert [int(number) for number, _ in sizes] == [int(number) for number, _ in unique_ids]
        assert [int(number) for number, _ in sizes] == [*range(1, int(count) + 1)] == [*range(1, MESSAGES + 1)]
        assert sum(int(size) for _, size in sizes) == int(octets)
        assert len({unique_id for _, unique_id in unique_ids}) == MESSAGES
        for number in (1, MESSAGES // 2, MESSAGES):
            kept = message("big", (number - 1) % DIFFERENT + 1, 60)
            assert client.message(number) == kept
            assert int(sizes[number - 1][1]) == len(kept)
        client.do("QUIT")


def test_the_last_of_them_is_deleted_and_no_other(server: Server, platform: Platform) -> None:
    with _log_in(server) as client:
        client.do(f"DELE {MESSAGES}")
        client.do("QUIT")
    assert query(platform, "SELECT uid FROM mailstore_message WHERE deleted_at IS NOT NULL") == [(MESSAGES,)]
    with _log_in(server) as client:
        assert len(client.rows("LIST")) == MESSAGES - 1
        client.do("QUIT")


def test_no_other_session_waits_for_a_listing(server: Server, platform: Platform) -> None:
    assert statistics.median(_longest_wait_beside(server, platform) for _ in range(5)) < BESIDE_SECONDS


def _longest_wait_beside(server: Server, platform: Platform) -> float:
    """The longest that a NOOP takes while another session of the worker reads and sends the listing."""
    waits, done, processes = [], threading.Event(), involved(server, platform)

    def ask() -> None:
        while not done.is_set():
            waits.append(seconds(lambda: beside.do("NOOP"), processes))
            done.wait(0.001)

    _forget_listings(platform)
    with _log_in(server, SMALL) as beside, _log_in(server) as client:
        asking = threading.Thread(target=ask)
        asking.start()
        client.text("LIST")
        client.text("UIDL")
        done.set()
        asking.join()
        beside.do("QUIT")
        client.do("QUIT")
    assert len(waits) > 10
    return max(waits)
