"""Questions to the DNS about whoever sends mail here, one after the other, with an end to how long they take.

A name that does not exist, or has no such records, is an answer; silence and a server's failure are UnansweredError.
"""

import time
from collections.abc import Callable, Sequence

import dns.exception
import dns.rdatatype
import dns.resolver

from smtpservice.relay.routes import name_server

#: Seconds for one question.
QUESTION_SECONDS = 5.0


class UnansweredError(Exception):
    """The DNS did not say whether there is such a record, or the time for all questions is over."""


class Lookups:
    """The questions about one message. `seconds` is the time for all of them; answers are remembered."""

    def __init__(
        self, name_servers: Sequence[str], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`name_servers` as in RELAY_NAME_SERVERS; none: those of the system."""
        self._resolver = _resolver(name_servers)
        self._clock = clock
        self._ends_at = clock() + seconds
        self._known: dict[tuple[str, str], list[dns.rdata.Rdata]] = {}

    def records(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        """All records of a name, none where there are none. Raises UnansweredError."""
        key = (name.lower().rstrip("."), kind)
        if key not in self._known:
            self._known[key] = self._ask(*key)
        return self._known[key]

    def texts(self, name: str) -> list[bytes]:
        """The TXT records of a name, each in one piece. Raises UnansweredError."""
        return [b"".join(record.strings) for record in self.records(name, "TXT")]  # type: ignore[attr-defined]

    def time_left(self) -> float:
        """Seconds for further questions, more than 0. Raises UnansweredError."""
        left = self._ends_at - self._clock()
        if left <= 0:
            raise UnansweredError("too long")
        return left

    def _ask(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        left = self.time_left()
        try:
            return list(self._resolver.resolve(name, kind, lifetime=min(left, QUESTION_SECONDS), search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            if isinstance(error, dns.exception.Timeout | dns.resolver.NoNameservers | OSError):
                raise UnansweredError(f"{name} {kind}: {type(error).__name__}") from error
            return []  # what cannot be a name has no records


def _resolver(name_servers: Sequence[str]) -> dns.resolver.Resolver:
    try:
        resolver = dns.resolver.Resolver(configure=not name_servers)
    except dns.resolver.NoResolverConfiguration:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
    if name_servers:
        resolver.nameservers = [name_server(text) for text in name_servers]
    return resolver
