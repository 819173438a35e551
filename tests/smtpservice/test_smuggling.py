"""SMTP smuggling (CVE-2023-51764 and its kin) over a real socket: CRLF.CRLF ends a message and nothing else does."""

import asyncio

import pytest

from tests.smtpservice.serving import (
    ENVELOPE,
    Running,
    run,
    send_in_packets,
    serving,
)

SMUGGLED = b"MAIL FROM:<forged@example.org>\r\nRCPT TO:<jules@maison.mrs>\r\nDATA\r\nforged"
FALSE_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\n\n.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n. \r\n",
    b"\r\r\n.\r\r\n",
    b"\x85.\x85",
]


@pytest.mark.parametrize("end", FALSE_ENDS)
def test_smuggling_nothing_but_crlf_dot_crlf_ends_a_message_wherever_packets_are_cut(end: bytes) -> None:
    """CVE-2023-51764 and its kin: one reply, one message, which has all of what was to be smuggled in it."""

    async def attempt(running: Running, cut: int) -> None:
        async with await running.client() as client:
            await client.say(ENVELOPE, 3)
            await send_in_packets(client, [b"\r\none" + end[:cut], end[cut:] + SMUGGLED])
            assert await client.say(b"\r\n.\r\nNOOP\r\n", 2) == ["250 2.0.0", "250 2.0.0"]

    async def main() -> None:
        async with serving() as running:
            await asyncio.gather(*(attempt(running, cut) for cut in range(len(end) + 1)))
            assert len(running.intake.messages) == len(end) + 1
            assert len(set(running.intake.contents)) == 1
            assert running.intake.contents[0].startswith(b"\r\none")
            assert running.intake.contents[0].endswith(b"DATA\r\nforged\r\n")
            assert {request.mail.sender for request, _, _ in running.intake.messages} == {"a@example.org"}

    run(main())
