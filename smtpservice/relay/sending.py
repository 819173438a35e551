"""Carrying out a claim: a connection to one of the destination's hosts, message after message over it.

Hosts are tried in order (RFC 5321, 5.1). Where a connection is lost, the next host gets what is left. What no host
takes waits for the next attempt; it fails where the DNS, or every host, says that there is never any mail taken.
"""

import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from smtpservice.relay.claims import Claim, ClaimedMessage
from smtpservice.relay.destinations import Attempt, Destination
from smtpservice.relay.outcomes import Outcome, PeerReply, Result
from smtpservice.relay.peer import Peer, PeerError, Pieces
from smtpservice.relay.routes import NO_HOST, RouteError

logger = logging.getLogger(__name__)

#: Messages over one connection; a peer may have its own idea of how many are enough.
MESSAGES = 100
#: Attempts to connect for one claim.
ATTEMPTS = 8
#: RFC 7504, 3: the host never takes mail. Any other refusal to talk to us may pass.
_NEVER = 521
_NOT_TRIED = PeerReply(451, "4.3.2", "Not tried: the relay is shutting down")


class Book(Protocol):
    """Where outcomes go and more work comes from."""

    @property
    def is_ending(self) -> bool:
        """Nothing more is to be begun."""

    async def report(self, message: ClaimedMessage, outcomes: Sequence[Outcome]) -> None:
        """Write these down; when it returns it is on the disk, or everything was done for it."""

    async def more(self) -> Claim | None:
        """More for the same destination; None where there is none."""

    async def unreachable(self, reply: PeerReply) -> None:
        """There is no connection for the moment: nothing else is to be tried that is due for the same destination.

        What `more` still has then is not to be tried either, and its outcome is to be reported.
        """


async def carry_out(claim: Claim, book: Book, destination: Destination, pieces: Pieces) -> None:
    """Send a claim and what `book.more` adds to it; an outcome of every recipient is reported."""
    left, failures = deque(claim.messages), list[PeerReply]()
    async with aclosing(_peers(destination, claim.domain, failures)) as peers:
        async for peer in peers:
            try:
                await _send_over(peer, left, book, pieces)
            except BaseException:
                peer.abort()  # in the middle of something, where QUIT would be taken for text
                raise
            if not left:
                return
            if book.is_ending:
                break
            failures.append(PeerReply(451, "4.4.2", f"{peer.name} closed the connection"))
    if book.is_ending:
        for message in left:
            await book.report(message, for_all(message, Result.UNTRIED, _NOT_TRIED))
        return
    verdict = _verdict(failures)
    if verdict.code < 500:
        # Before the outcomes: with the last of them the claim ends, and another connection may begin.
        await book.unreachable(verdict)
        while not book.is_ending and (added := await book.more()):
            left.extend(added.messages)
    for message in left:
        await book.report(message, for_all(message, Result.FAILED if verdict.code >= 500 else Result.DEFERRED, verdict))


async def _send_over(peer: Peer, left: deque[ClaimedMessage], book: Book, pieces: Pieces) -> None:
    """Send what is `left`, and more, for as long as the connection is there."""
    sent = 0
    while left and peer.is_open and not book.is_ending:
        message = left.popleft()
        async with aclosing(peer.send(message, pieces)) as results:
            async for outcomes in results:
                await book.report(message, outcomes)
        sent += 1
        has_room = sent < MESSAGES and peer.is_open and not book.is_ending
        if not left and has_room and (added := await book.more()):
            left.extend(added.messages)


async def _peers(destination: Destination, domain: str, failures: list[PeerReply]) -> AsyncGenerator[Peer, None]:
    """Connections, one after the other; each is closed when the next is asked for. Why there is none is added."""
    try:
        async with aclosing(_first(destination.attempts(domain))) as attempts:
            async for attempt in attempts:
                try:
                    peer = await attempt.connect()
                except PeerError as error:
                    logger.info("%s: no connection to %s [%s]: %s", domain, attempt.name, attempt.address, error)
                    failures.append(_passing(error.reply))
                    continue
                try:
                    yield peer
                finally:
                    await peer.close()
    except RouteError as error:
        failures.append(error.reply)


async def _first(attempts: AsyncGenerator[Attempt, None]) -> AsyncGenerator[Attempt, None]:
    """No more than ATTEMPTS of them. Raises RouteError."""
    number = 0
    async with aclosing(attempts):
        async for attempt in attempts:
            yield attempt
            number += 1
            if number == ATTEMPTS:
                return


def _passing(reply: PeerReply) -> PeerReply:
    """A refusal to talk to us as one that may pass, but for those that say that they are for ever."""
    if reply.code < 500 or reply.code == _NEVER:
        return reply
    return PeerReply(reply.code - 100, f"4{reply.status[1:]}", reply.text)


def _verdict(failures: Sequence[PeerReply]) -> PeerReply:
    """The last failure that may pass; the last of all where none may."""
    passing = [reply for reply in failures if reply.code < 500]
    return (passing or failures or [NO_HOST])[-1]


def for_all(message: ClaimedMessage, result: Result, reply: PeerReply) -> list[Outcome]:
    """The same outcome for each recipient of a message, of which no peer has said anything."""
    return [Outcome(recipient.id, result, reply) for recipient in message.recipients]
