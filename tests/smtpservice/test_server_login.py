"""Logins on real sockets: the whole way to the door of a worker, and clients that leave in the middle of it."""

import asyncio
import socket
import struct
from base64 import b64encode

import pytest

from accounts.callers import Caller, Protocol
from accounts.sasl import Question
from smtpservice import replies
from smtpservice.replies import Reply
from smtpservice.requests import CheckSender, Service
from tests.smtpservice.serving import MESSAGE, Client, Running, run, serving, until

AUTH = b"AUTH PLAIN " + b64encode(b"\0jules\0secret") + b"\r\n"


class MemoryDesk:
    """Lets `jules` in, who may send from a@example.org; logins wait for `gate`."""

    mechanisms = ("PLAIN",)

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.callers: list[Caller] = []
        self.left = 0

    def recognise(self, address: str) -> object | None:
        return None

    async def ask(self, question: Question, caller: Caller) -> object:
        self.callers.append(caller)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return "jules" if getattr(question, "login", "") == "jules" else replies.WRONG_LOGIN

    async def check_sender(self, request: CheckSender) -> Reply | None:
        return None if request.mail.sender == "a@example.org" else replies.NOT_YOUR_ADDRESS


async def logged_in(running: Running) -> Client:
    client = await running.client()
    assert await client.say(AUTH) == ["235 2.7.0"]
    return client


def test_a_message_is_submitted() -> None:
    async def main() -> None:
        desk = MemoryDesk()
        async with serving(Service.SUBMISSION, desk=desk) as running, await logged_in(running) as client:
            assert await client.say(b"MAIL FROM:<b@example.org>\r\n") == ["550 5.7.1"]
            envelope = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<x@elsewhere.org>\r\nDATA\r\n"
            assert await client.say(envelope, 3) == ["250 2.1.0", "250 2.1.5", "354"]
            assert await client.say(MESSAGE + b".\r\n") == ["250 2.0.0"]
            assert desk.callers == [Caller(Protocol.SMTP, "127.0.0.1")]
            ((request, _, _),) = running.intake.messages
            assert (request.submitter, request.protocol) == ("jules", "ESMTPA")

    run(main())


def test_a_login_is_broken_off_where_its_client_leaves() -> None:
    async def main() -> None:
        desk = MemoryDesk()
        desk.gate.clear()
        async with serving(Service.SUBMISSION, desk=desk) as running, await running.client() as client:
            client.writer.write(AUTH)
            await until(lambda: len(desk.callers) == 1)
            # Not only its sending: whoever still listens is answered.
            connection = client.writer.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.writer.transport.abort()
            await running.until_empty()
            assert desk.left == 1

    run(main())


@pytest.mark.parametrize("service", [Service.SMTP, Service.LMTP])
def test_nobody_logs_in_where_others_bring_mail(service: Service) -> None:
    async def main() -> None:
        async with serving(service, desk=MemoryDesk()) as running, await running.client() as client:
            assert await client.say(AUTH) == ["500 5.5.1"]

    run(main())
