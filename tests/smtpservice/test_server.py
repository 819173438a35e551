"""Connections on real sockets: messages, packets, limits, backpressure."""

import asyncio
import threading

import pytest

from mailstore.delivery import Body
from smtpservice import replies
from smtpservice.requests import Service
from smtpservice.server import INPUT_OCTETS
from tests.smtpservice.serving import (
    ENVELOPE,
    HOST,
    MESSAGE,
    PATIENCE,
    TOLD,
    Running,
    run,
    send_in_packets,
    serving,
    until,
)


def test_a_message_is_stored_with_what_is_known_of_its_client() -> None:
    async def main() -> None:
        async with serving() as running, await running.client(greeted=False) as client:
            assert await client.reply() == f"220 {HOST} ESMTP ready"
            assert await client.say(b"EHLO laptop.example\r\n") == ["250"]
            assert await client.say(ENVELOPE, 3) == TOLD
            assert await client.say(MESSAGE + b".\r\n") == ["250 2.0.0"]
            assert await client.say(b"QUIT\r\n") == ["221 2.0.0"]
            assert await client.rest() == b""
            ((request, content, address),) = running.intake.messages
            assert (content, address) == (MESSAGE, "127.0.0.1")
            assert (request.client, request.protocol, request.mail.sender) == (
                "laptop.example",
                "ESMTP",
                "a@example.org",
            )

    run(main())


def test_rfc_2033_4_2_lmtp_answers_once_for_each_recipient() -> None:
    async def main() -> None:
        async with serving(Service.LMTP) as running, await running.client() as client:
            recipients = b"".join(b"RCPT TO:<%s@maison.mrs>\r\n" % name for name in (b"jules", b"nobody", b"alfred"))
            answers = await client.say(b"MAIL FROM:<>\r\n" + recipients + b"DATA\r\n", 5)
            assert answers == ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5", "354"]
            assert await client.say(MESSAGE + b".\r\nNOOP\r\n", 3) == ["250 2.0.0"] * 3
            assert [recipient.address for recipient in running.intake.messages[0][0].recipients] == [
                "jules@maison.mrs",
                "alfred@maison.mrs",
            ]

    run(main())


WHOLE = b"EHLO me\r\n" + ENVELOPE + MESSAGE + b".\r\n" + ENVELOPE + b"..second\r\n.\r\nWHAT\r\nQUIT\r\n"


@pytest.mark.parametrize("octets", [1, 2, 3, 7, 64, 10_000])
def test_rfc_2920_a_whole_session_in_packets_of_any_size(octets: int) -> None:
    async def main() -> None:
        async with serving() as running, await running.client(greeted=False) as client:
            await send_in_packets(client, [WHOLE[at : at + octets] for at in range(0, len(WHOLE), octets)])
            lines = (await client.rest()).decode().splitlines()
            codes = [line.split()[0] for line in lines]
            message = ["250", "250", "354", "250"]
            assert codes == ["220", *codes[1:8], "250", *message, *message, "500", "221"]
            assert running.intake.contents == [MESSAGE, b".second\r\n\r\n"]

    run(main())


def test_a_client_that_only_stops_sending_gets_all_replies() -> None:
    async def main() -> None:
        async with serving() as running, await running.client(greeted=False) as client:
            client.writer.write(WHOLE)
            client.writer.write_eof()
            assert (await client.rest()).endswith(b" closing\r\n")
            assert len(running.intake.messages) == 2
            async with await running.client(greeted=False) as other:
                other.writer.write(WHOLE.removesuffix(b"QUIT\r\n"))
                other.writer.write_eof()
                assert b"500 5.5.1" in await other.rest()
            await running.until_empty()

    run(main())


# --- Limits -----------------------------------------------------------------------------------------------


def test_one_connection_too_many_from_an_address_is_told_so() -> None:
    async def main() -> None:
        async with serving(most_each=1) as running, await running.client() as first:
            async with await running.client(greeted=False) as second:
                assert await second.rest() == replies.TOO_MANY_FROM_ADDRESS.encode()
            assert await first.say(b"QUIT\r\n") == ["221 2.0.0"]
            await running.until_empty()
            async with await running.client() as third:
                assert await third.say(b"NOOP\r\n") == ["250 2.0.0"]

    run(main())


def test_one_connection_too_many_is_told_so_and_a_place_that_is_free_is_taken() -> None:
    async def main() -> None:
        async with serving(most=2) as running:
            first, second = await running.client(), await running.client()
            async with await running.client(greeted=False) as third:
                assert await third.rest() == replies.TOO_MANY_CONNECTIONS.encode()
            assert await first.say(b"NOOP\r\n") == ["250 2.0.0"]
            assert await second.say(b"QUIT\r\n") == ["221 2.0.0"]
            await until(lambda: len(running.connections.open) == 1)
            async with await running.client() as fourth:
                assert await fourth.say(ENVELOPE, 3) == TOLD

    run(main())


def test_commands_that_wait_for_an_answer_fill_no_memory() -> None:
    """The client has to wait, in its own kernel; what it sent is answered in order afterwards."""

    async def main() -> None:
        async with serving() as running, await running.client() as client:
            running.intake.found.clear()
            client.writer.write(ENVELOPE)
            flood = b"NOOP " + b"x" * 1000 + b"\r\n"
            sending = asyncio.create_task(client.say(flood * 20_000, 0))
            connection = running.connection
            await until(lambda: connection._paused)
            await asyncio.sleep(0.05)
            assert connection._session.buffered < INPUT_OCTETS + 300_000
            assert not sending.done()
            running.intake.found.set()
            assert (await client.say(b"", 3)) == TOLD
            sending.cancel()

    run(main())


def test_a_large_message_is_taken_at_the_pace_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the spool is slow its client waits, nothing piles up, and another client is served."""
    disk, writers = threading.Event(), set()
    write = Body.write

    def slow_write(body: Body, chunk: bytes) -> None:
        writers.add(threading.current_thread())
        if body.octets > 2_000_000:
            disk.wait(PATIENCE)
        write(body, chunk)

    monkeypatch.setattr(Body, "write", slow_write)
    message = b"\r\n" + b"".join(b"%070d\r\n" % number for number in range(300_000))

    async def main() -> None:
        async with serving() as running, await running.client() as client:
            await client.say(ENVELOPE, 3)
            sending = asyncio.create_task(client.say(message + b".\r\n"))
            connection = running.connection
            await until(lambda: connection._paused)
            async with await running.client() as other:
                assert await other.say(ENVELOPE + b"\r\nsmall\r\n.\r\n", 4) == [*TOLD, "250 2.0.0"]
            await asyncio.sleep(0.05)
            assert not sending.done()
            assert connection._session.buffered < INPUT_OCTETS + 300_000
            disk.set()
            assert await sending == ["250 2.0.0"]
            assert running.intake.contents == [b"\r\nsmall\r\n", message]
            assert len(writers) > 1

    run(main())


def test_of_many_messages_at_once_most_are_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpservice.server.MANY_MESSAGES", 2)
    content = b"\r\n" + b"x" * 70 * 1024 + b"\r\n"

    async def main() -> None:
        async with serving() as running:
            clients = [await running.client() for _ in range(4)]
            for number, client in enumerate(clients, 1):
                await client.say(ENVELOPE, 3)
                await client.say(content, 0)
                await until(lambda: running.connections.messages == number)  # noqa: B023
            await until(lambda: all(held >= len(content) - 10 for held, _ in spooled(running)))
            assert sorted(in_file for _, in_file in spooled(running)) == [False, False, True, True]
            assert await clients[3].say(b".\r\n") == ["250 2.0.0"]
            assert running.intake.contents == [content]
            assert await clients[3].say(ENVELOPE + MESSAGE + b".\r\n", 4) == [*TOLD, "250 2.0.0"]
            for client in clients:
                client.writer.transport.abort()
            await running.until_empty()
            assert running.connections.messages == 0

    run(main())


def spooled(running: Running) -> list[tuple[int, bool]]:
    """The octets that each connection has of a message, and whether they are in a file."""
    bodies = [connection._body for connection in running.connections.open]
    return [(body.wire_octets, bool(body._spool._rolled)) for body in bodies if body is not None]  # type: ignore[attr-defined]


def test_rfc_1870_6_3_a_message_over_the_limit_is_not_kept_while_it_comes_in() -> None:
    async def main() -> None:
        async with serving(max_octets=100_000) as running, await running.client() as client:
            await client.say(ENVELOPE, 3)
            connection = running.connection
            line = b"x" * 998 + b"\r\n"
            for _ in range(30):
                await client.say(line * 100, 0)
            await until(lambda: connection._body is None)
            assert await client.say(b".\r\n") == ["552 5.3.4"]
            assert await client.say(ENVELOPE + MESSAGE + b".\r\n", 4) == [*TOLD, "250 2.0.0"]
            assert running.intake.contents == [MESSAGE]

    run(main())


def test_a_full_disk_is_temporary_and_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(body: Body, chunk: bytes) -> None:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        async with serving() as running, await running.client() as client:
            with monkeypatch.context() as patch:
                patch.setattr(Body, "write", full)
                assert await client.say(ENVELOPE + MESSAGE * 1000 + b".\r\n", 4) == [*TOLD, "452 4.3.1"]
            assert await client.say(ENVELOPE + MESSAGE + b".\r\n", 4) == [*TOLD, "250 2.0.0"]
            assert running.intake.contents == [MESSAGE]

    run(main())
    assert "No space left on device" in caplog.text


def test_a_bug_of_ours_ends_one_session_and_is_logged_with_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving() as running, await running.client() as other, await running.client() as client:
            client.writer.write(b"MAIL FROM:<>\r\nRCPT TO:<broken@maison.mrs>\r\n")
            assert await client.say(b"", 2) == ["250 2.1.0", "421 4.3.0"]
            assert await client.rest() == b""
            assert await other.say(ENVELOPE + MESSAGE + b".\r\n", 4) == [*TOLD, "250 2.0.0"]

    run(main())
    assert "RuntimeError: a bug" in caplog.text
