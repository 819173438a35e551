"""Mail from elsewhere is looked at before it is stored: off the loop, a few messages at a time, each for some seconds.

What is found goes on top of the message; what others have written there in this host's name is taken out. A failure of
ours in this keeps no mail out: it is logged, and the message goes on without results.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mailplatform.authentication_results import without_forged
from mailplatform.networks import Networks
from mailstore.delivery import Body
from mailstore.wire import unstuff
from smtpservice import replies
from smtpservice.authentication import SIGNED_OCTETS, Arrived, authenticate
from smtpservice.lookups import Lookups
from smtpservice.replies import Reply

logger = logging.getLogger(__name__)

#: Messages that are looked at in the same moment, by one worker.
THREADS = 4
#: Seconds for all questions to the DNS about a message (RFC 7208, 4.6.4 has 20 at least for SPF alone).
LOOKUP_SECONDS = 20.0
#: Seconds that a message waits for its turn. A client waits for its reply for ten minutes (RFC 5321, 4.5.3.2.6): of a
#: longer queue it would hear nothing, come again, and the message would be stored twice.
TURN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Looked:
    """The reply where a message is refused, and the value of the field with the results; neither where it was not
    looked at."""

    refusal: Reply | None = None
    results: bytes = b""


class Authenticator:
    """Looks at the messages of one worker. `refuses`: a policy `reject` counts, and a silent DNS makes clients wait.

    Without `looks` nothing is found out, and forged results are taken out all the same: clients may still trust such.
    """

    def __init__(
        self,
        *,
        hostname: str,
        exempt: Networks,
        refuses: bool,
        looks: bool = True,
        name_servers: Sequence[str] = (),
        threads: int = THREADS,
    ) -> None:
        self._hostname = hostname
        self._exempt = exempt
        self._refuses = refuses
        self._looks = looks
        self._name_servers = list(name_servers)
        self._turns = asyncio.Semaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="authentication")

    async def look_at(self, body: Body, *, helo: str, sender: str, client_address: str) -> Looked:
        """Put the results on top of a message that has ended."""
        if client_address in self._exempt:
            return Looked()
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            logger.warning("%s: message from <%s> put off: too many are looked at", client_address, sender)
            return Looked(replies.TOO_BUSY)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._look, body, helo, sender, client_address)
        finally:
            self._turns.release()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self, body: Body, helo: str, sender: str, client_address: str) -> Looked:
        # As it was signed, before anything is taken out.
        whole = b"".join(unstuff(body.pieces())) if self._looks and body.octets <= SIGNED_OCTETS else b""
        header = take_out_forged(body, self._hostname)
        if header is None:
            return Looked(replies.HEADER_TOO_LARGE)
        if not self._looks:
            return Looked()
        try:
            arrived = Arrived(client_address, helo.strip("[]"), sender, whole, header)
            verdict = authenticate(arrived, Lookups(self._name_servers, LOOKUP_SECONDS))
        except Exception:
            logger.exception("%s: message from <%s> was not authenticated", client_address, sender)
            return Looked()
        body.add_header(verdict.field(self._hostname))
        logger.info("%s: <%s>: %s", client_address, sender, "; ".join(map(str, verdict.results)))
        return Looked(verdict.refusal if self._refuses else None, verdict.value(self._hostname))


def take_out_forged(body: Body, hostname: str) -> bytes | None:
    """Leave no results of others in our name in a message; its header as it was, None where it is too large for us."""
    header = body.header()
    if header is not None and (clean := without_forged(header, hostname)) != header:
        body.set_header(clean)
    return header
