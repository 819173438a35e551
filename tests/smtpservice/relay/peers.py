"""Other mail servers as a test wants them: each says what its script says, and keeps what it took."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

#: What a server of good will says.
GOOD = {
    "greeting": "220 peer.example ESMTP",
    "EHLO": "250-peer.example\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN",
    "HELO": "250 peer.example",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "end": "250 2.0.0 taken as 1",
    "RSET": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
    "STARTTLS": "220 2.0.0 go on",
    "AUTH": "235 2.7.0 welcome",
}
#: Instead of a reply: close the connection, or say nothing for ever.
DROP, SILENCE = "DROP", "SILENCE"


@dataclass
class Taken:
    """One message a peer has taken: the octets between DATA and the dot, as they came."""

    mail: str
    rcpt: list[str]
    data: bytes
    encrypted: bool


@dataclass
class ScriptedPeer:
    """A server on a port of 127.0.0.1. `script` says what differs from GOOD; a function gets the command line."""

    script: dict[str, str | Callable[[str], str]] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    port: int = 0
    slow: asyncio.Event | None = None

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator["ScriptedPeer"]:
        tasks: set[asyncio.Task[None]] = set()

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(serve, host, port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say(writer, "greeting", ""):
            return
        mail, rcpt, encrypted = "", [], False
        while line := (await reader.readline()).decode().removesuffix("\r\n"):
            verb = line.split(" ")[0].split(":")[0].upper()
            self.commands.append(line)
            code = await self._say(writer, verb, line)
            if not code or verb == "QUIT":
                return
            if verb == "MAIL":
                mail, rcpt = line, []
            elif verb == "RCPT" and code == "2":
                rcpt.append(line)
            elif verb == "DATA" and code == "3":
                data = await self._data(reader)
                answer = await self._say(writer, "end", data.decode("latin-1"))
                if answer == "2":
                    self.taken.append(Taken(mail, rcpt, data, encrypted))
                elif not answer:
                    return
            elif verb == "STARTTLS" and code == "2":
                await writer.start_tls(self.tls)
                encrypted = True

    async def _data(self, reader: asyncio.StreamReader) -> bytes:
        data = b"\r\n"
        while not data.endswith(b"\r\n.\r\n"):
            if self.slow is not None:
                await self.slow.wait()
            chunk = await reader.read(65536)
            if not chunk:
                raise ConnectionError
            data += chunk
        return data[2:-3]

    async def _say(self, writer: asyncio.StreamWriter, step: str, line: str) -> str:
        """Answer; the first digit of the code, or "" where the connection is to be closed."""
        answer = self.script.get(step, GOOD.get(step, "500 5.5.1 what?"))
        text = answer(line) if callable(answer) else answer
        if text == SILENCE:
            await asyncio.sleep(3600)
        if text == DROP:
            return ""
        if step == "EHLO" and self.tls is not None:
            text = text.replace("\r\n", "\r\n250-STARTTLS\r\n", 1)
        writer.write(text.encode() + b"\r\n")
        await writer.drain()
        return "" if text.startswith("421") else text[0]
