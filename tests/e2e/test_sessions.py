"""500 sessions at the same time on one worker: each gets what is its own, and leaves nothing behind."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Self

import pytest

from tests.e2e.database import query
from tests.e2e.filling import address, fill, message
from tests.e2e.maildrops import locked
from tests.e2e.running import PASSWORD, Platform, Server, wait_until

SESSIONS, MESSAGES, OCTETS = 500, 3, 5000
NAMES = [f"user{number}" for number in range(SESSIONS)]
#: Every so many of the clients come with TLS.
TLS_EACH = 5
#: Seconds a reply may take, with the server and all its clients on one machine.
PATIENCE = 60


@pytest.fixture(scope="module")
def server(platform: Platform) -> Server:
    fill(platform, f"mailboxes(*{NAMES}, messages={MESSAGES}, octets={OCTETS})")
    return platform.start_pop3(workers=1)


class Session:
    """One of the clients."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wanted = [message(name, number, OCTETS) for number in range(1, MESSAGES + 1)]

    async def log_in(self, port: int, tls: ssl.SSLContext | None) -> Self:
        host = "localhost" if tls else None
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=host)
        assert (await self._reader.readline()).startswith(b"+OK")
        await self.do(f"USER {address(self.name)}")
        await self.do(f"PASS {PASSWORD}")
        return self

    async def do(self, command: str) -> bytes:
        self._writer.write(command.encode() + b"\r\n")
        answer = await asyncio.wait_for(self._reader.readline(), PATIENCE)
        assert answer.startswith(b"+OK"), f"{self.name}: {command}: {answer!r}"
        return answer

    async def text(self, command: str) -> bytes:
        await self.do(command)
        return (await asyncio.wait_for(self._reader.readuntil(b"\r\n.\r\n"), PATIENCE))[:-3]

    async def fetch_and_delete_all(self) -> None:
        sizes = "".join(f"{number} {len(octets)}\r\n" for number, octets in enumerate(self.wanted, 1))
        assert await self.text("LIST") == sizes.encode()
        for number, octets in enumerate(self.wanted, 1):
            assert await self.text(f"RETR {number}") == octets.replace(b"\r\n.", b"\r\n..")
            await self.do(f"DELE {number}")

    async def quit(self) -> None:
        await self.do("QUIT")
        assert await self._reader.read() == b""
        self._writer.close()

    async def vanish(self) -> None:
        self._writer.transport.abort()


def _all_at_once(
    server: Server, platform: Platform, work: Callable[[list[Session]], Coroutine[Any, Any, None]]
) -> None:
    """Log everybody in and, when they all are, have them work."""
    tls = ssl.create_default_context(cafile=str(platform.authority))

    async def log_in(number: int, name: str) -> Session:
        with_tls = number % TLS_EACH == 0
        return await Session(name).log_in(server.ports["tls" if with_tls else "plain"], tls if with_tls else None)

    async def run() -> None:
        sessions = await asyncio.gather(*[log_in(number, name) for number, name in enumerate(NAMES)])
        assert locked(platform) == SESSIONS
        await work(sessions)

    asyncio.run(run())


def _live_and_shelved(platform: Platform) -> tuple[int, int]:
    ((messages, shelved, counted),) = query(
        platform,
        "SELECT count(*), count(deleted_at), (SELECT sum(message_count) FROM mailstore_maildrop) FROM mailstore_message",
    )
    assert counted == messages - shelved
    return messages - shelved, shelved


async def _each(sessions: list[Session], do: Callable[[Session], Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*[do(session) for session in sessions])


def test_all_vanish_before_quit_and_nothing_is_deleted(server: Server, platform: Platform) -> None:
    async def work(sessions: list[Session]) -> None:
        await _each(sessions, Session.fetch_and_delete_all)
        await _each(sessions, Session.vanish)

    _all_at_once(server, platform, work)
    wait_until(lambda: locked(platform) == 0, seconds=PATIENCE, what="every lock is freed")
    assert _live_and_shelved(platform) == (SESSIONS * MESSAGES, 0)


def test_each_fetches_and_deletes_its_own(server: Server, platform: Platform) -> None:
    async def work(sessions: list[Session]) -> None:
        await _each(sessions, Session.fetch_and_delete_all)
        await _each(sessions, Session.quit)

    _all_at_once(server, platform, work)
    assert locked(platform) == 0
    assert _live_and_shelved(platform) == (0, SESSIONS * MESSAGES)
