"""A connection to another mail server, and one message over it at a time (RFC 5321, 3.3).

aiosmtplib carries the commands; the data is written here, a piece at a time as the peer takes it, as it is stored: line
ends, dots and all. What a reply means for whom is decided here; what follows from it is not.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import aiosmtplib
from aiosmtplib import SMTPException, SMTPHeloError, SMTPResponseException

from smtpservice.relay.claims import ClaimedMessage, ClaimedRecipient
from smtpservice.relay.outcomes import Outcome, PeerReply, Result

#: Recipients of one transaction (RFC 5321, 4.5.3.1.8: a server takes a hundred at least).
RECIPIENTS = 100
#: RFC 1870, 3.
_SIZE = re.compile(r"[0-9]{1,20}")
_GIVEN_UP = PeerReply(451, "4.3.0", "The message was given up while it was sent")
#: Gives the pieces of a message's wire form, all of them, or raises VanishedError.
Pieces = Callable[[ClaimedMessage], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, those of RFC 5321, 4.5.3.2, and what connecting, handshakes and QUIT may take."""

    connect: float = 30.0
    greeting: float = 300.0
    handshake: float = 60.0
    command: float = 300.0
    data: float = 120.0
    block: float = 180.0
    end: float = 600.0
    quit: float = 5.0


class PeerError(Exception):
    """The connection is of no use, or no longer: another host may be. `reply` says why; 4xx: it may pass."""

    def __init__(self, reply: PeerReply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class TlsError(PeerError):
    """There is no encrypted connection, or not with whom it should be."""


@dataclass(frozen=True, slots=True)
class Security:
    """What is asked of TLS: `context` to shake hands with, under `name`; `required`: else no mail; `implicit`: at once.

    `verify` looks at a connection that is encrypted, and raises ssl.SSLError where it is not who it should be.
    """

    context: ssl.SSLContext
    name: str
    required: bool = False
    implicit: bool = False
    verify: Callable[[ssl.SSLObject], None] | None = None


class VanishedError(Exception):
    """The message is no longer there: somebody has given it up meanwhile. What was sent of it must not be taken."""


class Peer:
    """One connection, from its greeting to QUIT."""

    def __init__(self, client: aiosmtplib.SMTP, *, name: str, timeouts: Timeouts) -> None:
        self._client, self.name, self._timeouts = client, name, timeouts
        self.is_encrypted = False

    @classmethod
    async def connect(
        cls, address: str, port: int, *, name: str, hostname: str, security: Security | None, timeouts: Timeouts
    ) -> Self:
        """Connect, say our `hostname`, and encrypt where that is offered. Raises PeerError with nothing left open."""
        client = aiosmtplib.SMTP(local_hostname=hostname, timeout=timeouts.command, start_tls=False)
        peer = cls(client, name=name, timeouts=timeouts)
        try:
            await peer._greet(await dial(address, port, timeouts.connect), security)
            await peer._introduce()
        except SMTPResponseException as error:
            peer.abort()
            raise PeerError(PeerReply.parse(error.code, error.message)) from error
        except (SMTPException, OSError) as error:
            peer.abort()
            raise PeerError(PeerReply(451, "4.4.1", f"No connection to {name} [{address}]: {_short(error)}")) from error
        except BaseException:
            peer.abort()
            raise
        if security is not None:
            await peer._secure(security)
        return peer

    @property
    def is_open(self) -> bool:
        return self._client.is_connected

    def offers(self, extension: str) -> bool:
        """Does the peer know this extension (RFC 5321, 2.2)?"""
        return self._client.supports_extension(extension)

    async def login(self, user: str, password: str) -> None:
        """AUTH at a smarthost. Raises PeerError with nothing left open.

        A refusal is temporary, since it is our operator who has to act.
        """
        try:
            await self._client.login(user, password)
        except SMTPResponseException as error:
            self.abort()
            reply = PeerReply.parse(error.code, error.message)
            raise PeerError(PeerReply(454, "4.7.8", f"The smarthost refuses our login: {reply}")) from error
        except (SMTPException, OSError) as error:
            self.abort()
            raise PeerError(PeerReply(454, "4.7.8", f"No login at the smarthost: {_short(error)}")) from error

    async def close(self) -> None:
        """Say QUIT and close; a peer that does not answer is not waited for."""
        with suppress(SMTPException, OSError):
            if self._client.is_connected:
                await self._client.quit(timeout=self._timeouts.quit)
        self.abort()

    def abort(self) -> None:
        self._client.close()

    async def send(self, message: ClaimedMessage, pieces: Pieces) -> AsyncGenerator[list[Outcome], None]:
        """Send a message, in as many transactions as the peer wants; the outcomes of each as soon as it is over.

        Outcomes of all recipients come, whatever happens; the connection may be closed then (`is_open`).
        """
        if refusal := self._refusal(message):
            yield _for_all(message.recipients, Result.FAILED, refusal, self.name)
            return
        left = list(message.recipients)
        while left:
            outcomes, again = await self._transaction(message, left[:RECIPIENTS], pieces)
            yield outcomes
            left = again + left[RECIPIENTS:]

    def _refusal(self, message: ClaimedMessage) -> PeerReply | None:
        """Why this peer cannot have this message: what it does not say it knows must not be used."""
        if message.smtputf8 and not self.offers("smtputf8"):  # RFC 6531, 3.2
            return PeerReply(550, "5.6.7", f"{self.name} knows no addresses and headers in UTF-8 (SMTPUTF8)")
        if message.eight_bit and not self.offers("8bitmime"):  # RFC 6152, 3
            return PeerReply(554, "5.6.3", f"{self.name} takes no 8-bit text (8BITMIME), and it is not converted here")
        most = self._client.esmtp_extensions.get("size", "")
        if _SIZE.fullmatch(most) and 0 < int(most) < message.octets:  # RFC 1870, 6.1
            return PeerReply(552, "5.3.4", f"The message has {message.octets} octets, {self.name} takes {most}")
        return None

    async def _greet(self, plain: socket.socket, security: Security | None) -> None:
        """Take a connected socket over, encrypted at once if that is asked for (RFC 8314, 3.3), and be greeted."""
        implicit = security is not None and security.implicit
        await self._client.connect(
            sock=plain,
            hostname=security.name if security else None,
            use_tls=implicit,
            tls_context=security.context if security and implicit else None,
            timeout=self._timeouts.greeting,
        )

    async def _introduce(self) -> None:
        try:
            await self._client.ehlo()
        except SMTPHeloError as error:
            if error.code < 500:
                raise
            await self._client.helo()  # RFC 5321, 3.2: a server from before 1993

    async def _secure(self, security: Security) -> None:
        """STARTTLS where it is offered (RFC 3207), and a look at who is at the other end. Raises TlsError."""
        try:
            if not security.implicit:
                if not self.offers("starttls"):
                    if security.required:
                        raise TlsError(_no_tls(f"{self.name} offers no TLS, which has to be used there"))
                    return
                await self._client.starttls(
                    server_hostname=security.name, tls_context=security.context, timeout=self._timeouts.handshake
                )
                await self._introduce()
            self.is_encrypted = True
            if security.verify is not None:
                security.verify(self._client.get_transport_info("ssl_object"))
        except (SMTPException, OSError, ValueError) as error:
            self.abort()
            raise TlsError(_no_tls(f"No TLS with {self.name}: {_short(error)}")) from error
        except BaseException:
            self.abort()
            raise

    async def _transaction(
        self, message: ClaimedMessage, recipients: Sequence[ClaimedRecipient], pieces: Pieces
    ) -> tuple[list[Outcome], list[ClaimedRecipient]]:
        """One MAIL to the reply of its data; the outcomes, and for whom another transaction is to be begun."""
        transaction = _Transaction(self, message, recipients)
        try:
            await transaction.run(pieces)
        except SMTPResponseException as error:  # a reply that is none
            self.abort()
            transaction.fill(PeerReply(451, "4.5.0", f"Not an SMTP reply: {_short(error)}"))
        except VanishedError:
            self.abort()
            transaction.fill(_GIVEN_UP)
        except (SMTPException, OSError) as error:
            self.abort()
            transaction.fill(PeerReply(451, "4.4.2", f"The connection to {self.name} was lost: {_short(error)}"))
        return transaction.outcomes, transaction.again

    async def command(self, text: str, *, seconds: float = 0) -> PeerReply:
        """Send a line, UTF-8 where it has to be; the reply. Raises aiosmtplib.SMTPException."""
        reply = await self._client.execute_command(text.encode(), timeout=seconds or self._timeouts.command)
        return PeerReply.parse(reply.code, reply.message)

    async def write(self, piece: bytes) -> None:
        """Send octets, and wait until the peer has taken most of what was sent before."""
        protocol = self._client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("closed by the peer")
        protocol.write(piece)
        # What asyncio.StreamWriter.drain waits for; a StreamWriter would close the connection when it is let go.
        await asyncio.wait_for(protocol._drain_helper(), self._timeouts.block)

    @property
    def timeouts(self) -> Timeouts:
        return self._timeouts


class _Transaction:
    """The commands of one transaction, and the outcome that each recipient has so far."""

    def __init__(self, peer: Peer, message: ClaimedMessage, recipients: Sequence[ClaimedRecipient]) -> None:
        self._peer, self._message, self._recipients = peer, message, recipients
        self._dsn = peer.offers("dsn")
        self._by_id: dict[int, Outcome] = {}
        self.again: list[ClaimedRecipient] = []

    @property
    def outcomes(self) -> list[Outcome]:
        return list(self._by_id.values())

    def fill(self, reply: PeerReply) -> None:
        """The outcome of all who have none yet."""
        for recipient in self._open():
            self._put(recipient, reply)

    async def run(self, pieces: Pieces) -> None:
        reply = await self._peer.command(self._mail())
        if reply.code != 250:
            self.fill(_unless_good(reply))
            await self._reset()
            return
        for recipient in self._recipients:
            await self._rcpt(recipient)
        if not self._open():
            await self._reset()
            return
        reply = await self._peer.command("DATA", seconds=self._peer.timeouts.data)
        if reply.code != 354:
            self.fill(_unless_good(reply))
            await self._reset()
            return
        async for piece in pieces(self._message):
            await self._peer.write(piece)
        self.fill(await self._peer.command(".", seconds=self._peer.timeouts.end))

    def _mail(self) -> str:
        message, words = self._message, [f"MAIL FROM:<{self._message.sender}>"]
        if self._peer.offers("size"):
            words.append(f"SIZE={message.octets}")
        if message.eight_bit:
            words.append("BODY=8BITMIME")
        if message.smtputf8:
            words.append("SMTPUTF8")
        if self._dsn and message.returned:
            words.append(f"RET={message.returned}")
        if self._dsn and message.envelope_id:
            words.append(f"ENVID={message.envelope_id}")
        return " ".join(words)

    async def _rcpt(self, recipient: ClaimedRecipient) -> None:
        words = [f"RCPT TO:<{recipient.address}>"]
        if self._dsn and recipient.notify:
            words.append(f"NOTIFY={recipient.notify}")
        if self._dsn and recipient.original:
            words.append(f"ORCPT={recipient.original}")
        reply = await self._peer.command(" ".join(words))
        if reply.code in {250, 251}:
            return
        # RFC 5321, 4.5.3.1.10: too many at once; old servers say 552 for 452.
        if reply.code == 452 or (reply.code == 552 and reply.status in {"5.0.0", "5.5.3"}):
            if len(self._by_id) + len(self.again) < self._recipients.index(recipient):
                self.again.append(recipient)
                return
            reply = PeerReply(452, f"4{reply.status[1:]}", reply.text)
        self._put(recipient, _unless_good(reply))

    async def _reset(self) -> None:
        if self._peer.is_open:
            await self._peer.command("RSET")

    def _open(self) -> list[ClaimedRecipient]:
        return [one for one in self._recipients if one.id not in self._by_id and one not in self.again]

    def _put(self, recipient: ClaimedRecipient, reply: PeerReply) -> None:
        if 200 <= reply.code < 300:
            result = Result.SENT
        else:
            result = Result.FAILED if 500 <= reply.code < 600 else Result.DEFERRED
        self._by_id[recipient.id] = Outcome(recipient.id, result, reply, self._peer.name, self._dsn)


def _unless_good(reply: PeerReply) -> PeerReply:
    """A reply of success where it makes no sense: not to be taken for one."""
    if 200 <= reply.code < 400:
        return PeerReply(451, "4.5.0", f"Not the reply that belongs here: {reply}")
    return reply


def _for_all(recipients: Sequence[ClaimedRecipient], result: Result, reply: PeerReply, peer: str) -> list[Outcome]:
    return [Outcome(recipient.id, result, reply, peer) for recipient in recipients]


async def dial(address: str, port: int, seconds: float) -> socket.socket:
    """A connected socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM)
    plain.setblocking(False)
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(plain, (address, port))
    except BaseException:
        plain.close()
        raise
    return plain


def _no_tls(text: str) -> PeerReply:
    return PeerReply(454, "4.7.5", text)


def _short(error: BaseException) -> str:
    """What happened; aiosmtplib's own words for it name a port that it does not know."""
    if isinstance(error, aiosmtplib.SMTPConnectError) and error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
