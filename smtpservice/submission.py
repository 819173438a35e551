"""Mail that is submitted (RFC 6409): who may send from where and how much, and what their message lacks is added.

`Desk` is the part of it in the loop: logins by the door, senders. The rest runs with the database.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from django.conf import settings
from django.db import transaction

from accounts.addresses import written_address
from accounts.allowance import DayIsFullError, count_sent, day_is_full
from accounts.asking import ask
from accounts.callers import Caller
from accounts.door import Admission, Door, NotAdmittedError, ThrottledError
from accounts.guests import Guest, find_unwelcome
from accounts.lookup import find_local_domains
from accounts.models import LoginResult
from accounts.routing import Forward, Route, may_send_from
from accounts.sasl import Question
from accounts.tokens import IntrospectionError
from mailplatform.bridge import Bridge
from mailplatform.networks import Networks
from mailstore.delivery import Outcome
from smtpservice import replies
from smtpservice.authenticator import take_out_forged
from smtpservice.authors import addresses_in
from smtpservice.commands import Address
from smtpservice.queue import domain_of
from smtpservice.replies import Reply
from smtpservice.requests import CheckSender, Deliver
from smtpservice.storing import Accepted, Parcel, store

logger = logging.getLogger(__name__)

_COME_BACK = {
    LoginResult.THROTTLED: "too many failed logins, try again in {} seconds",
    LoginResult.BUSY: "too many logins at this moment, try again in {} seconds",
}
_FIELD = re.compile(r"^(from|date|message-id)[ \t]*:(.*(?:\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits: a user that has logged in, or 0 for a host of SUBMISSION_NETWORKS."""

    user_id: int
    address: str
    #: By what login, which is looked at again with each message.
    guest: Guest | None = field(default=None, compare=False)


class Desk:
    """Where submitters show who they are and from where they send."""

    def __init__(self, bridge: Bridge, door: Door) -> None:
        self._bridge = bridge
        self._door = door
        self._networks = Networks(settings.SUBMISSION_NETWORKS)
        self.mechanisms = door.mechanisms

    def recognise(self, address: str) -> Submitter | None:
        """A host of SUBMISSION_NETWORKS, which submits without a login."""
        return Submitter(0, address) if address in self._networks else None

    async def ask(self, question: Question, caller: Caller) -> object:
        """The door's answer; the Submitter for an admission, the reply where it does not let in."""
        try:
            answer = await ask(self._door, caller, question)
        except NotAdmittedError:
            return replies.WRONG_LOGIN
        except ThrottledError as error:
            return replies.login_later(_COME_BACK[error.reason].format(error.seconds))
        except IntrospectionError:  # which is in the log already, once (accounts.tokens)
            return replies.LOGIN_FAILED
        except Exception:
            logger.exception("%s: a login failed", caller.address)
            return replies.LOGIN_FAILED
        if not isinstance(answer, Admission):
            return answer
        return Submitter(answer.user_id, answer.address, Guest.of(answer, caller.protocol))

    async def check_sender(self, request: CheckSender) -> Reply | None:
        """RFC 6409, 6.1. The null path is for receipts, which a header From goes with all the same."""
        submitter: Submitter = request.submitter
        token = submitter.guest.token if submitter.guest is not None else None
        try:
            if token is not None and await self._door.is_revoked(token):
                return replies.LOGIN_AGAIN
            return await self._bridge.run(_refuse_sender, submitter, request.mail.sender)
        except Exception:
            logger.exception("sender <%s> was not looked up", request.mail.sender)
            return replies.TRY_AGAIN


def elsewhere(address: Address) -> Accepted | Reply:
    """A recipient of another host, for somebody who may have mail sent there."""
    if address.domain.startswith("["):
        return replies.NO_RELAYING_THERE
    path = written_address(address.local_part, address.domain)
    try:
        domain_of(path)
    except ValueError:
        return replies.BAD_PATH
    return Accepted(str(address), Route(forwards=(Forward(path, ""),)), address.notify, address.original)


def store_submitted(parcel: Parcel, request: Deliver[Accepted]) -> Reply:
    """Store and queue a message that has ended, for all recipients or for none."""
    submitter: Submitter = request.submitter
    header = take_out_forged(parcel.body, settings.MAIL_HOSTNAME)
    if header is None:
        return replies.HEADER_TOO_LARGE
    found = _read(header)
    if settings.SUBMISSION_CHECK_FROM and not _may_send(submitter, found.authors):
        return replies.NOT_YOUR_FROM
    parcel.body.add_header(_lacking(found, parcel))
    try:
        with transaction.atomic():
            if submitter.user_id:
                count_sent(user_id=submitter.user_id, recipients=len(request.recipients))
            outcomes = store(parcel=parcel, recipients=request.recipients, all_or_none=True)
            if any(outcome is not Outcome.STORED for outcome in outcomes):
                transaction.set_rollback(True)  # it is not counted either
    except DayIsFullError:
        return replies.DAY_IS_FULL
    return _answer(outcomes, parcel)


def _answer(outcomes: Sequence[Outcome], parcel: Parcel) -> Reply:
    if all(outcome is Outcome.STORED for outcome in outcomes):
        return replies.stored(parcel.identity)
    # A program that submits does not come again by itself: its user has to know whom it could not be sent to.
    return replies.OVER_QUOTA if Outcome.OVER_QUOTA in outcomes else replies.UNKNOWN_RECIPIENT


@dataclass(frozen=True, slots=True)
class _Header:
    """What of a header matters here. `authors`: the addresses that it claims to be from."""

    authors: list[str]
    has_from: bool
    has_date: bool
    has_message_id: bool


def _read(header: bytes) -> _Header:
    # Every line that somebody's program could take for a field, also behind one that is none.
    fields: dict[str, list[str]] = {}
    for name, value in _FIELD.findall(header.decode("utf-8", "replace")):
        fields.setdefault(name.lower(), []).append(value)
    return _Header(addresses_in(fields.get("from", [])), "from" in fields, "date" in fields, "message-id" in fields)


def _lacking(found: _Header, parcel: Parcel) -> bytes:
    """RFC 6409, 8: the fields that a message must have and does not."""
    lines = []
    if not found.has_from and parcel.mail.sender:
        lines.append(f"From: <{parcel.mail.sender}>")
    if not found.has_date:
        lines.append(f"Date: {format_datetime(datetime.now(UTC).astimezone())}")
    if not found.has_message_id:
        lines.append(f"Message-ID: <{parcel.identity}@{settings.MAIL_HOSTNAME}>")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _refuse_sender(submitter: Submitter, sender: str) -> Reply | None:
    if submitter.guest is not None and find_unwelcome([submitter.guest]):
        return replies.LOGIN_AGAIN
    if sender and not _may_send(submitter, [sender]):
        return replies.NOT_YOUR_ADDRESS
    if submitter.user_id and day_is_full(submitter.user_id):
        return replies.DAY_IS_FULL
    return None


def _may_send(submitter: Submitter, addresses: Sequence[str]) -> bool:
    if submitter.user_id:
        return all(may_send_from(submitter.user_id, addresses))
    return all(find_local_domains([address.rpartition("@")[2] for address in addresses]))
