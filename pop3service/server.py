"""The sockets: octets between clients and their sessions, TLS, timers, and an end to everything.

It knows no command. A Session says what to send and what work it needs; the work is carried out by whatever came with
it. Output that the client does not take holds everything back: no work is begun and nothing is read before it drains.

There is no timer per connection. Once a second each is looked at: one that has neither finished a command nor taken
output since longer than allowed is ended, in silence (RFC 1939, 3).
"""

import asyncio
import contextlib
import functools
import logging
import ssl
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol, cast

from mailplatform.arrivals import Arrival
from mailplatform.closing import close
from mailplatform.places import Full
from pop3service.protocol import OUTPUT_HIGH, Session
from pop3service.states import Code, Ending, Refusal, Request, StartTls
from pop3service.words import ENGLISH, Text, _

logger = logging.getLogger(__name__)

#: Output above this is not copied together, but handed to the transport in parts.
JOIN_OCTETS = 64 * 1024
#: Octets that a transport holds for its client, above which the session waits; TLS by itself would hold eight times it.
WAITING_OCTETS = 64 * 1024
SWEEP_SECONDS = 1.0
#: Octets of a long reply that a client has to take within the idle time, which is 68 octets a second.
SLOWEST_OCTETS = 40 * 1024
#: Seconds that a client has to take the last words of its session when the server ends, and when it has to hurry.
LAST_WORDS_SECONDS = 5.0
HURRIED_SECONDS = 1.0

TOO_MANY = {
    Full.IN_ALL: _("too many connections, try again later"),
    Full.FROM_ADDRESS: _("too many connections from your address, end some of them or try again later"),
}
SHUTDOWN = _("the server is shutting down, try again later; nothing was deleted")


class Work(Protocol):
    """Carries out the requests of one session."""

    def carry_out(self, request: Request) -> Any:
        """The result, or a future of it; a Refusal may be raised."""

    @property
    def names(self) -> Iterable[Any]:
        """By any of which `Connections.end_some` knows the session; none where it cannot be ended like this."""

    def encrypted(self, tls: str) -> None:
        """The connection is encrypted from now on, by this version of TLS."""

    def leave(self, ending: Ending) -> None:
        """The session is over, or its connection gone. May be called again."""


@dataclass(frozen=True, slots=True)
class Limits:
    idle_seconds: float = 600
    login_seconds: float = 60


class Connections:
    """All connections of a worker, and what they share."""

    def __init__(
        self,
        *,
        welcome: Callable[[Arrival], tuple[Session, Work]],
        limits: Limits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.welcome = welcome
        self.limits = limits
        self.tls = tls
        self.open: set[Connection] = set()
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self._none_open = asyncio.Event()
        self._sweeping: asyncio.TimerHandle = self.loop.call_later(SWEEP_SECONDS, self._sweep)

    def connected(self, arrival: Arrival) -> asyncio.Protocol:
        """The protocol of a new connection, whose session begins."""
        return Connection(self, arrival)

    def lost(self, connection: "Connection") -> None:
        """A connection is gone."""
        self.open.discard(connection)
        if not self.open:
            self._none_open.set()

    def end_some(self, names: AbstractSet[Any], text: Text, ending: Ending) -> None:
        """End the sessions whose work has one of these names, with a word."""
        for connection in list(self.open):
            if not names.isdisjoint(connection.names):
                connection.end(text, ending)

    async def drain(self) -> None:
        """End every session with a word, and wait until each running UPDATE is done and answered."""
        await self._dismiss(LAST_WORDS_SECONDS)
        await self._wait_until_none_is_open(None)

    async def end(self) -> None:
        """Close what is open still; an UPDATE that is running goes on without its client."""
        self._sweeping.cancel()
        await self._dismiss(HURRIED_SECONDS)
        for connection in list(self.open):
            connection.abort()
        await self._wait_until_none_is_open(HURRIED_SECONDS)

    async def _dismiss(self, seconds: float) -> None:
        """Say that the server ends; who does not take it in so many seconds is dropped, but for those in UPDATE."""
        self.draining = True
        for connection in list(self.open):
            connection.end(SHUTDOWN, Ending.SERVER)
        await self._wait_until_none_is_open(seconds)
        for connection in list(self.open):
            if connection.ended:
                connection.abort()

    async def _wait_until_none_is_open(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.open:
                    self._none_open.clear()
                    await self._none_open.wait()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self.open):
            connection.check_time(now)
        self._sweeping = self.loop.call_later(SWEEP_SECONDS, self._sweep)


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_arrival",
        "_began",
        "_choked",
        "_due",
        "_early",
        "_encrypted",
        "_ending",
        "_eof",
        "_handshaking",
        "_lost",
        "_mark",
        "_reading",
        "_sent",
        "_server",
        "_session",
        "_since",
        "_transport",
        "_wire",
        "_work",
        "_working",
    )

    _session: Session
    _work: Work
    _transport: asyncio.Transport

    def __init__(self, server: Connections, arrival: Arrival) -> None:
        self._server = server
        self._arrival = arrival
        self._encrypted = arrival.encrypted
        self._wire = arrival.wire  # beneath TLS
        self._reading = True
        self._choked = False  # the client does not take what was sent
        self._working = False  # a request is being carried out
        self._due = False  # the next turn has been put on the loop
        self._handshaking = False
        self._early = b""
        self._eof = False
        self._lost = True
        self._sent = 0  # octets that the transport was given
        self._mark = (0, 0)
        self._ending: Ending | None = None  # where we end the session
        self._began = self._since = 0.0

    # --- What asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        server = self._server
        self._take_transport(transport)
        if server.draining or self._arrival.refused:
            self._turn_away(TOO_MANY[self._arrival.refused] if self._arrival.refused else SHUTDOWN)
            return
        self._session, self._work = server.welcome(self._arrival)
        self._lost = False
        self._began = self._since = server.loop.time()
        server.open.add(self)
        self._turn()

    def data_received(self, data: bytes) -> None:
        if self._handshaking:
            self._early += data  # TLS is up, the client uses it, and we have not been told yet
        elif not self._lost:
            self._session.receive(data)
            self._turn()

    def eof_received(self) -> bool:
        """The client sends no more, but may wait for answers to what it sent (not under TLS, which ends both ways)."""
        if self._lost or self._encrypted:
            return False
        self._eof = True
        self._turn()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrival.leave()
        if not self._lost:
            self._lost = True
            self._work.leave(self._ending or Ending.DROPPED)
            self._server.lost(self)

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        if not self._lost:
            self._turn()

    # --- What the server calls ---

    def end(self, text: Text, ending: Ending) -> None:
        """End the session from our side; it may have to wait for an UPDATE that has begun."""
        self._ending = self._ending or ending
        self._session.end(text)
        self._turn()

    @property
    def names(self) -> Iterable[Any]:
        """Those of the session's work."""
        return self._work.names

    @property
    def ended(self) -> bool:
        """Whether the session is over, and only its last octets are on their way."""
        return self._session.closed

    def abort(self) -> None:
        self._transport.abort()

    def check_time(self, now: float) -> None:
        """End the session where it took too long. Only commands and output that goes count as activity."""
        limits = self._server.limits
        commands, taken = self._session.commands, self._sent - self._transport.get_write_buffer_size()
        before, taken_before = self._mark
        # Who takes a little of much, now and then, would keep the rest of it in memory for ever.
        least = SLOWEST_OCTETS if self._choked else 1
        if commands != before or taken - taken_before >= least or self._working:
            self._mark, self._since = (commands, taken), now
        late = now - self._since > limits.idle_seconds
        if not self._session.logged_in:
            late = late or (now - self._began > limits.login_seconds and not self._working)
        if late:
            self._ending = self._ending or Ending.TIMED_OUT
            self._transport.abort()

    # --- Inside ---

    def _turn_away(self, text: Text) -> None:
        self._transport.write(Refusal(text, Code.SYS_TEMP).reply(ENGLISH))
        close(self._transport, self._wire)

    def _turn(self) -> None:
        """Send what the session has to say and begin the work it asks for, until it waits for something.

        A session with much to say gives way to the others after each OUTPUT_HIGH octets.
        """
        session = self._session
        sent = 0
        while True:
            more = not (self._choked or self._working) and session.advance()
            if output := session.output():
                sent += self._write(output)
            if session.closed:
                # Not when the client has taken the last words, which may be never.
                self._work.leave(self._ending or Ending.BROKEN_OFF)
                close(self._transport, self._wire)
                return
            if self._choked or self._working:
                break
            if session.request is not None:
                self._begin(session.request)
            elif not more:
                if self._eof:  # all is answered
                    self._transport.close()
                    return
                break
            if sent >= OUTPUT_HIGH:
                self._put_off()
                break
        if self._reading == session.full:
            self._mind_reading()

    def _put_off(self) -> None:
        """Go on when every other connection that has something to do has had its turn."""
        if not self._due:
            self._due = True
            self._server.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._due = False
        if not self._lost:
            self._turn()

    def _write(self, output: list[bytes]) -> int:
        """Hand octets to the transport; answers how many."""
        if len(output) == 1:
            octets = len(output[0])
            self._transport.write(output[0])
        elif (octets := sum(map(len, output))) <= JOIN_OCTETS:
            self._transport.write(b"".join(output))
        else:
            self._transport.writelines(output)
        self._sent += octets
        return octets

    def _mind_reading(self) -> None:
        """Read no more while the session is full, and again when it is not."""
        if not self._eof and not self._transport.is_closing():
            self._reading = not self._reading
            if self._reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _begin(self, request: Request) -> None:
        """Have the request carried out; what is at hand is answered before this returns."""
        if isinstance(request, StartTls):
            self._working = True
            if not self._transport.is_closing():
                self._transport.pause_reading()
            self._server.loop.create_task(self._start_tls()).add_done_callback(self._tls_started)
            return
        try:
            outcome = self._work.carry_out(request)
        except Refusal as refusal:
            outcome = refusal
        except Exception:
            logger.exception("%s: %s failed", self._arrival.address, type(request).__name__)
            self._session.fail()
            return
        if isinstance(outcome, asyncio.Future):
            self._answer_with(request, outcome)
        else:
            self._session.answer(outcome)

    def _answer_with(self, request: Request, outcome: "asyncio.Future[Any]") -> None:
        self._working = True
        outcome.add_done_callback(functools.partial(self._carried_out, type(request).__name__))

    def _carried_out(self, name: str, outcome: "asyncio.Future[Any]") -> None:
        self._working = False
        error = None if outcome.cancelled() else outcome.exception()
        ours = outcome.cancelled() or (error is not None and not isinstance(error, Refusal))
        if ours:
            # The request itself is not logged: there may be a password in it.
            logger.error(
                "%s: %s %s", self._arrival.address, name, "failed" if error else "was given up", exc_info=error
            )
        if self._lost:
            return
        if ours:
            self._session.fail(permanent=getattr(error, "permanent", False))
        else:
            self._session.answer(error or outcome.result())
        self._turn()

    async def _start_tls(self) -> None:
        """RFC 2595, 4. What the session had buffered it has thrown away; what the kernel holds is the handshake's."""
        server, transport = self._server, self._transport
        if server.tls is None:
            raise RuntimeError("TLS was begun without a certificate")
        self._handshaking = self._encrypted = True
        try:
            upgraded = await server.loop.start_tls(
                transport, self, server.tls, server_side=True, ssl_handshake_timeout=server.limits.login_seconds
            )
            if upgraded is None or upgraded.is_closing():
                raise ConnectionResetError
        except OSError as error:
            transport.abort()
            self.connection_lost(error)  # the transport is the handshake's by now and does not tell us
            raise Refusal(_("the TLS handshake failed")) from None
        self._wire = transport
        self._take_transport(upgraded)
        self._work.encrypted(self._tls_version())
        self._reading = True

    def _tls_started(self, outcome: "asyncio.Future[None]") -> None:
        self._handshaking = False
        self._carried_out("StartTls", outcome)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def _tls_version(self) -> str:
        """Such as TLSv1.3; empty without TLS."""
        found = self._transport.get_extra_info("ssl_object") if self._encrypted else None
        return str(found.version() or "") if found is not None else ""

    def _take_transport(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        self._transport.set_write_buffer_limits(WAITING_OCTETS)
