"""The processes of a mail server: gunicorn's arbiter, and workers that each run one asyncio loop.

gunicorn binds the sockets, forks the workers, replaces one that died or stopped beating, reloads on HUP, upgrades on
USR2, takes sockets from systemd and gives up root after binding. What a server adds is a subclass of ServerWorker,
which says what to do with a connection, and a list of Bind, which says where and as what it is served.

Settings of gunicorn itself (user, group, graceful_timeout, ...) come from its own GUNICORN_CMD_ARGS.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import uvloop
from django.conf import settings
from django.db import connections
from gunicorn import glogging
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from mailplatform.arrivals import Arrival
from mailplatform.certificates import Certificates
from mailplatform.gate import Gate
from mailplatform.networks import Networks
from mailplatform.places import LOOPBACK, Places

logger = logging.getLogger(__name__)

#: Connections that may wait to be accepted.
BACKLOG = 2048
#: Files a process may have open: every connection is one.
OPEN_FILES = 65_536
#: Seconds between heartbeats; the arbiter replaces a worker that is silent for 30.
BEAT_SECONDS = 1.0
#: Seconds between two looks for new certificates; two of them have to see the same.
CERTIFICATE_SECONDS = 3.0
#: Seconds that a worker waits which could not begin, so that the arbiter does not start one after the other.
FAILED_SECONDS = 1.0
#: A peer that has vanished is noticed: seconds without a word before the first question, between questions, and how
#: many stay without an answer. Each accepted connection inherits them from its listening socket.
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


@dataclass(frozen=True, slots=True)
class Bind:
    """An address and what is served there; `tls`: the connection begins with the handshake (RFC 8314)."""

    role: str
    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, role: str, text: str, *, tls: bool = False) -> "Bind":
        """Read HOST:PORT, [IPV6]:PORT or :PORT (all addresses). Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise ValueError(f"{text!r} is not HOST:PORT")
        bracketed = host.startswith("[") and host.endswith("]")
        if ":" in host and not bracketed:
            raise ValueError(f"{text!r}: an IPv6 address is written [ADDRESS]:PORT")
        return cls(role, (host[1:-1] if bracketed else host) or "0.0.0.0", int(port), tls)


def match_binds(binds: Sequence[Bind], ports: Sequence[int]) -> list[Bind]:
    """The bind of each listening socket, known by its port; by its place where the port says nothing.

    Sockets from systemd come in an order of their own, and port 0 becomes another one when it is bound.
    Raises ValueError where there are not as many sockets as binds.
    """
    if len(binds) != len(ports):
        raise ValueError(f"{len(ports)} sockets for {len(binds)} addresses")
    named = {bind.port: bind for bind in binds if [other.port for other in binds].count(bind.port) == 1}
    return [named.get(port, bind) for bind, port in zip(binds, ports, strict=True)]


class ServerWorker(Worker):
    """A worker process: the servers of one loop, until the arbiter asks it to end.

    A subclass gives `connected` and, where it has something to begin or to end, the other three. All run in the loop.
    """

    async def begin(self) -> None:
        """Make ready, before the first connection. An exception ends the process without `end`, another is started."""

    def connected(self, bind: Bind, arrival: Arrival) -> asyncio.Protocol:
        """The protocol of one new connection to `bind`, whose session begins.

        It says so where `arrival.refused`, and calls `arrival.leave()` at its end.
        """
        raise NotImplementedError

    async def drain(self) -> None:
        """Wait until the open sessions have come to an end; cancelled after graceful_timeout, or to hurry."""

    async def end(self) -> None:
        """Close what is still open; the loop ends after it."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What the certificate and key of the command line make; None where none were given."""
        context: ssl.SSLContext | None = self.app.tls
        return context

    @functools.cached_property
    def gate(self) -> Gate:
        """What every connection goes through before `connected`, by the settings of the project. In the loop."""
        most, most_each = self.limits()
        shared = Networks([*LOOPBACK, *settings.THROTTLE_EXEMPT_NETWORKS])
        return Gate(
            places=Places(most=most, most_each=most_each, shared=shared),
            proxies=Networks(settings.PROXY_NETWORKS),
            plaintext=Networks(settings.PLAINTEXT_NETWORKS),
            tls=self.tls,
        )

    def limits(self) -> tuple[int, int]:
        """How many connections there may be at once: in all, and from one address."""
        return OPEN_FILES, OPEN_FILES

    def init_signals(self) -> None:
        """Undo the arbiter's handlers; those of the worker are the loop's."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGWINCH, signal.SIG_IGN)
        signal.signal(signal.SIGABRT, self.handle_abort)

    def run(self) -> None:
        uvloop.run(self._serve())

    async def _serve(self) -> None:
        stop, hurry = asyncio.Event(), asyncio.Event()

        def end_at_once() -> None:
            hurry.set()
            stop.set()

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, end_at_once)
        loop.add_signal_handler(signal.SIGQUIT, end_at_once)
        beating = asyncio.create_task(self._beat(stop))
        watching = asyncio.create_task(self._watch_certificates())
        await self._begin_or_wait(stop)
        try:
            servers = [await self._listen(bind, listener) for bind, listener in self._listeners()]
            await stop.wait()
            for server in servers:
                server.close()
            self.gate.close()
            await self._drain_until(hurry)
        finally:
            await self.end()
            beating.cancel()
            watching.cancel()

    async def _begin_or_wait(self, stop: asyncio.Event) -> None:
        try:
            await self.begin()
        except Exception:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), FAILED_SECONDS)
            raise

    def _listeners(self) -> list[tuple[Bind, socket.socket]]:
        listeners: list[socket.socket] = [listener.sock for listener in self.sockets]
        ports = [listener.getsockname()[1] for listener in listeners]
        return list(zip(match_binds(self.app.binds, ports), listeners, strict=True))

    async def _listen(self, bind: Bind, listener: socket.socket) -> asyncio.Server:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if (option := getattr(socket, name, None)) is not None:  # not every system has them all
                listener.setsockopt(socket.IPPROTO_TCP, option, value)
        return await asyncio.get_running_loop().create_server(
            functools.partial(self.gate.entry, functools.partial(self.connected, bind), tls=bind.tls),
            sock=listener,
            backlog=BACKLOG,
        )

    async def _beat(self, stop: asyncio.Event) -> None:
        """Tell the arbiter that the loop turns; end with it when it is gone."""
        while True:
            self.notify()
            if os.getppid() != self.ppid:
                stop.set()
            await asyncio.sleep(BEAT_SECONDS)

    async def _watch_certificates(self) -> None:
        """Handshakes show a new certificate once it is there; what has been established goes on."""
        while (certificates := self.app.certificates) is not None:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            certificates.look()

    async def _drain_until(self, hurry: asyncio.Event) -> None:
        """Let sessions end by themselves for as long as the arbiter waits, less a second to close the others."""
        tasks = [asyncio.create_task(self.drain()), asyncio.create_task(_seen(hurry))]
        patience = max(self.cfg.graceful_timeout - 1, 1)
        _, unfinished = await asyncio.wait(tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for task in unfinished:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]


async def _seen(event: asyncio.Event) -> None:
    await event.wait()


class ProjectLog(glogging.Logger):
    """gunicorn's messages go where the project's go (settings.LOGGING), and in the same form."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self.error_log = logging.getLogger("gunicorn.error")
        self.access_log = logging.getLogger("gunicorn.access")
        self.error_log.propagate = True
        # What it says of a good start is about HTTP; `_announce` says it for mail.
        self.error_log.setLevel(logging.WARNING)


class ServerApplication(BaseApplication):
    """One server command: its addresses, its kind of worker and how many of them."""

    #: Settings that are the command line's own, not GUNICORN_CMD_ARGS'.
    FIXED: ClassVar[frozenset[str]] = frozenset({"bind", "workers", "worker_class", "certfile", "keyfile", "args"})

    def __init__(
        self,
        *,
        name: str,
        worker_class: type[ServerWorker],
        binds: Sequence[Bind],
        workers: int = 1,
        certificates: Certificates | None = None,
    ) -> None:
        self.name = name
        self.worker_class = worker_class
        self.binds = tuple(binds)
        self.workers = workers
        self.certificates = certificates
        #: Names this arbiter and its workers, through every reload.
        self.identity = uuid.uuid4()
        super().__init__()

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self.certificates.context if self.certificates else None

    def load_config(self) -> None:
        for key, value in vars(self.cfg.parser().parse_args(self.cfg.get_cmd_args_from_env())).items():
            if value is not None and key not in self.FIXED:
                self.cfg.set(key, value)
        ours: dict[str, Any] = {
            "bind": [str(bind) for bind in self.binds],
            "workers": self.workers,
            "worker_class": self.worker_class,
            "proc_name": self.name,
            "logger_class": ProjectLog,
            "control_socket_disable": True,
            "backlog": BACKLOG,
            "when_ready": self._announce,
            "pre_fork": self._before_a_worker,
            "post_fork": self._in_a_worker,
        }
        for key, value in ours.items():
            self.cfg.set(key, value)

    def reload(self) -> None:
        """HUP: read the certificates again, changed or not; where one cannot be read the old ones stay in use."""
        if self.certificates:
            try:
                self.certificates = self.certificates.anew()
            except OSError:
                logger.exception("%s: the certificate cannot be read, the last one stays in use", self.name)
        super().reload()

    def load(self) -> None:
        """There is no WSGI application."""

    def run(self) -> None:
        """Serve until a signal ends it; raises SystemExit then."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        connections.close_all()  # a connection must not be shared by the processes that are forked
        super().run()

    def _before_a_worker(self, arbiter: Any, worker: Any) -> None:
        """The workers renew their certificates themselves; one that is started later gets those of now.

        What is in memory by now stays for good: a worker's garbage collector leaves it alone, whose marks would make
        copies of all of it that the worker shares with the arbiter (19 MiB each; benchmarks.idle).
        """
        if self.certificates:
            self.certificates.renew()
        gc.freeze()

    def _in_a_worker(self, arbiter: Any, worker: ServerWorker) -> None:
        """Before it has handlers of its own, what is sent to the worker gets into its copy of the arbiter's queue, at
        which nobody looks: a server that was to end just then would wait for it for all of graceful_timeout."""
        worker.init_signals()
        while not arbiter.SIG_QUEUE.empty():
            if arbiter.SIG_QUEUE.get_nowait() in {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}:
                os.kill(os.getpid(), signal.SIGTERM)

    def _announce(self, arbiter: Any) -> None:
        ports = [listener.getsockname()[1] for listener in arbiter.LISTENERS]
        for bind, port in zip(match_binds(self.binds, ports), ports, strict=True):
            logger.info("%s: serving %s on %s port %d", self.name, bind.role, bind.host, port)
