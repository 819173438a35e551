"""Connections of one worker: buffering, backpressure, TLS, timers, limits. It knows no verb of SMTP.

A Connection moves octets between its transport and a Session, and has the Session's requests carried out by an
Intake. What is in flight when a client goes away is finished: a message whose end was read is stored.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from typing import Protocol, cast

from accounts.callers import Caller
from accounts.callers import Protocol as Door
from accounts.sasl import Question
from mailplatform.arrivals import Arrival
from mailplatform.places import Full
from mailstore.delivery import SPOOL_OCTETS, Body
from smtpservice import replies
from smtpservice.pace import Pace
from smtpservice.protocol import Session
from smtpservice.replies import Reply
from smtpservice.requests import (
    Ask,
    CheckSender,
    Close,
    Deliver,
    Discard,
    FindRecipients,
    Request,
    Service,
    StartTls,
    Write,
)
from smtpservice.storing import Accepted

logger = logging.getLogger(__name__)

#: Octets that may wait in a session before its client has to wait.
INPUT_OCTETS = 65_536
#: Messages of one worker that are in memory up to mailstore.delivery.SPOOL_OCTETS at the same time; those that come
#: while there are more are in files from so many octets on.
MANY_MESSAGES = 64
MANY_SPOOL_OCTETS = 64 * 1024
#: Seconds a TLS handshake may take.
HANDSHAKE_SECONDS = 30.0
#: Seconds that clients have to take the 421 of a server that ends, before they are cut off.
LAST_WORDS_SECONDS = 0.5
TOO_MANY = {
    Full.IN_ALL: replies.TOO_MANY_CONNECTIONS,
    Full.FROM_ADDRESS: replies.TOO_MANY_FROM_ADDRESS,
}
#: Seconds between two looks for connections that have been silent too long.
SWEEP_SECONDS = 1.0


class Intake(Protocol):
    """Who carries out what a session asks for; no method raises."""

    async def find(self, request: FindRecipients) -> list[Accepted | Reply]:
        """For each address where it leads, or the reply that refuses it."""

    async def deliver(
        self, request: Deliver[Accepted], body: Body, *, service: Service, client_address: str
    ) -> list[Reply]:
        """Store the message: one reply in SMTP, one for each recipient in LMTP. The body stays the caller's."""


class Desk(Protocol):
    """Who knows the submitters; no method raises."""

    mechanisms: tuple[str, ...]

    def recognise(self, address: str) -> object | None:
        """Who may submit from there without a login; None: nobody."""

    async def ask(self, question: Question, caller: Caller) -> object:
        """The answer to a question of a login: who it is, a Proof, or the reply that refuses it."""

    async def check_sender(self, request: CheckSender) -> Reply | None:
        """The reply that refuses a reverse-path; None where it may be sent from."""


class Connections:
    """All connections of a worker, and what they share."""

    def __init__(
        self,
        intake: Intake,
        *,
        hostname: str,
        max_octets: int,
        idle_seconds: float,
        message_seconds: float,
        tls: ssl.SSLContext | None = None,
        desk: Desk | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.intake = intake
        self.desk = desk
        self.pace = pace or Pace(0)
        self.hostname = hostname
        self.max_octets = max_octets
        self.idle_seconds = idle_seconds
        self.message_seconds = message_seconds
        self.tls = tls
        self.draining = self.ending = False
        self.open: set[Connection] = set()
        #: Messages that are being received or stored.
        self.messages = 0
        self._none_open = asyncio.Event()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def connected(self, service: Service, arrival: Arrival) -> asyncio.Protocol:
        """The protocol of a new connection."""
        desk = self.desk if service is Service.SUBMISSION else None
        session = Session[Accepted](
            service,
            hostname=self.hostname,
            max_octets=self.max_octets,
            tls_offered=self.tls is not None,
            tls_active=arrival.encrypted,
            plaintext=arrival.plaintext,
            mechanisms=desk.mechanisms if desk else (),
            submitter=desk.recognise(arrival.address) if desk else None,
        )
        return Connection(self, session, arrival)

    def new_body(self) -> Body:
        """For a message that comes in; `body_closed` tells its end."""
        self.messages += 1
        return Body(spool_octets=SPOOL_OCTETS if self.messages <= MANY_MESSAGES else MANY_SPOOL_OCTETS)

    def body_closed(self) -> None:
        self.messages -= 1

    def lost(self, connection: "Connection") -> None:
        """A connection is gone, and nothing of it is in flight."""
        self.open.discard(connection)
        if not self.open:
            self._none_open.set()

    async def drain(self) -> None:
        """Let transactions come to their end, close the others, and wait for all of it."""
        self.draining = True
        for connection in list(self.open):
            connection.pump()
        while self.open:
            self._none_open.clear()
            await self._none_open.wait()

    async def end(self) -> None:
        """Close what is still open, half a message too; those whose end was read are stored before it returns."""
        self._sweeper.cancel()
        self.ending = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drain(), LAST_WORDS_SECONDS)
        for connection in list(self.open):
            connection.abort()
        await self.drain()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for connection in list(self.open):
                connection.check_time(now)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, owner: Connections, session: Session[Accepted], arrival: Arrival) -> None:
        self._owner = owner
        self._session = session
        self._arrival = arrival
        self._caller = Caller(Door.SMTP, arrival.address, arrival.tls)
        self._asking = False
        self._body: Body | None = None
        self._task: asyncio.Task[None] | None = None
        self._gone = self._ended = self._paused = self._client_reads_not = False
        self._heard_at = self._message_at = time.monotonic()

    # --- What the loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        self._owner.open.add(self)
        if self._arrival.refused:
            self._session.refuse(TOO_MANY[self._arrival.refused])
        self.pump()

    def data_received(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        self._session.receive(data)
        self.pump()

    def eof_received(self) -> bool:
        """A client that only stopped sending still gets the replies to what it sent."""
        self._ended = True
        return self._task is not None and not self._session.tls_active

    def pause_writing(self) -> None:
        self._client_reads_not = True
        self._regulate()

    def resume_writing(self) -> None:
        self._client_reads_not = False
        self._regulate()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone = True
        if self._task is None:
            self._leave()
        elif self._asking:
            self._task.cancel()  # nobody waits for this login any more

    # --- What the worker calls ---

    def check_time(self, now: float) -> None:
        """End a session that is silent, or takes too long over one message (RFC 5321, 4.5.3.2.7)."""
        silent = now - self._heard_at > self._owner.idle_seconds
        if self._task is not None or not (silent or now - self._message_at > self._owner.message_seconds):
            return
        if self._transport.is_closing():
            self._transport.abort()
        else:
            logger.info("%s: timed out", self._arrival.address)
            self._session.end(replies.TIMED_OUT)
            self._heard_at = self._message_at = now
            self.pump()

    def abort(self) -> None:
        """Close at once; a message that is being stored is finished first, unseen."""
        self._transport.abort()

    def pump(self) -> None:
        """Send what is to be sent and do what is to be done, until the session waits for something."""
        session, owner = self._session, self._owner
        if owner.ending and self._task is None:
            session.end(replies.SHUTTING_DOWN)  # RFC 5321, 3.8: nobody is left without a word
        elif owner.draining:
            session.end_soon(replies.SHUTTING_DOWN)
        while True:
            output = session.take_output()
            if output and not self._transport.is_closing():
                self._transport.write(output)
            request = session.take_request()
            if request is None or not self._begin(request):
                break
        self._regulate()

    # --- Inside ---

    def _begin(self, request: "Request[Accepted]") -> bool:
        """Carry a request out, or begin to; whether the session can go on now."""
        if isinstance(request, Write) and self._fits_in_memory(request.content):
            self._session.written(self._write(request.content))
        elif isinstance(request, Discard):
            self._forget_body()
            self._session.written()
        elif isinstance(request, Close):
            self._transport.close()
            return False
        else:
            if isinstance(request, StartTls):
                self._transport.pause_reading()  # what comes next is the handshake's
            self._task = asyncio.get_running_loop().create_task(self._carry_out(request))
            return False
        return True

    async def _carry_out(self, request: "Request[Accepted]") -> None:
        """Do what takes time, then go on with the session, or leave if the client has gone meanwhile."""
        try:
            match request:
                case Ask() if self._owner.desk:
                    self._session.answered(await self._ask(self._owner.desk, request))
                case CheckSender() if self._owner.desk:
                    self._session.sender_checked(await self._owner.desk.check_sender(request))
                case FindRecipients():
                    self._session.recipients_found(await self._find(request))
                case Write():
                    self._session.written(await asyncio.to_thread(self._write, request.content))
                case Deliver():
                    self._session.delivered(await self._deliver(request))
                case StartTls():
                    await self._start_tls()
        except Exception:  # a bug of ours: this session ends with it, the others go on
            logger.exception("%s: %s failed", self._arrival.address, type(request).__name__)
            self._session.end(replies.FAILED)
        self._task = None
        if self._gone:
            self._leave()
        else:
            self.pump()
            if self._ended and self._task is None:
                self._transport.close()

    def _write(self, content: bytes) -> Reply | None:
        """Add to the spool; the reply for the end of data where that fails."""
        try:
            self._open_body().write(content)
        except OSError:
            logger.exception("a message cannot be spooled")
            return replies.NO_SPACE
        return None

    def _fits_in_memory(self, content: bytes) -> bool:
        """Whether it can be written in the loop; above, the spool is a file, and a thread writes to it."""
        body = self._open_body()
        return body.wire_octets + len(content) <= body.spool_octets

    def _open_body(self) -> Body:
        if self._body is None:
            self._body = self._owner.new_body()
        return self._body

    async def _ask(self, desk: Desk, request: Ask) -> object:
        self._asking = True
        try:
            return await desk.ask(request.question, self._caller)
        except asyncio.CancelledError:
            return replies.LOGIN_FAILED  # which nobody hears
        finally:
            self._asking = False

    async def _find(self, request: FindRecipients) -> list[Accepted | Reply]:
        if self._session.service is Service.SMTP and self._owner.pace.is_over(self._arrival.address):
            logger.info("%s: too many messages in a short time", self._arrival.address)
            return [replies.TOO_FAST] * len(request.addresses)
        return await self._owner.intake.find(request)

    async def _deliver(self, request: Deliver[Accepted]) -> list[Reply]:
        body = self._open_body()
        self._body = None
        try:
            with body:
                answers = await self._owner.intake.deliver(
                    request, body, service=self._session.service, client_address=self._arrival.address
                )
        finally:
            self._owner.body_closed()
        self._message_at = time.monotonic()
        self._owner.pace.count(self._arrival.address)
        return answers

    async def _start_tls(self) -> None:
        context = self._owner.tls
        if context is None:
            raise RuntimeError("STARTTLS without a certificate")
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (OSError, EOFError) as error:  # so are ssl.SSLError and TimeoutError
            logger.info("%s: TLS handshake failed: %s", self._arrival.address, error)
            transport = None
        if transport is None or self._transport.is_closing():  # gone, or cut off, during the handshake
            self._gone = True
            self._transport.abort()
            return
        self._transport = transport
        version = transport.get_extra_info("ssl_object").version() or ""
        self._caller = self._caller._replace(tls=version)
        self._session.tls_started()

    def _regulate(self) -> None:
        """Read no more while the session has enough to do or the client does not take its replies."""
        pause = self._client_reads_not or self._session.buffered > INPUT_OCTETS
        if pause is not self._paused and not self._transport.is_closing():
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _forget_body(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()
            self._owner.body_closed()

    def _leave(self) -> None:
        self._arrival.leave()
        self._forget_body()
        self._owner.lost(self)
