"""What a session asks for, carried out on the database: who a recipient is, and the delivery of a message.

Mail is taken for addresses of this platform and for nobody else: there is no relaying. Where one of them leads
elsewhere, an admin has said so. A failure on our side is 451 4.3.0 for the client and a line with all of it in the
log (promise 8).
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TypedDict

from accounts.routing import DeadEnd, Forward, Route, find_routes
from mailplatform.bridge import Bridge
from mailstore.delivery import Body, Envelope, Outcome
from mailstore.quota import RoomRequest, has_quota, have_room
from smtpservice import replies, submission
from smtpservice.authenticator import Authenticator, Looked
from smtpservice.commands import Address
from smtpservice.queue import new_identity
from smtpservice.replies import Reply
from smtpservice.requests import Deliver, FindRecipients, Service
from smtpservice.spam import SpamCheck
from smtpservice.storing import Accepted, Deposit, Parcel, make_srs, store_many, store_one, today

logger = logging.getLogger(__name__)

#: Received headers above which a message is taken to go in a loop (RFC 5321, 6.3: 100 at least is "a large number").
MAX_HOPS = 100
#: Octets up to which a message is stored together with others that wait.
TOGETHER_OCTETS = 256 * 1024
_HOP = re.compile(rb"^Received:", re.IGNORECASE | re.MULTILINE)

_REPLIES = {
    Outcome.OVER_QUOTA: replies.OVER_QUOTA,
    Outcome.GONE: replies.UNKNOWN_RECIPIENT,
    Outcome.HELD_BACK: replies.HELD_BACK,
}
_DEAD_ENDS = {
    DeadEnd.UNKNOWN: replies.UNKNOWN_RECIPIENT,
    DeadEnd.NOT_HERE: replies.RELAYING_DENIED,
    DeadEnd.SUSPENDED: replies.SUSPENDED,
    DeadEnd.LOOP: replies.ROUTING_LOOP,
    DeadEnd.TOO_FAR: replies.ROUTED_TOO_FAR,
}


class _Who(TypedDict):
    helo: str
    sender: str
    client_address: str


class LocalIntake:
    """Mail in, for the domains of this platform; `hostname` is what Received headers call this host."""

    def __init__(
        self,
        bridge: Bridge,
        *,
        hostname: str,
        authenticator: Authenticator | None = None,
        spam: SpamCheck | None = None,
        storing: Bridge | None = None,
        submitted: Callable[[], None] = lambda: None,
    ) -> None:
        """`storing` stores small messages: with one thread, those that wait for it are stored together.

        `submitted` is called after a message was submitted, some of which may be in the queue now.
        """
        self._bridge = bridge
        self._storing = storing or bridge
        self._hostname = hostname
        self._authenticator = authenticator
        self._submitted = submitted
        self._spam = spam
        self._srs = make_srs()

    async def find(self, request: FindRecipients) -> list[Accepted | Reply]:
        """Where each address leads, or why mail for it is refused. They are looked up at the same time."""
        submits = request.submitter is not None
        found = [self._find_one(address, request.size, submits=submits) for address in request.addresses]
        if len(found) == 1:  # as most often: it needs no task of its own
            return [await found[0]]
        return list(await asyncio.gather(*found))

    async def deliver(
        self, request: Deliver[Accepted], body: Body, *, service: Service, client_address: str
    ) -> list[Reply]:
        """Store the message; each reply says what is on the disk by then."""
        identity = new_identity()
        envelope = Envelope(
            sender=request.mail.sender,
            received=received_value(
                client=request.client,
                client_address=client_address,
                hostname=self._hostname,
                protocol=request.protocol,
                identity=identity,
            ),
        )
        try:
            parcel = Parcel(body, envelope, identity, request.mail, service is Service.SUBMISSION)
            answers = await self._take(request, parcel, service, client_address)
            if parcel.submitted:
                self._submitted()
        except Exception:
            logger.exception("%s: message from <%s> was not stored", client_address, request.mail.sender)
            answers = [replies.TRY_AGAIN] * _copies(request, service)
        logger.info(
            "%s: %s from <%s> to %s, %d octets: %s",
            client_address,
            identity,
            request.mail.sender,
            ", ".join(recipient.address for recipient in request.recipients),
            body.octets,
            ", ".join(f"{answer.code} {answer.status}" for answer in answers),
        )
        return answers

    async def _take(
        self, request: Deliver[Accepted], parcel: Parcel, service: Service, client_address: str
    ) -> list[Reply]:
        parcel.body.finish()
        if service is Service.SMTP:
            looked = await self._look_at(request, parcel.body, client_address)
            if looked.refusal is not None:
                return [looked.refusal]
            parcel = replace(parcel, results=looked.results)
        return await self._store(request, parcel, service)

    async def _look_at(self, request: Deliver[Accepted], body: Body, client_address: str) -> Looked:
        """What is found out about a stranger's message goes on top of it; the reply where it is refused for that."""
        who: _Who = {"helo": request.client, "sender": request.mail.sender, "client_address": client_address}
        looked = await self._authenticator.look_at(body, **who) if self._authenticator else Looked()
        if looked.refusal is None and self._spam is not None:
            recipients = [recipient.address for recipient in request.recipients]
            looked = replace(looked, refusal=await self._spam.look_at(body, recipients=recipients, **who))
        return looked

    async def _store(self, request: Deliver[Accepted], parcel: Parcel, service: Service) -> list[Reply]:
        """Store it once for each end, and answer for each RCPT or for all of them."""
        body, all_or_none = parcel.body, service is Service.SMTP
        if _hops(body) > MAX_HOPS:
            return [replies.TOO_MANY_HOPS] * _copies(request, service)
        if service is Service.SUBMISSION:
            return [await self._bridge.run(submission.store_submitted, parcel, request)]
        deposit = Deposit(parcel, request.recipients, all_or_none)
        if body.octets <= TOGETHER_OCTETS:
            outcomes = await self._storing.gather(store_many, deposit)
        else:
            outcomes = await self._bridge.run(store_one, deposit)
        stored = replies.stored(parcel.identity)
        answers = [_REPLIES.get(outcome, stored) for outcome in outcomes]
        return [_for_all(answers, size_known=request.mail.size >= body.octets)] if all_or_none else answers

    async def _find_one(self, address: Address, size: int, *, submits: bool) -> Accepted | Reply:
        try:
            found = await self._route(address)
            if found is DeadEnd.NOT_HERE and submits:
                return submission.elsewhere(address)
            if isinstance(found, DeadEnd):
                return _DEAD_ENDS[found]
            if not await self._has_room(found, size):
                return replies.OVER_QUOTA
        except Exception:
            logger.exception("recipient <%s> was not looked up", address)
            return replies.TRY_AGAIN
        return Accepted(str(address), found, address.notify, address.original)

    async def _route(self, address: Address) -> Route | DeadEnd:
        back = self._sender_of_forwarded(address)
        return await self._bridge.gather(find_routes, address.full) if back is None else back

    def _sender_of_forwarded(self, address: Address) -> Route | None:
        """Who wrote a message that was forwarded from here, where somebody answers to what we made of their address.

        The hash is proof enough: whoever has it got it from us. The domain was one of ours, and its mail comes here.
        """
        original = self._srs.restore(address.local_part, day=today())
        return None if original is None else Route(forwards=(Forward(original, ""),))

    async def _has_room(self, route: Route, size: int) -> bool:
        """Whether somebody of those who are meant can have it; one alone who has no room is told to the client."""
        if route.forwards or not all(has_quota(mailbox) for mailbox in route.mailboxes):
            return True
        asked = (self._bridge.gather(have_room, RoomRequest(mailbox, size)) for mailbox in route.mailboxes)
        return any(await asyncio.gather(*asked))


def received_value(*, client: str, client_address: str, hostname: str, protocol: str, identity: str) -> bytes:
    """The value of a Received header (RFC 5321, 4.4), folded."""
    date = format_datetime(datetime.now(UTC).astimezone())
    text = f"from {client} ({_literal(client_address)})\r\n\tby {hostname} with {protocol} id {identity};\r\n\t{date}"
    return text.encode("ascii", "replace")


def _literal(client_address: str) -> str:
    """An address literal (RFC 5321, 4.1.3)."""
    try:
        version = ipaddress.ip_address(client_address).version
    except ValueError:
        return "unknown"
    return f"[IPv6:{client_address}]" if version == 6 else f"[{client_address}]"


def _copies(request: Deliver[Accepted], service: Service) -> int:
    """How many replies there are to a message."""
    return len(request.recipients) if service is Service.LMTP else 1


def _for_all(answers: Sequence[Reply], *, size_known: bool) -> Reply:
    """The one reply of SMTP.

    Where some could have had it, 452 makes the client come again, and RCPT then refuses the others alone: those that
    are gone, and those that are full if the size was declared. If it was not, they would be found full at the end of
    data again and again, so all of it is refused for good.
    """
    refused = [answer for answer in answers if answer.code >= 500]
    if replies.HELD_BACK in answers and (size_known or replies.OVER_QUOTA not in refused):
        return replies.HELD_BACK
    return refused[0] if refused else answers[0]


def _hops(body: Body) -> int:
    header = body.header()
    return len(_HOP.findall(next(body.pieces(), b"")[: body.header_octets] if header is None else header))
