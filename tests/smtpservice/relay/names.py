"""A name server as a test wants it: records by name and type; what is not there does not exist."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass
class NameServer:
    """Answers on a UDP port, by default of 127.0.0.1. `records`: `name TYPE` -> values; a name in `away` gets SERVFAIL."""

    records: dict[str, list[str]] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    signed: bool = False
    silent: bool = False
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """As RELAY_NAME_SERVERS has it."""
        return f"127.0.0.1#{self.port}"

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator["NameServer"]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(self), local_addr=(host, port))
        self.port = transport.get_extra_info("sockname")[1]
        try:
            yield self
        finally:
            transport.close()

    def answer(self, wire: bytes) -> bytes:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        response = dns.message.make_response(query)
        if self.signed:
            response.flags |= dns.flags.AD
        if name in self.away:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif values := self.records.get(f"{name} {kind}"):
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *values))
        elif not any(known.split()[0] == name for known in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if not self._server.silent:
            self._transport.sendto(self._server.answer(data), address)
