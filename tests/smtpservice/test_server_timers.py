"""Clients that are silent, slow, or do not read."""

import asyncio
import socket

import pytest

from smtpservice import replies, server
from tests.smtpservice.serving import (
    ENVELOPE,
    MESSAGE,
    TOLD,
    run,
    serving,
    until,
)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.02)


@pytest.mark.parametrize("said", [b"", b"EHLO me\r\n", b"EHLO me\r\n" + ENVELOPE + b"half a mess"])
def test_rfc_5321_4_5_3_2_7_a_silent_client_is_told_and_left(often: None, said: bytes) -> None:
    async def main() -> None:
        async with serving(idle_seconds=0.2) as running, await running.client(greeted=False) as client:
            client.writer.write(said)
            assert (await client.rest()).endswith(replies.TIMED_OUT.encode())
            await running.until_empty()
            assert running.intake.messages == []

    run(main())


def test_a_client_that_sends_a_message_drop_by_drop_is_left_in_the_end(often: None) -> None:
    async def main() -> None:
        async with serving(idle_seconds=0.3, message_seconds=0.6) as running, await running.client() as client:
            await client.say(ENVELOPE, 3)
            heard = asyncio.create_task(client.rest())
            while not heard.done():
                client.writer.write(b"x")
                await asyncio.wait([heard], timeout=0.05)
            assert heard.result() == replies.TIMED_OUT.encode()
            assert running.intake.messages == []

    run(main())


def test_the_time_for_a_message_begins_anew_with_each(often: None) -> None:
    async def main() -> None:
        async with serving(message_seconds=0.6) as running, await running.client() as client:
            for _ in range(6):
                assert await client.say(ENVELOPE + b".\r\n", 4) == [*TOLD, "250 2.0.0"]
                await asyncio.sleep(0.2)
            assert len(running.intake.messages) == 6

    run(main())


def test_no_timer_runs_while_the_server_is_the_slow_one(often: None) -> None:
    async def main() -> None:
        async with serving(idle_seconds=0.1, message_seconds=0.1) as running, await running.client() as client:
            running.intake.gate.clear()
            client.writer.write(ENVELOPE + MESSAGE + b".\r\n")
            await running.intake.delivering.wait()
            await asyncio.sleep(0.4)
            running.intake.gate.set()
            assert await client.say(b"", 4) == [*TOLD, "250 2.0.0"]

    run(main())


def test_a_client_that_does_not_take_its_replies_is_not_read_and_then_left(often: None) -> None:
    async def main() -> None:
        async with serving(idle_seconds=0.3) as running, await running.client() as client:
            client.writer.transport.pause_reading()
            connection = running.connection
            sock = connection._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            client.writer.write(b"MAIL FROM:<>\r\n")
            for _ in range(20):
                client.writer.write(b"RCPT TO:bad\r\nRCPT TO:<nobody@maison.mrs>\r\nMAIL FROM:<>\r\n" * 5000)
            await until(lambda: connection._paused or not running.connections.open)
            assert connection._transport.get_write_buffer_size() < 2_000_000
            await running.until_empty()

    run(main())
