"""The server that the conformance tests are pointed at, and the ways of putting mail into its one mailbox."""

import os
import shutil
import smtplib
import ssl
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Loader = Callable[[bytes], None]


@dataclass
class Target:
    """A POP3 server with an account whose mailbox is for these tests: they delete what is in it."""

    #: Where it serves in the clear, and with TLS from the first octet.
    plain: tuple[str, int]
    tls: tuple[str, int]
    user: str
    password: str
    load: Loader
    #: Whether `load` keeps a message to the octet; LMTP puts a header on top.
    exact: bool = True
    #: The host's name in its certificate, and the authorities to trust beside the system's.
    name: str = "localhost"
    authorities: Path | None = None

    def trust(self) -> ssl.SSLContext:
        """A context for one connection."""
        return ssl.create_default_context(cafile=str(self.authorities) if self.authorities else None)

    def holds(self, retrieved: bytes, message: bytes) -> bool:
        """Whether what a client got is this message, in canonical form."""
        return retrieved == message if self.exact else retrieved.endswith(message)


def address(text: str) -> tuple[str, int]:
    """HOST:PORT. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


def loader(how: str) -> tuple[Loader, bool]:
    """A way of loading, and whether it is exact, from lmtp://HOST:PORT/ADDRESS, maildir:FOLDER or a command."""
    if how.startswith("lmtp://"):
        server, _, recipient = how.removeprefix("lmtp://").partition("/")
        return by_lmtp(*address(server), recipient), False
    if how.startswith("maildir:"):
        return into_maildir(Path(how.removeprefix("maildir:"))), True
    return by_command(how), True


def by_lmtp(host: str, port: int, recipient: str) -> Loader:
    def load(message: bytes) -> None:
        with smtplib.LMTP(host, port) as client:
            client.sendmail("conformance@example.org", [recipient], message)

    return load


def into_maildir(folder: Path) -> Loader:
    """Files as a delivery program writes them, owned by the owner of the folder, in the order of their names."""
    names = iter(range(1_700_000_000, 1_800_000_000))

    def load(message: bytes) -> None:
        made = folder / "tmp" / f"{next(names)}.{uuid.uuid4().hex}.conformance"
        made.write_bytes(message)
        if os.getuid() == 0:
            owner = folder.stat()
            shutil.chown(made, owner.st_uid, owner.st_gid)
        made.rename(folder / "new" / made.name)

    return load


def by_command(command: str) -> Loader:
    """A shell command that takes one message on its standard input."""

    def load(message: bytes) -> None:
        subprocess.run(["sh", "-c", command], input=message, check=True, capture_output=True, timeout=60)

    return load
