"""Whose bearer token is this? Asked of whoever issued it, and remembered for a moment.

Who is asked is a class that OAUTH_INTROSPECTOR names; EndpointIntrospector asks a token endpoint (RFC 7662). Nothing
here keeps or logs a token: what is remembered stands under a keyed digest, until the token expires and for a minute at
most, so that a revoked one opens nothing for longer than that. The session that a token opened has it for as long as it
lasts (BearerToken), to ask again.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import re
import secrets
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote_plus, urlencode, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from accounts.hashing import TooBusyError

logger = logging.getLogger(__name__)

#: Seconds for which an answer is remembered, and how many of them.
REMEMBERED_SECONDS = 60.0
MOST_REMEMBERED = 10_000
#: A longer token is none: no issuer sends one, and the endpoint need not read it.
TOKEN_SIGNS = 8192
#: Seconds that an endpoint may take, from the name's resolution to the last octet; octets of its answer.
ANSWER_SECONDS = 10.0
ANSWER_OCTETS = 64 * 1024
#: Questions at the same time, and those that wait behind them.
THREADS = 4
MOST_WAITING = 100

# RFC 6750, 2.1: b64token.
_TOKEN = re.compile(rf"[A-Za-z0-9._~+/-]{{1,{TOKEN_SIGNS}}}=*")


class IntrospectionError(Exception):
    """The issuer could not be asked, or its answer could not be understood: an error of ours, and temporary."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a valid token stands for: a login name, until some second since the epoch, where that is known."""

    login: str
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token that has let somebody in, and when it runs out, in seconds since the epoch, where that is known."""

    secret: str = field(repr=False)
    expires_at: float | None = None


class Introspector(Protocol):
    """Asks for tokens. Made without arguments, one for each process."""

    async def introspect(self, token: str) -> Grant | None:
        """What the token stands for; None where it is not valid here. Raises IntrospectionError, TooBusyError."""
        ...

    def close(self) -> None:
        """Ask no more."""


class Tokens:
    """The tokens of one process. Used from its event loop alone."""

    def __init__(self, introspector: Introspector | None, clock: Callable[[], float] = time.time) -> None:
        self._introspector = introspector
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[Grant | None, float]] = OrderedDict()
        self._issuer_is_away = False

    async def grant(self, token: str) -> Grant | None:
        """What the token stands for; None where it is not valid. Raises IntrospectionError, TooBusyError.

        That the issuer cannot be asked is logged when it begins and when it is over.
        """
        if self._introspector is None or not _TOKEN.fullmatch(token):
            return None
        digest = hmac.digest(self._key, token.encode("ascii"), hashlib.sha256)
        grant, until = self._remembered.get(digest, (None, 0.0))
        if self._clock() < until:
            return grant
        try:
            grant = await self._introspector.introspect(token)
        except IntrospectionError as error:
            self._note_outage(error)
            raise
        self._note_outage(None)
        now = self._clock()
        until = now + REMEMBERED_SECONDS
        if grant is not None and grant.expires_at is not None:
            grant, until = (grant, min(until, grant.expires_at)) if now < grant.expires_at else (None, until)
        self._remembered[digest] = grant, until
        self._remembered.move_to_end(digest)
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return grant

    def _note_outage(self, failure: IntrospectionError | None) -> None:
        if failure is not None and not self._issuer_is_away:
            logger.warning("nobody can be asked about bearer tokens: %s", failure)
        elif failure is None and self._issuer_is_away:
            logger.warning("bearer tokens can be asked about again")
        self._issuer_is_away = failure is not None

    def close(self) -> None:
        if self._introspector is not None:
            self._introspector.close()


def make_introspector() -> Introspector | None:
    """The one that the settings name; None where tokens are not taken. Raises ImproperlyConfigured, ImportError."""
    if not settings.OAUTH_INTROSPECTOR:
        return None
    made: Introspector = import_string(settings.OAUTH_INTROSPECTOR)()
    return made


def endpoint_problem(url: str) -> str | None:
    """Why this URL will not do as an endpoint; None where it will."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https") or not host:
        return "it is not an https URL"
    if parts.username is not None or parts.fragment:
        return "it has a user or a fragment in it"
    if parts.scheme == "http" and not _is_loopback(host):
        return "tokens would cross the network in the clear"
    return None


class EndpointIntrospector:
    """Asks a token introspection endpoint (RFC 7662), as the client that the settings name."""

    def __init__(self) -> None:
        url = settings.OAUTH_INTROSPECTION_URL
        if problem := endpoint_problem(url):
            raise ImproperlyConfigured(f"OAUTH_INTROSPECTION_URL: {problem}")
        self._parts = urlsplit(url)
        self._target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        self._tls = ssl.create_default_context() if self._parts.scheme == "https" else None
        # RFC 6749, 2.3.1: each is encoded before they are joined.
        client = f"{quote_plus(settings.OAUTH_CLIENT_ID)}:{quote_plus(settings.OAUTH_CLIENT_SECRET)}"
        self._authorization = "Basic " + base64.b64encode(client.encode("ascii")).decode("ascii")
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="introspection")
        self._asked = 0

    async def introspect(self, token: str) -> Grant | None:
        """As Introspector says. Takes ANSWER_SECONDS at most, besides the waiting for other questions."""
        if self._asked >= THREADS + MOST_WAITING:
            raise TooBusyError
        self._asked += 1
        try:
            return _read_grant(await self._ask(token))
        finally:
            self._asked -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, token: str) -> bytes:
        loop = asyncio.get_running_loop()
        question = _Question(self._connection(), self._target, self._authorization, token)
        begun = asyncio.Event()
        answer = loop.run_in_executor(self._threads, question.ask, lambda: loop.call_soon_threadsafe(begun.set))
        try:
            await begun.wait()
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except (TimeoutError, OSError, http.client.HTTPException, ValueError) as error:
            raise IntrospectionError(f"the introspection endpoint failed: {type(error).__name__}: {error}") from error
        finally:
            # However it ended: a thread that did not begin will not, and one that waits still gets no answer.
            answer.cancel()
            question.break_off()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=ANSWER_SECONDS, context=self._tls)


class _Question:
    """One question to the endpoint and its answer, on a thread."""

    def __init__(self, connection: http.client.HTTPConnection, target: str, authorization: str, token: str) -> None:
        self._connection = connection
        self._target = target
        self._body = urlencode({"token": token})
        self._headers = {
            "Authorization": authorization,
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "Connection": "close",
        }
        self._socket: socket.socket | None = None

    def ask(self, begin: Callable[[], object]) -> bytes:
        """The body of the answer. Redirects are not followed: they would carry the token away."""
        begin()
        with contextlib.closing(self._connection) as connection:
            connection.connect()
            self._socket = connection.sock  # the connection lets go of it while the answer is still to be read
            connection.request("POST", self._target, self._body, self._headers)
            with contextlib.closing(connection.getresponse()) as response:
                body = response.read(ANSWER_OCTETS + 1)
        if response.status != http.client.OK:
            raise ValueError(f"status {response.status}")
        if len(body) > ANSWER_OCTETS:
            raise ValueError("the answer is too long")
        return body

    def break_off(self) -> None:
        """Wake the thread, wherever it waits; from any thread."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _read_grant(body: bytes) -> Grant | None:
    """What an answer says (RFC 7662, 2.2); None where the token is not active, or not for mail here."""
    try:
        answer: Any = json.loads(body)
        active = answer["active"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntrospectionError("the introspection endpoint did not answer as RFC 7662, 2.2 says") from error
    if active is not True:
        return None
    login, expires_at, scope = answer.get(settings.OAUTH_MAILBOX_CLAIM), answer.get("exp"), answer.get("scope", "")
    if not isinstance(login, str) or not login or not isinstance(scope, str):
        return None
    if not set(settings.OAUTH_REQUIRED_SCOPE.split()) <= set(scope.split()):
        return None
    return Grant(login, expires_at if isinstance(expires_at, int | float) else None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
