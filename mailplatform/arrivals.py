"""Who comes: what a server is told of a connection before its first command."""

import asyncio
from dataclasses import dataclass, field

from mailplatform.places import Full, Place


@dataclass(frozen=True, slots=True)
class Arrival:
    """One connection, as it is when its session begins.

    `address` is the client's IP address as text, also where a proxy stands between; empty where that does not tell it,
    so that nobody is trusted for the proxy's. `tls` is empty, or the version with which every part of the way is
    encrypted (but those parts that the operator trusts), such as TLSv1.3.
    """

    address: str
    tls: str = ""
    #: Whether a password may cross it as it is, unencrypted (promise 6).
    plaintext: bool = False

    #: What limits it: there may be no place for it, which the session has to say; it is given back at its end.
    place: Place | None = field(default=None, compare=False, repr=False)
    #: The transport beneath TLS, where the handshake came first; for `mailplatform.closing`.
    wire: asyncio.Transport | None = field(default=None, compare=False, repr=False)

    @property
    def refused(self) -> Full | None:
        return self.place.refused if self.place else None

    def leave(self) -> None:
        """The connection is over; may be called again."""
        if self.place:
            self.place.give_back()

    @property
    def encrypted(self) -> bool:
        return bool(self.tls)
