"""What the load generator can do: a server that answers with octets made before, from no mailbox and no database.

It is uvloop's transports and a dictionary of replies, so what is left is the kernel, TLS and the load generator. A
server whose figures come near these is measured by the load generator's limits, not by its own.

    python -m benchmarks.canned --port 1110 --tls-port 1995 --certfile cert.pem --keyfile key.pem
"""

import argparse
import asyncio
import contextlib
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.certificate import write_certificate
from benchmarks.load import STAT_REPLY
from benchmarks.messages import MAILBOXES, MESSAGES, OCTETS, login, message, reply_body
from benchmarks.servers import ROOT, Server, free_port, running


class Canned(asyncio.Protocol):
    """One client, who is believed everything."""

    __slots__ = ("_of_login", "_retr", "_transport")
    _transport: asyncio.Transport
    _retr: dict[bytes, bytes]

    def __init__(self, of_login: dict[bytes, dict[bytes, bytes]]) -> None:
        self._of_login = of_login

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is none by its type
        self._transport.write(b"+OK ready\r\n")

    def data_received(self, data: bytes) -> None:
        replies = []
        for line in data.split(b"\r\n")[:-1]:
            if line.startswith(b"RETR"):
                replies.append(self._retr[line])
            elif line == b"STAT":
                replies.append(STAT_REPLY + b"\r\n")
            else:
                if line.startswith(b"USER "):
                    self._retr = self._of_login[line]
                replies.append(b"+OK\r\n")
        self._transport.write(b"".join(replies))
        if data == b"QUIT\r\n":
            self._transport.close()


def made_before() -> dict[bytes, dict[bytes, bytes]]:
    """By the line of USER: the reply to each line of RETR."""
    begin = b"+OK %d octets\r\n" % OCTETS
    return {
        f"USER {login(mailbox)}".encode(): {
            b"RETR %d" % number: begin + reply_body(message(mailbox, number)) for number in range(1, MESSAGES + 1)
        }
        for mailbox in range(1, MAILBOXES + 1)
    }


async def serve(options: argparse.Namespace) -> None:
    of_login = made_before()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certfile, options.keyfile)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Canned(of_login), "127.0.0.1", options.tls_port, ssl=context)
    await loop.create_server(lambda: Canned(of_login), "127.0.0.1", options.port)
    await asyncio.Event().wait()


@contextlib.contextmanager
def canned(folder: Path) -> Iterator[Server]:
    port, tls_port = free_port(), free_port()
    files = write_certificate(folder)
    command = [sys.executable, "-m", "benchmarks.canned", "--port", str(port), "--tls-port", str(tls_port)]
    command += ["--certfile", str(files.certfile), "--keyfile", str(files.keyfile)]
    with running(command, port=port, log=folder / "log", cwd=ROOT) as process:
        yield Server(port, [process], tls_port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls-port", type=int, required=True)
    parser.add_argument("--certfile", required=True)
    parser.add_argument("--keyfile", required=True)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
