"""Outcomes are written down for each recipient, with the notices that follow from them, in one transaction."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone

from mailstore.models import Message
from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.queue import Recipient
from smtpservice.relay import outcomes
from smtpservice.relay.claims import Wish, claim
from smtpservice.relay.outcomes import Outcome, PeerReply, Report, Result, record
from tests.mailstore.mailboxes import make_mailbox
from tests.smtpservice.local import stored
from tests.smtpservice.relay.relaying import queue

pytestmark = pytest.mark.django_db
OK = PeerReply(250, "2.0.0", "taken as 1")
LATER = PeerReply(451, "4.7.1", "Greylisted")
NEVER = PeerReply(550, "5.1.1", "No such user")


def take(now: datetime | None = None) -> UUID:
    found = claim(Wish(uuid4(), now or timezone.now() + timedelta(seconds=1), limit=5))
    assert found is not None
    return found.id


def report(claim_id: UUID, address: str, result: Result, reply: PeerReply, now: datetime | None = None) -> Report:
    row = QueuedRecipient.objects.get(address=address)
    outcome = Outcome(row.pk, result, reply, "peer.example")
    return Report(claim_id, row.message_id, (outcome,), now or timezone.now())


def row(address: str) -> QueuedRecipient:
    return QueuedRecipient.objects.get(address=address)


@pytest.mark.parametrize(
    ("code", "text", "reply"),
    [
        (250, "2.0.0 taken", PeerReply(250, "2.0.0", "taken")),
        (550, "5.1.1 No such\nuser", PeerReply(550, "5.1.1", "No such user")),
        (550, "No such user", PeerReply(550, "5.0.0", "No such user")),
        (451, "5.1.1 of another class", PeerReply(451, "4.0.0", "5.1.1 of another class")),
        (451, "4.7.1", PeerReply(451, "4.7.1", "")),
        (199, "odd", PeerReply(199, "4.0.0", "odd")),
        (550, "\udcff\x00 raw", PeerReply(550, "5.0.0", "?? raw")),
    ],
)
def test_rfc_3463_a_reply_has_a_status_of_its_own_class(code: int, text: str, reply: PeerReply) -> None:
    assert PeerReply.parse(code, text) == reply


def test_a_recipient_that_has_the_message_is_done_and_the_message_waits_for_the_others() -> None:
    queue("a@example.org", "b@example.org")
    claim_id = take()
    assert record([report(claim_id, "a@example.org", Result.SENT, OK)]) == [None]
    assert (row("a@example.org").state, row("a@example.org").claimed_by) == ("sent", None)
    assert row("a@example.org").last_reply == "250 2.0.0 taken as 1"
    assert row("b@example.org").claimed_by == claim_id
    record([report(claim_id, "b@example.org", Result.SENT, OK)])
    assert not QueuedMessage.objects.exists()


def test_a_temporary_failure_waits_for_the_attempt_that_was_written() -> None:
    queue("a@example.org")
    claim_id = take()
    due = row("a@example.org").next_attempt_at
    record([report(claim_id, "a@example.org", Result.DEFERRED, LATER)])
    after = row("a@example.org")
    assert (after.state, after.next_attempt_at, after.claimed_by) == ("waiting", due, None)
    assert (after.last_peer, after.last_reply) == ("peer.example", "451 4.7.1 Greylisted")


def test_what_was_not_tried_is_due_at_once_and_was_no_attempt() -> None:
    queue("a@example.org")
    claim_id, now = take(), timezone.now()
    record([report(claim_id, "a@example.org", Result.UNTRIED, LATER, now)])
    assert (row("a@example.org").attempts, row("a@example.org").next_attempt_at) == (0, now)


def test_a_failure_is_told_to_the_senders_mailbox_and_ends_the_message() -> None:
    make_mailbox("jules")
    queue("a@example.org")
    record([report(take(), "a@example.org", Result.FAILED, NEVER)])
    assert not QueuedMessage.objects.exists()
    (notice,) = stored("jules@maison.mrs")
    assert b"550 5.1.1 No such user" in notice


def test_a_message_that_is_too_old_fails_with_what_was_said_last() -> None:
    make_mailbox("jules")
    message = queue("a@example.org")
    now = message.expires_at - timedelta(minutes=1)
    record([report(take(now), "a@example.org", Result.DEFERRED, LATER, now)])
    (notice,) = stored("jules@maison.mrs")
    assert b"Status: 4.4.7\r\n" in notice
    assert b"Greylisted" in notice
    assert not QueuedMessage.objects.exists()


def test_a_delay_is_told_once() -> None:
    make_mailbox("jules")
    message = queue("a@example.org")
    for hours in (3, 5, 8):
        now = message.queued_at + timedelta(hours=hours)
        record([report(take(now), "a@example.org", Result.DEFERRED, LATER, now)])
        assert Message.objects.count() == (hours >= 5)
    (notice,) = stored("jules@maison.mrs")
    assert b"Action: delayed\r\n" in notice


def test_a_250_counts_even_where_the_claim_was_lost_and_nothing_else_does() -> None:
    queue("a@example.org", "b@example.org")
    old = take()
    record([report(uuid4(), "b@example.org", Result.FAILED, NEVER)])
    assert (row("b@example.org").state, row("b@example.org").claimed_by) == ("waiting", old)
    record([report(uuid4(), "a@example.org", Result.SENT, OK)])
    assert row("a@example.org").state == "sent"


def test_a_message_that_was_dropped_meanwhile_is_no_error() -> None:
    queue("a@example.org")
    made = report(take(), "a@example.org", Result.SENT, OK)
    QueuedMessage.objects.all().delete()
    assert record([made]) == [None]


def test_a_recipient_that_is_held_while_it_is_tried_stays_so_without_being_too_old() -> None:
    message = queue("a@example.org")
    now = message.expires_at
    claim_id = take(now)
    QueuedRecipient.objects.update(state="held")
    record([report(claim_id, "a@example.org", Result.DEFERRED, LATER, now)])
    assert (row("a@example.org").state, row("a@example.org").claimed_by) == ("held", None)


def test_one_report_that_cannot_be_written_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    make_mailbox("jules")
    first, second = queue("a@example.org"), queue("b@example.org")
    claim_id = take()
    tell = outcomes.tell_sender

    def fail(message: QueuedMessage, fates: object) -> None:
        if message.pk == first.pk:
            raise OperationalError("no disk")
        tell(message, fates)

    monkeypatch.setattr(outcomes, "tell_sender", fail)
    made = [report(claim_id, address, Result.FAILED, NEVER) for address in ("a@example.org", "b@example.org")]
    failed, good = record(made)
    assert isinstance(failed, OperationalError)
    assert good is None
    assert row("a@example.org").state == "waiting"
    assert not QueuedMessage.objects.filter(pk=second.pk).exists()


def test_rfc_3461_success_is_told_where_the_peer_does_not_do_it() -> None:
    make_mailbox("jules")
    queue(Recipient("a@example.org", notify="SUCCESS"), Recipient("b@example.org", notify="SUCCESS"), "c@example.org")
    claim_id = take()
    by_address = {address: report(claim_id, f"{address}@example.org", Result.SENT, OK) for address in "abc"}
    told = by_address["b"].outcomes[0]
    passed_on = Outcome(told.recipient_id, told.result, told.reply, told.peer, dsn=True)
    record(
        [by_address["a"], Report(claim_id, by_address["b"].message_id, (passed_on,), timezone.now()), by_address["c"]]
    )
    (notice,) = stored("jules@maison.mrs")
    assert b"Action: relayed\r\n" in notice
    assert b"<a@example.org>" in notice
    assert b"b@example.org" not in notice
