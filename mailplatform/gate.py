"""Between the sockets and the sessions: the header of a proxy, then the TLS handshake, then the session begins.

The same for every mail server; a session learns of it by its Arrival alone. The header comes before the handshake, so
every socket is accepted without TLS, and of what follows a header nothing is read before it is known whose it is.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import cast

# What loop.create_server(ssl=...) puts on a socket. It has no public way to be put there later but start_tls, which
# cannot take over a connection in connection_made, before something was read.
from uvloop.loop import SSLProtocol  # type: ignore[attr-defined]

from mailplatform.arrivals import Arrival
from mailplatform.networks import Networks
from mailplatform.places import Places
from mailplatform.proxies import Header, HeaderError, Origin

logger = logging.getLogger(__name__)

#: Seconds that a proxy has for its header, and a client for the TLS handshake.
HEADER_SECONDS = 10.0
HANDSHAKE_SECONDS = 30.0

#: Makes the protocol of a connection whose session begins.
Connected = Callable[[Arrival], asyncio.Protocol]


class Gate:
    """What all connections of a worker go through. Made in the loop."""

    def __init__(
        self, *, places: Places, proxies: Networks, plaintext: Networks, tls: ssl.SSLContext | None = None
    ) -> None:
        self.places = places
        self.proxies = proxies
        self.plaintext = plaintext
        self.tls = tls
        #: Connections whose session has not begun, but for those that it does at once.
        self.waiting: set[asyncio.Transport] = set()
        self.loop = asyncio.get_running_loop()

    def entry(self, connected: Connected, *, tls: bool) -> asyncio.Protocol:
        """The protocol of a connection that is accepted; `tls`: it begins with the handshake."""
        return _Entry(self, connected, tls)

    def close(self) -> None:
        """End the connections whose session has not begun."""
        for transport in list(self.waiting):
            transport.abort()

    def direct(self, address: str, *, counted: bool = True) -> Arrival | None:
        """Somebody without a proxy, or a proxy on its own account; None: there is no place, not even to say so."""
        place = self.places.take(address, counted=counted)
        return Arrival(address, "", address in self.plaintext, place) if place else None

    def handed_on(self, proxy: str, origin: Origin) -> Arrival | None:
        """Somebody for whom a proxy speaks. What crosses in the clear crosses both parts of the way."""
        near = proxy in self.plaintext
        place = self.places.take(origin.address, counted=bool(origin.address))
        if place is None:
            return None
        plaintext = near and origin.address in self.plaintext
        return Arrival(origin.address, origin.tls if near else "", plaintext, place)


def _begin(transport: asyncio.Transport, connected: Connected, arrival: Arrival) -> None:
    protocol = connected(arrival)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)


class _Entry(asyncio.Protocol):
    """A connection that was just accepted: who is it, and with what does it begin?"""

    __slots__ = ("_connected", "_gate", "_tls")

    def __init__(self, gate: Gate, connected: Connected, tls: bool) -> None:
        self._gate = gate
        self._connected = connected
        self._tls = tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        peer = connection.get_extra_info("peername")
        if not peer:  # it has gone already, and would be taken for somebody who is no proxy
            connection.abort()
            return
        address = _spelled(str(peer[0]))
        if address in self._gate.proxies:
            header = _AwaitedHeader(self._gate, address, lambda arrival: self._admit(connection, arrival))
            connection.set_protocol(header)
            header.connection_made(connection)
        else:
            self._admit(connection, self._gate.direct(address))

    def _admit(self, transport: asyncio.Transport, arrival: Arrival | None) -> None:
        if arrival is None:
            transport.abort()
        elif self._tls:
            _shake_hands(self._gate, transport, self._connected, arrival)
        else:
            _begin(transport, self._connected, arrival)


class _AwaitedHeader(asyncio.BufferedProtocol):
    """A connection from a proxy, until its header is read. Each read is of so many octets that it cannot go beyond."""

    def __init__(self, gate: Gate, proxy: str, admit: Callable[[Arrival | None], None]) -> None:
        self._gate = gate
        self._proxy = proxy
        self._admit = admit
        self._header = Header()
        self._buffer = bytearray(self._header.wanted)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._gate.waiting.add(self._transport)
        self._timer = self._gate.loop.call_later(HEADER_SECONDS, self._give_up, "nothing, or the beginning of one")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            origin = self._header.receive(bytes(self._buffer[:nbytes]))
        except HeaderError as error:
            self._give_up(str(error))
            return
        if origin is None:
            self._buffer = bytearray(self._header.wanted)
            return
        self._let_go()
        gate, proxy = self._gate, self._proxy
        self._admit(gate.direct(proxy, counted=False) if origin.proxy_itself else gate.handed_on(proxy, origin))

    def connection_lost(self, error: Exception | None) -> None:
        self._let_go()  # one that says nothing and goes has looked whether somebody listens

    def _let_go(self) -> None:
        self._timer.cancel()
        self._gate.waiting.discard(self._transport)

    def _give_up(self, came: str) -> None:
        """PROXY protocol, 2: whether there is a header is not guessed."""
        logger.warning("%s is in PROXY_NETWORKS, and instead of a PROXY header there came %s", self._proxy, came)
        self._transport.abort()


def _shake_hands(gate: Gate, transport: asyncio.Transport, connected: Connected, arrival: Arrival) -> None:
    """Begin TLS on a connection of which nothing was read; the session begins when it is up."""
    if gate.tls is None:
        raise RuntimeError("TLS is served without a certificate")

    if arrival.place and not arrival.place.shake_hands():
        logger.info("%s: too many TLS handshakes at once", arrival.address)
        arrival.leave()
        transport.abort()
        return
    encrypted = _Encrypted(connected, arrival, transport)

    def done(outcome: "asyncio.Future[None]") -> None:
        gate.waiting.discard(transport)
        if arrival.place:
            arrival.place.hands_are_shaken()
        if not encrypted.begun:
            arrival.leave()
        error = None if outcome.cancelled() else outcome.exception()
        # One that goes in the middle has looked whether somebody listens, as proxies do.
        if error is not None and not isinstance(error, ConnectionResetError):
            logger.info("%s: the TLS handshake failed: %s", arrival.address, error)

    waiter = gate.loop.create_future()
    waiter.add_done_callback(done)
    gate.waiting.add(transport)
    handshake = SSLProtocol(
        gate.loop,
        encrypted,
        gate.tls,
        waiter,
        server_side=True,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
    )
    transport.set_protocol(handshake)
    handshake.connection_made(transport)


class _Encrypted(asyncio.Protocol):
    """A connection whose handshake is under way."""

    __slots__ = ("_arrival", "_connected", "_wire", "begun")

    def __init__(self, connected: Connected, arrival: Arrival, wire: asyncio.Transport) -> None:
        self._connected = connected
        self._arrival = arrival
        self._wire = wire
        self.begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        self.begun = True
        version = transport.get_extra_info("ssl_object").version()
        arrival = Arrival(self._arrival.address, tls=version, place=self._arrival.place, wire=self._wire)
        _begin(cast(asyncio.Transport, transport), self._connected, arrival)


def _spelled(address: str) -> str:
    """An IPv4 address that came to a socket of IPv6 as itself (RFC 4291, 2.5.5.2)."""
    return address.removeprefix("::ffff:") if "." in address else address
