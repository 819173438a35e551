"""Clients that are silent, slow, or do not read. Time passes where a test says so, but for one that waits."""

import asyncio
import time

import pytest

from smtpservice import replies, server
from tests.smtpservice.serving import ENVELOPE, MESSAGE, TOLD, Running, run, serving, until

TIMED_OUT = replies.TIMED_OUT.encode()


def later(running: Running, seconds: float) -> None:
    """The look that the server takes at its one connection after so long."""
    running.connection.check_time(time.monotonic() + seconds)


@pytest.mark.parametrize("said", [b"", b"EHLO me\r\n", b"EHLO me\r\n" + ENVELOPE + b"half a mess"])
def test_rfc_5321_4_5_3_2_7_a_silent_client_is_told_and_left(said: bytes) -> None:
    async def main() -> None:
        async with serving(idle_seconds=100.0) as running, await running.client(greeted=False) as client:
            client.writer.write(said)
            for _ in range(1 + said.count(b"\r\n")):
                await client.reply()
            later(running, 90)
            assert len(running.connections.open) == 1
            later(running, 101)
            assert await client.rest() == TIMED_OUT
            await running.until_empty()
            assert running.intake.messages == []

    run(main())


def test_the_server_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.02)

    async def main() -> None:
        async with serving(idle_seconds=0.1) as running, await running.client(greeted=False) as client:
            assert (await client.rest()).endswith(TIMED_OUT)

    run(main())


def test_a_client_that_speaks_now_and_then_is_not_silent() -> None:
    async def main() -> None:
        async with serving(idle_seconds=100.0) as running, await running.client() as client:
            running.connection._heard_at -= 99
            assert await client.say(b"NOOP\r\n") == ["250 2.0.0"]
            later(running, 90)
            assert await client.say(b"NOOP\r\n") == ["250 2.0.0"]

    run(main())


def test_a_client_that_sends_a_message_drop_by_drop_is_left_in_the_end() -> None:
    async def main() -> None:
        async with serving(idle_seconds=100.0, message_seconds=150.0) as running, await running.client() as client:
            await client.say(ENVELOPE, 3)
            running.connection._message_at -= 149
            await client.say(b"a drop", 0)
            await until(lambda: running.connection._body is not None)
            later(running, 0)
            assert len(running.connections.open) == 1
            later(running, 2)
            assert await client.rest() == TIMED_OUT
            assert running.intake.messages == []

    run(main())


def test_the_time_for_a_message_begins_anew_with_each() -> None:
    async def main() -> None:
        async with serving(message_seconds=100.0) as running, await running.client() as client:
            for _ in range(3):
                running.connection._message_at -= 99
                assert await client.say(ENVELOPE + b".\r\n", 4) == [*TOLD, "250 2.0.0"]
            later(running, 90)
            assert await client.say(b"NOOP\r\n") == ["250 2.0.0"]

    run(main())


def test_no_timer_runs_while_the_server_is_the_slow_one() -> None:
    async def main() -> None:
        async with serving() as running, await running.client() as client:
            running.intake.gate.clear()
            client.writer.write(ENVELOPE + MESSAGE + b".\r\n")
            await running.intake.delivering.wait()
            later(running, 10_000)
            running.intake.gate.set()
            assert await client.say(b"", 4) == [*TOLD, "250 2.0.0"]

    run(main())


def test_a_client_that_does_not_take_its_replies_is_not_read_and_then_left() -> None:
    """More recipients than a message may have: each is answered, and none counts as an error."""

    async def main() -> None:
        async with serving() as running, await running.client() as client:
            client.writer.transport.pause_reading()
            client.writer.write(b"MAIL FROM:<>\r\n" + b"RCPT TO:<jules@maison.mrs>\r\n" * 200_000)
            connection = running.connection
            await until(lambda: connection._client_reads_not and connection._paused)
            assert connection._transport.get_write_buffer_size() < 2_000_000
            assert client.writer.transport.get_write_buffer_size() > 0
            later(running, 301)
            await asyncio.sleep(0.05)
            assert connection in running.connections.open  # its last words wait to be taken
            later(running, 603)
            await running.until_empty()

    run(main())
