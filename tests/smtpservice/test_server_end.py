"""What becomes of messages when a client goes away, or the server ends."""

import asyncio
import socket
import struct

import pytest

from smtpservice import replies, server
from tests.smtpservice.serving import (
    ENVELOPE,
    MESSAGE,
    PATIENCE,
    run,
    serving,
    until,
)


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("octets", [10, 3_000_000])
def test_half_a_message_is_no_message(how: str, octets: int) -> None:
    async def main() -> None:
        async with serving() as running, await running.client() as client:
            await client.say(ENVELOPE, 3)
            await client.say(b"x" * octets + b"\r\n.", 0)
            await until(lambda: running.connection._body is not None)
            if how == "resets":
                linger = struct.pack("ii", 1, 0)
                client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.writer.transport.abort()
            await running.until_empty()
            assert running.intake.messages == []

    run(main())


def test_a_message_whose_end_was_read_is_stored_though_nobody_waits_for_the_reply() -> None:
    async def main() -> None:
        async with serving() as running, await running.client() as client:
            running.intake.gate.clear()
            client.writer.write(ENVELOPE + MESSAGE + b".\r\n")
            await running.intake.delivering.wait()
            client.writer.transport.abort()
            await asyncio.sleep(0.05)
            assert len(running.connections.open) == 1
            running.intake.gate.set()
            await running.until_empty()
            assert running.intake.contents == [MESSAGE]

    run(main())


# --- The end of the server --------------------------------------------------------------------------------


def test_drain_lets_transactions_end_and_tells_the_others() -> None:
    async def main() -> None:
        async with serving() as running:
            idle, sending, storing = [await running.client() for _ in range(3)]
            await sending.say(ENVELOPE, 3)
            running.intake.gate.clear()
            await storing.say(ENVELOPE, 3)
            storing.writer.write(MESSAGE + b".\r\n")
            await running.intake.delivering.wait()
            draining = asyncio.create_task(running.connections.drain())
            assert await idle.rest() == replies.SHUTTING_DOWN.encode()
            running.intake.gate.set()
            assert await storing.say(b"", 2) == ["250 2.0.0", "421 4.3.2"]
            assert not draining.done()
            sending.writer.write(MESSAGE + b".\r\n" + ENVELOPE)
            assert await sending.say(b"", 2) == ["250 2.0.0", "421 4.3.2"]
            async with asyncio.timeout(PATIENCE):
                await draining
            assert running.intake.contents == [MESSAGE] * 2

    run(main())


def test_end_tells_who_is_in_the_middle_of_a_message_and_stores_what_has_come_whole() -> None:
    """RFC 5321, 3.8: no connection is closed without a 421."""

    async def main() -> None:
        async with serving() as running:
            begun, sending, storing = [await running.client() for _ in range(3)]
            await begun.say(b"MAIL FROM:<>\r\n")
            await sending.say(ENVELOPE, 3)
            await sending.say(b"half a mess", 0)
            running.intake.gate.clear()
            await storing.say(ENVELOPE, 3)
            storing.writer.write(MESSAGE + b".\r\n")
            await running.intake.delivering.wait()
            ending = asyncio.create_task(running.connections.end())
            assert await begun.rest() == replies.SHUTTING_DOWN.encode()
            assert await sending.rest() == replies.SHUTTING_DOWN.encode()
            running.intake.gate.set()
            assert await storing.say(b"", 2) == ["250 2.0.0", "421 4.3.2"]
            async with asyncio.timeout(PATIENCE):
                await ending
            assert running.intake.contents == [MESSAGE]

    run(main())


def test_end_does_not_wait_for_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAST_WORDS_SECONDS", 0.05)

    async def main() -> None:
        async with serving() as running, await running.client() as client:
            client.writer.transport.pause_reading()
            client.writer.write(b"MAIL FROM:<>\r\n" + b"RCPT TO:<nobody@maison.mrs>\r\n" * 90)
            connection = running.connection
            await until(lambda: connection._session.in_transaction)
            connection._transport.write(b"x" * 10_000_000)
            async with asyncio.timeout(PATIENCE):
                await running.connections.end()

    run(main())


def test_end_finishes_a_delivery_that_takes_longer_than_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAST_WORDS_SECONDS", 0.05)

    async def main() -> None:
        async with serving() as running, await running.client() as client:
            running.intake.gate.clear()
            client.writer.write(ENVELOPE + MESSAGE + b".\r\n")
            await running.intake.delivering.wait()
            ending = asyncio.create_task(running.connections.end())
            await asyncio.sleep(0.2)
            assert not ending.done()
            running.intake.gate.set()
            async with asyncio.timeout(PATIENCE):
                await ending
            assert running.intake.contents == [MESSAGE]

    run(main())
