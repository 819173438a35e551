"""What a session asks for, carried out on the database: who a recipient is, and the delivery of a message.

Mail is taken for mailboxes of this platform and for nobody else: there is no relaying. A failure on our side is
451 4.3.0 for the client and a line with all of it in the log (promise 8).
"""

import asyncio
import ipaddress
import logging
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from accounts import activity
from accounts.lookup import FoundMailbox, find_local_domains, find_mailboxes, find_postmaster
from mailplatform.bridge import Bridge
from mailstore.delivery import Body, Envelope, Outcome, deliver
from mailstore.quota import RoomRequest, have_room
from smtpservice import replies
from smtpservice.commands import Address
from smtpservice.replies import Reply
from smtpservice.requests import Deliver, Service

logger = logging.getLogger(__name__)

#: Received headers above which a message is taken to go in a loop (RFC 5321, 6.3: 100 at least is "a large number").
MAX_HOPS = 100
_HOP = re.compile(rb"^Received:", re.IGNORECASE | re.MULTILINE)

_REPLIES = {
    Outcome.OVER_QUOTA: replies.OVER_QUOTA,
    Outcome.GONE: replies.UNKNOWN_RECIPIENT,
    Outcome.HELD_BACK: replies.HELD_BACK,
}


class LocalIntake:
    """Mail in, for the mailboxes of this platform; `hostname` is what Received headers call this host."""

    def __init__(self, bridge: Bridge, *, hostname: str) -> None:
        self._bridge = bridge
        self._hostname = hostname

    async def find(self, addresses: Sequence[Address], size: int) -> list[FoundMailbox | Reply]:
        """The mailbox of each address, or why mail for it is refused. They are looked up at the same time."""
        return list(await asyncio.gather(*(self._find_one(address, size) for address in addresses)))

    async def deliver(
        self, request: Deliver[FoundMailbox], body: Body, *, service: Service, client_address: str
    ) -> list[Reply]:
        """Store the message; each reply says what is on the disk by then."""
        identity = secrets.token_hex(8)
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
            answers = await self._bridge.run(_store, request, body, envelope, service, identity)
        except Exception:
            logger.exception("%s: message from <%s> was not stored", client_address, request.mail.sender)
            answers = [replies.TRY_AGAIN] * (len(request.recipients) if service is Service.LMTP else 1)
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

    async def _find_one(self, address: Address, size: int) -> FoundMailbox | Reply:
        try:
            found = await self._mailbox(address)
            if isinstance(found, Reply):
                return found
            if not found.is_active:
                return replies.SUSPENDED
            if not await self._bridge.gather(have_room, RoomRequest(found, size)):
                return replies.OVER_QUOTA
        except Exception:
            logger.exception("recipient <%s> was not looked up", address)
            return replies.TRY_AGAIN
        return found

    async def _mailbox(self, address: Address) -> FoundMailbox | Reply:
        if address.domain:
            found = await self._bridge.gather(find_mailboxes, str(address))
            if found is not None:
                return found
            if not await self._bridge.gather(find_local_domains, address.domain):
                return replies.RELAYING_DENIED
        # RFC 5321, 4.5.1: postmaster is known in every domain.
        if address.local_part.lower() == "postmaster":
            found = await self._bridge.run(find_postmaster)
            if found is not None:
                return found
        return replies.UNKNOWN_RECIPIENT


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


def _store(
    request: Deliver[FoundMailbox], body: Body, envelope: Envelope, service: Service, identity: str
) -> list[Reply]:
    """Deliver once to each mailbox, and answer for each RCPT or for all of them."""
    body.finish()
    all_or_none = service is Service.SMTP
    if _hops(body) > MAX_HOPS:
        answers = [replies.TOO_MANY_HOPS] * len(request.recipients)
    else:
        mailboxes = list({recipient.id: recipient for recipient in request.recipients}.values())
        outcomes = deliver(body=body, envelope=envelope, recipients=mailboxes, all_or_none=all_or_none)
        activity.count("deliveries", outcomes.count(Outcome.STORED))
        by_mailbox = dict(zip((mailbox.id for mailbox in mailboxes), outcomes, strict=True))
        stored = replies.stored(identity)
        answers = [_REPLIES.get(by_mailbox[recipient.id], stored) for recipient in request.recipients]
    return [_for_all(answers, size_known=request.mail.size >= body.octets)] if all_or_none else answers


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
    header = next(body.pieces(), b"")[: body.header_octets]
    return len(_HOP.findall(header))
