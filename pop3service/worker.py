"""The processes: gunicorn's arbiter runs them, each an event loop that serves the sockets the arbiter has bound.

From gunicorn come pre-forking, the restart of a worker that died, the heartbeat that ends one that hangs, HUP, USR2,
systemd sockets and dropping root after ports 110 and 995 are bound. Here is what runs inside.
"""

import asyncio
import functools
import ipaddress
import logging
import os
import signal
import ssl
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvloop
from django.conf import settings
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from accounts import activity
from accounts.passwords import PasswordChecker
from mailplatform.bridge import Bridge
from pop3service import workers
from pop3service.access import Keeper, Visit
from pop3service.protocol import Session
from pop3service.server import Arrival, Limits, Server
from pop3service.states import Channel

logger = logging.getLogger(__name__)

#: Seconds between signs of life to the arbiter, which ends a worker that gives none for TIMEOUT seconds.
NOTIFY_SECONDS = 1.0
TIMEOUT = 30
#: Seconds that sessions have for their last octets when the worker ends; the arbiter kills it after GRACEFUL_TIMEOUT.
LAST_WORDS_SECONDS = 5.0
GRACEFUL_TIMEOUT = 15
#: Seconds between writes of the counted logins.
FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """What `pop3serve` was told: addresses as HOST:PORT, files of the certificate and its key."""

    binds: Sequence[str]
    tls_binds: Sequence[str] = ()
    certfile: str = ""
    keyfile: str = ""
    workers: int = 1


def make_tls_context(certfile: str, keyfile: str) -> ssl.SSLContext | None:
    """TLS for implicit TLS and STLS; None without a certificate. Raises OSError (ssl.SSLError is one)."""
    if not certfile:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.set_alpn_protocols(["pop3"])
    context.load_cert_chain(certfile, keyfile or None)
    return context


class Pop3Application(BaseApplication):
    """What gunicorn's arbiter is given: its configuration, and what its workers need."""

    def __init__(self, options: Options) -> None:
        self.options = options
        #: Names this arbiter in the rows of its workers, through every reload.
        self.arbiter = uuid.uuid4()
        self.tls = make_tls_context(options.certfile, options.keyfile)
        super().__init__()

    def load_config(self) -> None:
        options = self.options
        for name, value in {
            "bind": [*options.binds, *options.tls_binds],
            "workers": options.workers,
            "worker_class": Pop3Worker,
            "timeout": TIMEOUT,
            "graceful_timeout": GRACEFUL_TIMEOUT,
            "proc_name": "pop3serve",
            "control_socket_disable": True,
        }.items():
            self.cfg.set(name, value)

    def reload(self) -> None:
        """HUP: the workers that follow serve the certificate that is in the files now."""
        try:
            self.tls = make_tls_context(self.options.certfile, self.options.keyfile)
        except OSError:
            logger.exception("the new certificate cannot be read, the old one stays")
        super().reload()

    def load(self) -> None:
        """There is no WSGI application."""


class Pop3Worker(Worker):
    """One process with one loop."""

    app: Pop3Application

    def init_signals(self) -> None:
        """Those of the loop are set in `_serve`; until then a signal ends the process, which holds nothing yet."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self._reopen_logs)
        signal.signal(signal.SIGWINCH, signal.SIG_IGN)
        signal.siginterrupt(signal.SIGUSR1, False)

    def run(self) -> None:
        uvloop.run(self._serve())

    def _reopen_logs(self, _: int, __: FrameType | None) -> None:
        self.log.reopen_files()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        ending = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, ending.set)
        me = uuid.uuid4()
        bridge = Bridge()
        await bridge.run(functools.partial(workers.register, worker=me, arbiter=self.app.arbiter))
        checker = await asyncio.to_thread(PasswordChecker, settings.CREDENTIAL_CACHE_SECONDS)
        keeper = Keeper(bridge=bridge, checker=checker, worker=me)
        tls = self.app.tls
        limits = Limits(settings.POP3_IDLE_SECONDS, settings.POP3_LOGIN_SECONDS, settings.POP3_MAX_CONNECTIONS)
        server = Server(welcome=Reception(keeper, starttls=tls is not None), limits=limits, tls=tls)
        for listener in self.sockets:
            await server.listen(listener.sock, encrypted=self._is_tls(listener.sock.getsockname()))
        chores = [
            asyncio.create_task(self._stay_alive(ending)),
            asyncio.create_task(
                _repeat(bridge, workers.BEAT_SECONDS, workers.beat, worker=me, arbiter=self.app.arbiter)
            ),
            asyncio.create_task(_repeat(bridge, FLUSH_SECONDS, activity.flush)),
        ]
        await ending.wait()
        await server.close(seconds=LAST_WORDS_SECONDS)
        await keeper.close()
        for chore in chores[1:]:
            chore.cancel()
        await self._say_goodbye(bridge, me)
        chores[0].cancel()

    async def _stay_alive(self, ending: asyncio.Event) -> None:
        """Tell the arbiter that the loop turns; end where the arbiter has died."""
        while True:
            self.notify()
            if self.ppid != os.getppid():
                logger.warning("the arbiter has died, this worker ends")
                ending.set()
            await asyncio.sleep(NOTIFY_SECONDS)

    async def _say_goodbye(self, bridge: Bridge, me: uuid.UUID) -> None:
        for work in (activity.flush, functools.partial(workers.retire, worker=me)):
            try:
                await bridge.run(work)
            except Exception:  # the database is away: the row goes stale by itself
                logger.exception("the last write of this worker failed")
        await bridge.close()

    def _is_tls(self, address: Any) -> bool:
        """Whether this socket is one of --tls-bind; its port says so, since no port is in both lists."""
        return address[1] in {int(bind.rpartition(":")[2]) for bind in self.app.options.tls_binds}


class Reception:
    """Gives each connection its session and its way to the maildrop."""

    def __init__(self, keeper: Keeper, *, starttls: bool) -> None:
        self._keeper = keeper
        self._starttls = starttls
        self._networks = [ipaddress.ip_network(each, strict=False) for each in settings.PLAINTEXT_NETWORKS]
        self._trusts = functools.lru_cache(maxsize=4096)(self._is_listed)

    def __call__(self, arrival: Arrival) -> tuple[Session, Visit]:
        channel = Channel(
            hostname=settings.MAIL_HOSTNAME,
            encrypted=arrival.encrypted,
            starttls=self._starttls,
            plaintext=self._trusts(arrival.host),
        )
        return Session(channel), self._keeper.visit()

    def _is_listed(self, host: str) -> bool:
        """Whether a password may cross an unencrypted connection from this address (promise 6)."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


async def _repeat(bridge: Bridge, seconds: float, work: Any, **arguments: Any) -> None:
    """Do a chore in the database again and again; an error is logged, and the next turn tries anew."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await bridge.run(functools.partial(work, **arguments))
        except Exception:
            logger.exception("%s failed", work.__qualname__)
