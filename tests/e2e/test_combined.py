"""The combined maildrop of the real server: clients people use, and `kill -9` in the middle of QUIT."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.clients import CLIENTS, Account
from tests.e2e.filling import address, fill, message
from tests.e2e.killing import delete, kill, last_words
from tests.e2e.maildrops import Stored, all_deleted, stored, untouched, worker_of
from tests.e2e.pop3 import Pop3
from tests.e2e.running import PASSWORD, Platform, Server, wait_until

#: In each of the two mailboxes.
MANY = 300
ROUNDS = 4


@pytest.fixture(scope="module")
def server(platform: Platform) -> Server:
    names = ["stopped", "usual", *(f"round{number}" for number in range(ROUNDS))]
    pairs = [name for each in names for name in (each, f"{each}2")]
    fill(
        platform,
        "mailboxes('charles', 'charles2', messages=3)",
        "combine('charles', 'charles2')",
        f"mailboxes(*{pairs}, messages={MANY})",
        *(f"combine('{name}', '{name}2')" for name in names),
    )
    return platform.start_pop3(workers=1)


@pytest.mark.parametrize("name", ["curl", "poplib"])
def test_clients_read_both_mailboxes(
    server: Server, tmp_path: Path, require_program: Callable[[str], str], name: str
) -> None:
    client = CLIENTS[name]
    require_program(client.program)
    fetched = client.fetch(Account(server.ports["plain"], "charles", PASSWORD), tmp_path, True)
    assert sorted(fetched) == sorted(message(box, number) for box in ("charles", "charles2") for number in (1, 2, 3))


def test_the_unique_ids_are_those_of_the_mailboxes(server: Server) -> None:
    def unique_ids(login: str) -> list[bytes]:
        with Pop3(server.ports["plain"]).log_in(login) as client:
            ids = [row.split()[1] for row in client.rows("UIDL")]
            client.do("QUIT")
        return ids

    assert sorted(unique_ids("charles")) == sorted(unique_ids(address("charles")) + unique_ids(address("charles2")))


def _open(server: Server, platform: Platform, name: str) -> tuple[Pop3, int]:
    client = Pop3(server.ports["plain"]).log_in(name)
    delete(client, 2 * MANY)
    return client, worker_of(platform, address(name))


def _come_back(server: Server, platform: Platform, name: str) -> list[Stored]:
    """Both are served again, by the name and each by its address; what is stored in each."""
    wait_until(lambda: _is_served(server, name), seconds=20, what="the name is served again")
    return [stored(platform, address(each)) for each in (name, f"{name}2")]


def _is_served(server: Server, name: str) -> bool:
    try:
        with Pop3(server.ports["plain"], timeout=10) as client:
            client.log_in(name)
            client.do("QUIT")
    except (OSError, AssertionError):
        return False
    return True


def test_killed_before_the_transaction_of_quit(server: Server, platform: Platform) -> None:
    client, worker = _open(server, platform, "stopped")
    with client:
        os.kill(worker, signal.SIGSTOP)
        client.send("QUIT")
        kill(server, worker)
        assert client.rest() == b""
    assert _come_back(server, platform, "stopped") == [untouched(MANY)] * 2


def test_killed_at_any_moment_of_quit(server: Server, platform: Platform) -> None:
    """Promise 2: what was deleted in one mailbox was deleted in both; all of it where QUIT was answered."""
    client, _ = _open(server, platform, "usual")
    with client:
        began = time.monotonic()
        client.do("QUIT")
        usual = time.monotonic() - began
    assert _come_back(server, platform, "usual") == [all_deleted(MANY)] * 2
    for number in range(ROUNDS):
        client, worker = _open(server, platform, f"round{number}")
        with client:
            client.send("QUIT")
            time.sleep(usual * 1.5 * number / (ROUNDS - 1))
            kill(server, worker)
            answer = last_words(client)
        kept = _come_back(server, platform, f"round{number}")
        if answer:
            assert answer.startswith(b"+OK")
            assert kept == [all_deleted(MANY)] * 2
        else:
            assert kept in ([untouched(MANY)] * 2, [all_deleted(MANY)] * 2)
