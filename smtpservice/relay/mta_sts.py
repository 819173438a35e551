"""MTA-STS (RFC 8461): a domain says over HTTPS which hosts take its mail, and that they have to prove who they are.

A policy is remembered for as long as it says, by this process, and read again when the record in the DNS has another
id. Where it cannot be read, the one that is remembered holds; where there is none, the domain has none.
"""

import asyncio
import http.client
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from smtpservice.relay.peer import dial
from smtpservice.relay.routes import RouteError, Router

logger = logging.getLogger(__name__)

#: Seconds the policy may take, and octets it may have (RFC 8461, 3.3).
FETCH_SECONDS = 20.0
POLICY_OCTETS = 64 * 1024
#: Seconds a policy is remembered at most (RFC 8461, 3.2: a year), and one that failed is not asked for again (3.3).
MAX_AGE = 31_557_600
AGAIN = 300.0
#: Policies remembered; beyond that the oldest is forgotten.
REMEMBERED = 10_000

_RECORD = re.compile(r"v=STSv1\s*;.*?\bid\s*=\s*([A-Za-z0-9]{1,32})\s*(?:;|$)")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain says (RFC 8461, 3.2); `mode` is enforce, testing or none."""

    mode: str
    hosts: tuple[str, ...]
    max_age: int

    def allows(self, host: str) -> bool:
        """Whether a host is one of the policy's; `*.` stands for one label (RFC 8461, 4.1)."""
        parent = "*." + host.partition(".")[2]
        return host in self.hosts or parent in self.hosts


@dataclass(slots=True)
class _Remembered:
    id: str
    policy: Policy | None
    until: float
    again: float = 0.0


class Policies:
    """The policies of domains. `port` and `context` are those of HTTPS; `clock` is in seconds."""

    def __init__(
        self,
        router: Router,
        *,
        port: int = 443,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router, self._port, self._clock = router, port, clock
        self._context = context or ssl.create_default_context()
        self._known: dict[str, _Remembered] = {}

    async def find(self, domain: str) -> Policy | None:
        """The policy that holds for mail to a domain; None where there is none. Never raises."""
        known, now = self._known.get(domain), self._clock()
        if known is not None and known.until <= now:
            known = None
        identity = await self._identity(domain)
        if identity and (known is None or known.id != identity) and not (known and now < known.again):
            known = await self._read(domain, identity, known)
        return known.policy if known else None

    async def _read(self, domain: str, identity: str, known: _Remembered | None) -> _Remembered:
        now = self._clock()
        try:
            policy = await self._fetch(domain)
        except (RouteError, OSError, ValueError, http.client.HTTPException, TimeoutError) as error:
            logger.warning("%s has an MTA-STS policy that cannot be read: %r", domain, error)
            # Remembered as none for a while, so that it is not asked for with each message.
            found = known or _Remembered("", None, now + AGAIN)
            found.again = now + AGAIN
            found.id = found.id or identity
        else:
            found = _Remembered(identity, policy, now + min(policy.max_age, MAX_AGE))
        self._known.pop(domain, None)
        self._known[domain] = found
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return found

    async def _identity(self, domain: str) -> str:
        """The id of the one record of the domain (RFC 8461, 3.1); "" where there is not one."""
        try:
            texts = await self._router.texts(f"_mta-sts.{domain}")
        except RouteError:
            return ""
        found = [match[1] for text in texts if (match := _RECORD.match(text))]
        return found[0] if len(found) == 1 else ""

    async def _fetch(self, domain: str) -> Policy:
        name = f"mta-sts.{domain}"
        async with asyncio.timeout(FETCH_SECONDS / 2):
            plain = await self._connected(name)
        with plain:  # until TLS takes its connection over
            encrypted = self._context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
        # However slowly the server goes on, its thread is free again then.
        ending = asyncio.get_running_loop().call_later(FETCH_SECONDS / 2, _break_off, encrypted)
        try:
            return parse(await asyncio.to_thread(self._get, name, encrypted))
        finally:
            ending.cancel()
            _break_off(encrypted)

    async def _connected(self, name: str) -> socket.socket:
        """A socket that is connected to the first address of a host that answers. Raises RouteError, OSError."""
        failed = OSError(f"{name} has no address")
        for address in await self._router.addresses(name):
            try:
                return await dial(address, self._port, FETCH_SECONDS / 4)
            except OSError as error:
                failed = error
        raise failed

    def _get(self, name: str, encrypted: ssl.SSLSocket) -> str:
        """The text at the well-known place, without following redirections (RFC 8461, 3.3)."""
        with encrypted:
            encrypted.settimeout(FETCH_SECONDS / 2)
            encrypted.do_handshake()
            connection = http.client.HTTPConnection(name)
            connection.sock = encrypted
            connection.request("GET", "/.well-known/mta-sts.txt", headers={"Connection": "close"})
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise OSError(f"{name} answers with {response.status}")
            if response.headers.get_content_type() != "text/plain":
                raise ValueError(f"{name} answers with {response.headers.get_content_type()}")
            body = response.read(POLICY_OCTETS + 1)
        if len(body) > POLICY_OCTETS:
            raise ValueError(f"the policy at {name} is too long")
        return body.decode("utf-8")


def _break_off(encrypted: ssl.SSLSocket) -> None:
    """Wake the thread that waits for this socket; it closes it."""
    with suppress(OSError):
        # Not SSLSocket's own, which takes away what the other thread reads from.
        socket.socket.shutdown(encrypted, socket.SHUT_RDWR)


def parse(text: str) -> Policy:
    """A policy as it is written (RFC 8461, 3.2). Raises ValueError."""
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    fields = [(key.strip(), value.strip()) for key, _, value in pairs]
    once = dict(reversed(fields))  # of a field that is there twice the first counts
    hosts = tuple(value.lower().rstrip(".") for key, value in fields if key == "mx")
    mode, age = once.get("mode", ""), once.get("max_age", "")
    if (
        once.get("version") != "STSv1"
        or mode not in {"enforce", "testing", "none"}
        or not re.fullmatch(r"\d{1,10}", age)
    ):
        raise ValueError("not an MTA-STS policy")
    if mode != "none" and not hosts:
        raise ValueError("an MTA-STS policy without hosts")
    return Policy(mode, hosts, int(age))
