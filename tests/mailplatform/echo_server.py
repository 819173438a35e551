"""A server on mailplatform.processes that answers each line with its process id and what it knows of the connection."""

import asyncio
import gc
import os
import socket
import sys
from pathlib import Path

import django

from mailplatform import processes
from mailplatform.arrivals import Arrival
from mailplatform.certificates import Certificates, Files
from mailplatform.processes import Bind, ServerApplication, ServerWorker


class Echo(asyncio.Protocol):
    def __init__(self, worker: "EchoWorker", bind: Bind) -> None:
        self.worker = worker
        self.bind = bind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.worker.open.add(self)

    def data_received(self, data: bytes) -> None:
        connection = self.transport.get_extra_info("socket")
        keepalive = bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        idle = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        said = self.bind.role, os.getpid(), keepalive, idle, self.worker.app.identity, gc.get_freeze_count()
        self.transport.write(" ".join(map(str, said)).encode() + b"\n")

    def connection_lost(self, error: Exception | None) -> None:
        self.worker.open.discard(self)
        if not self.worker.open:
            self.worker.empty.set()


def fail_if_broken(directory: Path) -> None:
    if (directory / "broken").exists():
        (directory / f"tried-{os.getpid()}").touch()
        raise OSError("the database is away")


class EchoWorker(ServerWorker):
    async def begin(self) -> None:
        fail_if_broken(Path(sys.argv[1]))
        self.open: set[Echo] = set()
        self.empty = asyncio.Event()

    def connected(self, bind: Bind, arrival: Arrival) -> Echo:
        return Echo(self, bind)

    async def drain(self) -> None:
        if self.open:
            self.empty.clear()
            await self.empty.wait()

    async def end(self) -> None:
        os.close(os.open(f"{sys.argv[1]}/ended-{os.getpid()}", os.O_CREAT))


if __name__ == "__main__":
    django.setup()
    directory, plain, tls = sys.argv[1:]
    processes.CERTIFICATE_SECONDS = 0.2
    ServerApplication(
        name="echo",
        worker_class=EchoWorker,
        binds=[Bind("plain", "127.0.0.1", int(plain)), Bind("tls", "127.0.0.1", int(tls), tls=True)],
        workers=2,
        certificates=Certificates([Files(Path(directory, "cert.pem"), Path(directory, "key.pem"))], ["echo"]),
    ).run()
