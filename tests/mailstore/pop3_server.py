"""A POP3 server on a thread, of good will but for what its script says: it keeps what was said to it."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.db import connections

#: Instead of a reply: close the connection, or say nothing until the client goes.
DROP, SILENCE = b"DROP", b"SILENCE"
Reply = bytes | Callable[[str], bytes | None]


@dataclass
class ScriptedPop3:
    """`messages` are (unique-id, octets), in order. `script` has by verb ("" for the greeting) what is sent instead of
    the usual reply, line ends and all, or a function of the command's argument, whose None is the usual reply.
    """

    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    script: dict[str, Reply] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    commands: list[str] = field(default_factory=list)
    sessions: int = 0
    port: int = 0

    @contextlib.contextmanager
    def serving(self) -> Iterator["ScriptedPop3"]:
        threads, accepted = [], []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection = listener.accept()[0]
                        accepted.append(connection)
                        threads.append(threading.Thread(target=self._serve, args=(connection,)))
                        threads[-1].start()

            acceptor = threading.Thread(target=accept)
            acceptor.start()
            try:
                yield self
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                acceptor.join()
                for connection in accepted:
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(connection, socket.SHUT_RDWR)
                for thread in threads:
                    thread.join()

    def said(self, verb: str) -> list[str]:
        """The arguments with which a command was said."""
        return [line[len(verb) + 1 :] for line in self.commands if line.split()[0] == verb]

    def _serve(self, connection: socket.socket) -> None:
        self.sessions += 1
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            stack.callback(connections.close_all)  # of the database, which a script may ask
            stack.enter_context(connection)
            if self.implicit:
                connection = stack.enter_context(self.tls.wrap_socket(connection, server_side=True))
            self._session(connection, stack)

    def _session(self, connection: socket.socket, stack: contextlib.ExitStack) -> None:
        deleted: set[int] = set()
        lines = connection.makefile("rb")
        if not self._send(connection, self._scripted("", "") or b"+OK at your service\r\n"):
            return
        while line := lines.readline():
            command = line.decode().rstrip("\r\n")
            self.commands.append(command)
            verb, _, argument = command.partition(" ")
            reply = self._scripted(verb, argument) or self._usual(verb, argument, deleted)
            if not self._send(connection, reply):
                return
            if verb == "STLS" and reply.startswith(b"+OK"):
                connection = stack.enter_context(self.tls.wrap_socket(connection, server_side=True))
                lines = connection.makefile("rb")
            if verb == "QUIT":
                return

    def _scripted(self, verb: str, argument: str) -> bytes | None:
        reply = self.script.get(verb)
        return reply(argument) if callable(reply) else reply

    def _send(self, connection: socket.socket, reply: bytes) -> bool:
        if reply == SILENCE:
            connection.recv(1)
        if reply in (DROP, SILENCE):
            return False
        connection.sendall(reply)
        return True

    def _usual(self, verb: str, argument: str, deleted: set[int]) -> bytes:
        listed = [(n, *each) for n, each in enumerate(self.messages, start=1) if n not in deleted]
        if verb == "UIDL":
            return b"+OK\r\n" + b"".join(b"%d %b\r\n" % (n, uid) for n, uid, _ in listed) + b".\r\n"
        if verb == "LIST":
            return b"+OK\r\n" + b"".join(b"%d %d\r\n" % (n, len(octets)) for n, _, octets in listed) + b".\r\n"
        if verb == "RETR":
            octets = self.messages[int(argument) - 1][1]
            stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
            return b"+OK\r\n" + stuffed + (b"" if octets.endswith(b"\r\n") or not octets else b"\r\n") + b".\r\n"
        if verb == "DELE":
            deleted.add(int(argument))
        if verb == "QUIT":
            self.messages = [each for n, each in enumerate(self.messages, start=1) if n not in deleted]
        return b"+OK\r\n"
