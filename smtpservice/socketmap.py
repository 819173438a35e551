"""The tables of addresses for Postfix, by its socketmap protocol (socketmap_table(5)): netstrings of `map key`.

Maps: `domains`, the domains that mail is taken for; `mailboxes`, addresses with a mailbox; `aliases`, what an address
leads to in the end, wildcards, details and forwarding included. There is no login: serve it on loopback alone.
"""

import asyncio
import logging

from accounts.lookup import find_local_domains, find_mailboxes
from accounts.routing import Route, find_routes
from mailplatform.bridge import Bridge

logger = logging.getLogger(__name__)

#: Octets of a request. An address has 320 characters at most.
REQUEST_OCTETS = 2000
_NOT_FOUND = "NOTFOUND "


class AddressTables:
    """Answers what the Postfix of this host asks, on any number of connections."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._open: set[asyncio.StreamWriter] = set()

    def connected(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=REQUEST_OCTETS), self._serve)

    def close(self) -> None:
        """End all connections; Postfix asks again."""
        for writer in self._open:
            writer.transport.abort()

    async def answer(self, request: str) -> str:
        """The reply to one request; never raises."""
        name, _, key = request.partition(" ")
        try:
            match name:
                case "domains":
                    return f"OK {key}" if await self._bridge.gather(find_local_domains, key) else _NOT_FOUND
                case "mailboxes":
                    found = await self._bridge.gather(find_mailboxes, key)
                    return f"OK {found.address}" if found is not None and found.is_active else _NOT_FOUND
                case "aliases":
                    return await self._aliases(key)
        except Exception:
            logger.exception("socketmap: %r was not looked up", request)
            return "TEMP the database does not answer"
        return "PERM no such map"

    async def _aliases(self, key: str) -> str:
        """Where mail for an address ends. What is its own mailbox alone, or nothing here, is no alias."""
        if not key.partition("@")[0]:
            return _NOT_FOUND  # Postfix asks for @domain too, whose catch-all is found by the address already
        route = await self._bridge.gather(find_routes, key)
        if not isinstance(route, Route):
            return _NOT_FOUND
        ends = [*(mailbox.address for mailbox in route.mailboxes), *(forward.address for forward in route.forwards)]
        return _NOT_FOUND if ends == [key.lower()] else f"OK {','.join(ends)}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                request = await _read_netstring(reader)
                reply = (await self.answer(request.decode("utf-8", "replace"))).encode()
                writer.write(b"%d:%s," % (len(reply), reply))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it has gone
        except (ValueError, asyncio.LimitOverrunError):
            logger.warning("socketmap: a request that is none")
        finally:
            self._open.discard(writer)
            writer.close()


async def _read_netstring(reader: asyncio.StreamReader) -> bytes:
    """Raises ValueError, asyncio.LimitOverrunError, asyncio.IncompleteReadError."""
    digits = (await reader.readuntil(b":"))[:-1]
    if not digits.isdigit() or len(digits) > 4 or int(digits) > REQUEST_OCTETS:
        raise ValueError(digits)
    content = await reader.readexactly(int(digits) + 1)
    if not content.endswith(b","):
        raise ValueError(content)
    return content[:-1]
