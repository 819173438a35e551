"""What became of recipients, written down: sent, to be tried again, or failed; and who is told of it.

A report is one transaction with the notices that follow from it (smtpservice.relay.notices), so that nobody is told
twice, and nobody is left untold. That a peer took a message is recorded even where the claim was lost meanwhile: it
must not go out again.
"""

import enum
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F

from smtpservice.models import REPLY_CHARACTERS, QueuedMessage, QueuedRecipient
from smtpservice.relay.notices import Action, Fate, tell_sender
from smtpservice.relay.schedule import DELAY_TOLD_AFTER

logger = logging.getLogger(__name__)

#: RFC 3463, 2, at the beginning of a reply's text (RFC 2034, 4).
_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class PeerReply:
    """What was said of a recipient, by a peer or by us: `code` is that of SMTP, or what we would have said."""

    code: int
    status: str
    text: str

    @classmethod
    def parse(cls, code: int, text: str) -> "PeerReply":
        """A peer's reply; where it has no enhanced status code it gets the general one of its class."""
        text = " ".join(text.encode("utf-8", "replace").decode().split())
        text = "".join(sign if sign.isprintable() else "?" for sign in text)
        found = _STATUS.match(text)
        if found and found[1][0] == str(code)[0]:
            return cls(code, found[1], text[found.end() :])
        return cls(code, f"{str(code)[0]}.0.0" if 200 <= code < 600 else "4.0.0", text)

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}"[:REPLY_CHARACTERS]


class Result(enum.Enum):
    """What becomes of a recipient."""

    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    #: It was claimed and not tried; it is due at once.
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one recipient and the reply that says why.

    `peer` is the host that gave it, "" where none did. `dsn`: the peer took over what NOTIFY asks for (RFC 3461).
    """

    recipient_id: int
    result: Result
    reply: PeerReply
    peer: str = ""
    dsn: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The outcomes of one message's recipients, from the connection that claimed them."""

    claim_id: UUID
    message_id: int
    outcomes: tuple[Outcome, ...]
    now: datetime


def record(reports: Sequence[Report]) -> list[BaseException | None]:
    """Write down each report; made for `bridge.gather`. Those that tell nobody anything share a transaction."""
    plain = sorted((report for report in reports if _tells_nobody(report)), key=lambda report: report.message_id)
    with transaction.atomic():
        for report in plain:
            record_one(report)
    answers: list[BaseException | None] = []
    for report in reports:
        try:
            if not _tells_nobody(report):
                with transaction.atomic():
                    record_one(report)
            answers.append(None)
        except Exception as error:
            answers.append(error)
    return answers


def settle(message: QueuedMessage, fates: Sequence[Fate]) -> None:
    """Tell the sender what has to be told, and let go of the message where nothing is left to be done.

    Within a transaction that has the message's row locked.
    """
    if fates:
        tell_sender(message, fates)
    if not message.recipients.filter(state__in=QueuedRecipient.OPEN).exists():
        message.delete()


def _tells_nobody(report: Report) -> bool:
    return all(outcome.result in {Result.SENT, Result.UNTRIED} for outcome in report.outcomes)


def record_one(report: Report) -> None:
    """Write down a report, as a part of the caller's transaction."""
    message = QueuedMessage.objects.select_for_update().filter(pk=report.message_id).first()
    if message is None:  # dropped meanwhile
        return
    ids = [outcome.recipient_id for outcome in report.outcomes]
    rows = QueuedRecipient.objects.select_for_update().order_by("id").in_bulk(ids)
    fates: list[Fate] = []
    for outcome in report.outcomes:
        row = rows.get(outcome.recipient_id)
        if row is not None and (row.claimed_by == report.claim_id or outcome.result is Result.SENT):
            fates += _RECORDERS[outcome.result](message, row, outcome, report.now)
    settle(message, fates)


def _sent(message: QueuedMessage, row: QueuedRecipient, outcome: Outcome, now: datetime) -> list[Fate]:
    _store(row, outcome, state=QueuedRecipient.State.SENT)
    logger.info(
        "%s: from <%s> to <%s>: sent by %s: %s",
        message.identity,
        message.sender,
        row.address,
        outcome.peer,
        outcome.reply,
    )
    wanted = "SUCCESS" in row.notify.split(",") and not outcome.dsn
    # Without a peer it was ourselves.
    return [_fate(row, outcome, Action.RELAYED if outcome.peer else Action.DELIVERED, now)] if wanted else []


def _failed(message: QueuedMessage, row: QueuedRecipient, outcome: Outcome, now: datetime) -> list[Fate]:
    _store(row, outcome, state=QueuedRecipient.State.FAILED)
    logger.warning("%s: from <%s> to <%s>: failed: %s", message.identity, message.sender, row.address, _said(outcome))
    return [_fate(row, outcome, Action.FAILED, now)]


def _deferred(message: QueuedMessage, row: QueuedRecipient, outcome: Outcome, now: datetime) -> list[Fate]:
    if row.state == QueuedRecipient.State.WAITING and row.next_attempt_at >= message.expires_at:
        # RFC 3463, 3.5: delivery time expired; what was said last comes with it.
        expired = replace(outcome.reply, status="4.4.7", text=f"Too old: {outcome.reply.text}")
        return _failed(message, row, replace(outcome, reply=expired), now)
    logger.info("%s: from <%s> to <%s>: deferred: %s", message.identity, message.sender, row.address, _said(outcome))
    late = row.delay_told_at is None and now - message.queued_at >= DELAY_TOLD_AFTER
    if late:
        row.delay_told_at = now
    _store(row, outcome, state=row.state)
    return [_fate(row, outcome, Action.DELAYED, now)] if late else []


def _untried(message: QueuedMessage, row: QueuedRecipient, outcome: Outcome, now: datetime) -> list[Fate]:
    QueuedRecipient.objects.filter(pk=row.pk).update(
        claimed_by=None, claimed_until=None, attempts=F("attempts") - 1, next_attempt_at=now
    )
    return []


_RECORDERS = {
    Result.SENT: _sent,
    Result.FAILED: _failed,
    Result.DEFERRED: _deferred,
    Result.UNTRIED: _untried,
}


def _store(row: QueuedRecipient, outcome: Outcome, *, state: str) -> None:
    row.state, row.claimed_by, row.claimed_until = state, None, None
    row.last_peer, row.last_reply = outcome.peer[:255], str(outcome.reply)
    row.save(update_fields=["state", "claimed_by", "claimed_until", "last_peer", "last_reply", "delay_told_at"])


def _fate(row: QueuedRecipient, outcome: Outcome, action: Action, now: datetime) -> Fate:
    return Fate(
        action=action,
        address=row.address,
        original=row.original,
        notify=row.notify,
        status=outcome.reply.status,
        diagnostic=str(outcome.reply),
        peer=outcome.peer,
        attempted_at=now,
    )


def _said(outcome: Outcome) -> str:
    return f"{outcome.peer} said {outcome.reply}" if outcome.peer else str(outcome.reply)
