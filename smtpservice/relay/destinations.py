"""Whom to connect to for a domain, and how: its own hosts, or a smarthost that takes everything.

Both answer with attempts in the order in which they are to be made; none of them has been made when it is handed out.
"""

import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from smtpservice.relay import dane
from smtpservice.relay.mta_sts import Policies, Policy
from smtpservice.relay.outcomes import PeerReply
from smtpservice.relay.peer import Peer, Security, Timeouts, TlsError
from smtpservice.relay.routes import Exchange, RouteError, Router

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


@dataclass(frozen=True, slots=True)
class Trust:
    """What is known of a host's TLS before it is connected to, and in a word for the log."""

    security: Security
    word: str


class MailExchanges:
    """The hosts of each domain, by its MX records; encrypted where they offer it (RFC 3207; RFC 7435).

    What a domain says of its hosts is held against them: with `policies` MTA-STS, with `dane` DANE, which comes first
    (RFC 8461, 2). `verified` is what MTA-STS verifies certificates with.
    """

    together = False

    def __init__(
        self,
        router: Router,
        *,
        hostname: str,
        port: int = 25,
        timeouts: Timeouts | None = None,
        policies: Policies | None = None,
        dane: bool = False,
        verified: ssl.SSLContext | None = None,
    ) -> None:
        self._router, self._hostname, self._port = router, hostname, port
        self._timeouts = timeouts or Timeouts()
        self._policies, self._dane = policies, dane
        self._verified = verified or ssl.create_default_context()
        self._unverified = unverified_tls()

    async def attempts(self, domain: str) -> AsyncGenerator[Attempt, None]:
        policy = await self._policies.find(domain) if self._policies else None
        failed: RouteError | None = None
        for exchange in await self._router.exchanges(domain):
            try:
                _check(policy, domain, exchange.name)
                addresses = await self._router.addresses(exchange.name)
                trust = await self._trust(domain, exchange, policy)
            except RouteError as error:  # another host may do all the same
                failed = error
                continue
            for address in addresses:
                yield Attempt(exchange.name, address, self._connecting(exchange.name, address, trust))
        if failed is not None:
            raise failed

    async def _trust(self, domain: str, exchange: Exchange, policy: Policy | None) -> Trust:
        """What the TLS of a host of a domain has to be. Raises RouteError where the DNS does not tell."""
        name = exchange.name
        records = await dane.find(self._router, name, self._port) if self._dane and exchange.secure else []
        if records:
            verify = dane.verifier(records, [name, domain])
            word = "TLS verified by DANE" if verify else "TLS, as DANE asks for in a way that is not verified here"
            return Trust(Security(self._unverified, name, required=True, verify=verify), word)
        if policy is not None and policy.mode == "enforce":
            return Trust(Security(self._verified, name, required=True), "TLS verified by MTA-STS")
        return Trust(Security(self._unverified, name), "TLS, not verified")

    def _connecting(self, name: str, address: str, trust: Trust) -> Callable[[], Awaitable[Peer]]:
        async def connect() -> Peer:
            try:
                peer = await self._connect(name, address, trust.security)
            except TlsError as error:
                if trust.security.required:
                    raise
                # Nobody has promised that there is TLS, and without it the mail would not arrive at all.
                logger.info("%s [%s]: TLS fails: %s", name, address, error)
                peer = await self._connect(name, address, None)
            logger.info("%s [%s]: connected, %s", name, address, trust.word if peer.is_encrypted else "in the clear")
            return peer

        return connect

    async def _connect(self, name: str, address: str, security: Security | None) -> Peer:
        return await Peer.connect(
            address, self._port, name=name, hostname=self._hostname, security=security, timeouts=self._timeouts
        )


def _check(policy: Policy | None, domain: str, host: str) -> None:
    """Raise RouteError where a host is none of those that the domain's MTA-STS policy has (RFC 8461, 5)."""
    if policy is None or policy.mode == "none" or policy.allows(host):
        return
    logger.warning("%s: %s is not in its MTA-STS policy (%s)", domain, host, policy.mode)
    if policy.mode == "enforce":
        raise RouteError(PeerReply(451, "4.7.5", f"{host} is not in the MTA-STS policy of {domain}"))


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
