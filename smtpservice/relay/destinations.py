"""Whom to connect to for a domain, and how: its own hosts, or a smarthost that takes everything.

Both answer with attempts in the order in which they are to be made; none of them has been made when it is handed out.
"""

import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from smtpservice.relay.peer import Peer, Security, Timeouts, TlsError
from smtpservice.relay.routes import RouteError, Router

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One address of one host. `connect` raises smtpservice.relay.peer.PeerError."""

    name: str
    address: str
    connect: Callable[[], Awaitable[Peer]]


class Destination(Protocol):
    """Where mail goes. `together`: all domains go to the same hosts, over the same connections."""

    together: bool

    def attempts(self, domain: str) -> AsyncGenerator[Attempt, None]:
        """What to try for a domain, the best first. Raises smtpservice.relay.routes.RouteError."""


class MailExchanges:
    """The hosts of each domain, by its MX records; encrypted where they offer it (RFC 3207; RFC 7435)."""

    together = False

    def __init__(self, router: Router, *, hostname: str, port: int = 25, timeouts: Timeouts | None = None) -> None:
        self._router, self._hostname, self._port = router, hostname, port
        self._timeouts = timeouts or Timeouts()
        self._unverified = unverified_tls()

    async def attempts(self, domain: str) -> AsyncGenerator[Attempt, None]:
        unknown: RouteError | None = None
        for exchange in await self._router.exchanges(domain):
            try:
                addresses = await self._router.addresses(exchange.name)
            except RouteError as error:  # another host may be known all the same
                unknown = error
                continue
            for address in addresses:
                yield Attempt(exchange.name, address, self._connecting(exchange.name, address))
        if unknown is not None:
            raise unknown

    def _connecting(self, name: str, address: str) -> Callable[[], Awaitable[Peer]]:
        async def connect() -> Peer:
            try:
                return await self._connect(name, address, Security(self._unverified, name))
            except TlsError as error:
                # Nobody has promised that there is TLS, and without it the mail would not arrive at all.
                logger.info("%s [%s]: in the clear: %s", name, address, error)
                return await self._connect(name, address, None)

        return connect

    async def _connect(self, name: str, address: str, security: Security | None) -> Peer:
        return await Peer.connect(
            address, self._port, name=name, hostname=self._hostname, security=security, timeouts=self._timeouts
        )


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to a smarthost."""

    user: str
    password: str


class Smarthost:
    """One host that takes everything, with TLS that is verified unless `tls` is none, and a login."""

    together = True

    def __init__(
        self,
        router: Router,
        *,
        host: str,
        port: int,
        tls: str,
        login: Login | None,
        hostname: str,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._router, self._host, self._port, self._login, self._hostname = router, host, port, login, hostname
        self._timeouts = timeouts or Timeouts()
        self._security = None
        if tls != "none":
            context = ssl.create_default_context()
            self._security = Security(context, host, required=True, implicit=tls == "tls")

    async def attempts(self, domain: str) -> AsyncGenerator[Attempt, None]:
        for address in await self._router.addresses(self._host):
            yield Attempt(self._host, address, self._connecting(address))

    def _connecting(self, address: str) -> Callable[[], Awaitable[Peer]]:
        async def connect() -> Peer:
            peer = await Peer.connect(
                address,
                self._port,
                name=self._host,
                hostname=self._hostname,
                security=self._security,
                timeouts=self._timeouts,
            )
            if self._login is not None:
                await peer.login(self._login.user, self._login.password)
            return peer

        return connect


def unverified_tls() -> ssl.SSLContext:
    """TLS that keeps listeners out, whoever is at the other end: an MX record by itself proves no name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
