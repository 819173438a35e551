"""Who gets what is due: one worker of many, for a while, and the next attempt is written by then."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from smtpservice.models import QueuedRecipient
from smtpservice.relay.claims import CLAIM_RECIPIENTS, LEASE, Claim, Wish, claim, postpone, renew
from smtpservice.relay.schedule import DELAY_TOLD_AFTER, RETRY_AFTER
from tests.smtpservice.relay.relaying import queue

pytestmark = pytest.mark.django_db


def later(**by: float) -> "timezone.datetime":
    return timezone.now() + timedelta(**by)


def wish(**more: object) -> Wish:
    return Wish(**({"id": uuid4(), "now": later(seconds=1), "limit": 5} | more))


def claimed(found: Claim | None) -> list[str]:
    assert found is not None
    return [recipient.address for message in found.messages for recipient in message.recipients]


def test_nothing_is_due_in_an_empty_queue() -> None:
    assert claim(wish()) is None


def test_the_next_attempt_is_written_with_the_claim() -> None:
    queue("a@example.org")
    asked = wish()
    found = claim(asked)
    assert found is not None
    assert (found.id, found.domain) == (asked.id, "example.org")
    row = QueuedRecipient.objects.get()
    assert (row.attempts, row.next_attempt_at - asked.now, row.last_attempt_at) == (1, RETRY_AFTER[0], asked.now)
    assert (row.claimed_by, row.claimed_until) == (asked.id, asked.now + LEASE)


@pytest.mark.parametrize("made", [0, 1, len(RETRY_AFTER) - 1, len(RETRY_AFTER), 30])
def test_rfc_5321_4_5_4_1_the_interval_grows_with_the_attempts(made: int) -> None:
    queue("a@example.org")
    QueuedRecipient.objects.update(attempts=made)
    asked = wish()
    claim(asked)
    row = QueuedRecipient.objects.get()
    assert row.attempts == made + 1
    assert row.next_attempt_at - asked.now == RETRY_AFTER[min(made, len(RETRY_AFTER) - 1)]


def test_what_is_claimed_is_nobody_elses_until_the_lease_is_over_and_the_attempt_due() -> None:
    queue("a@example.org")
    assert claim(wish())
    assert claim(wish()) is None
    QueuedRecipient.objects.update(next_attempt_at=timezone.now())  # retry now, while it is being tried
    assert claim(wish()) is None
    assert claim(wish(now=later(seconds=1) + LEASE * 2))


def test_a_claim_that_is_renewed_lasts() -> None:
    queue("a@example.org")
    asked = wish()
    claim(asked)
    renew([asked.id], asked.now + LEASE)
    QueuedRecipient.objects.update(next_attempt_at=timezone.now())
    assert claim(wish(now=asked.now + LEASE * 1.5)) is None


def test_a_claim_is_for_one_domain_the_oldest_first_with_all_recipients_of_a_message() -> None:
    now = timezone.now()
    queue("a@example.org", "b@example.net", "c@Example.ORG", now=now - timedelta(minutes=2))
    queue("d@example.org", now=now - timedelta(minutes=3))
    first = claim(wish())
    assert claimed(first) == ["d@example.org", "a@example.org", "c@Example.ORG"]
    assert first is not None
    assert [len(message.recipients) for message in first.messages] == [1, 2]
    assert claimed(claim(wish())) == ["b@example.net"]


def test_a_connection_takes_a_bounded_part_and_then_more_of_its_domain_alone() -> None:
    queue(*(f"r{n}@example.org" for n in range(CLAIM_RECIPIENTS + 1)), now=timezone.now() - timedelta(minutes=1))
    queue("x@example.net")
    asked = wish()
    assert len(claimed(claim(asked))) == CLAIM_RECIPIENTS
    assert claimed(claim(wish(id=asked.id, domain="example.org"))) == [f"r{CLAIM_RECIPIENTS}@example.org"]
    assert claim(wish(id=asked.id, domain="example.org")) is None


def test_connections_to_a_domain_are_limited_whoever_has_them() -> None:
    for number in range(3):
        queue(f"r{number}@example.org")
        if number < 2:
            assert claim(wish(limit=2))
    queue("x@example.net")
    assert claimed(claim(wish(limit=2))) == ["x@example.net"]
    assert claim(wish(limit=2)) is None
    assert claimed(claim(wish(limit=3))) == ["r2@example.org"]


def test_what_is_due_for_a_domain_without_connection_has_made_its_attempt() -> None:
    queue("a@example.org", "b@example.org", "c@example.net")
    QueuedRecipient.objects.filter(address="b@example.org").update(attempts=1)
    now = later(seconds=1)
    postpone("example.org", "451 4.4.1 down", now)
    rows = {row.address[0]: row for row in QueuedRecipient.objects.all()}
    assert [rows[name].attempts for name in "abc"] == [1, 2, 0]
    assert [rows[name].next_attempt_at - now for name in "ab"] == list(RETRY_AFTER[:2])
    assert (rows["a"].last_reply, rows["c"].last_reply) == ("451 4.4.1 down", "")
    postpone("", "451 4.4.1 down", now)
    assert claim(wish(now=now)) is None


def test_what_its_sender_is_to_hear_of_is_left_to_be_claimed() -> None:
    now = later(seconds=1)
    for name, queued_at, told_at in (
        ("late", now - DELAY_TOLD_AFTER, None),
        ("told", now - DELAY_TOLD_AFTER, now),
        ("early", now - DELAY_TOLD_AFTER + timedelta(seconds=1), None),
    ):
        message = queue(f"{name}@example.org", now=queued_at)
        message.recipients.update(delay_told_at=told_at)
    old = queue("old@example.org", now=now)
    old.expires_at = now + RETRY_AFTER[-1]
    old.save()
    postpone("example.org", "451 4.4.1 down", now)
    assert sorted(claimed(claim(wish(now=now)))) == ["late@example.org", "old@example.org"]


def test_for_a_smarthost_all_domains_are_one_destination() -> None:
    queue("a@example.org", "b@example.net")
    asked = wish(together=True, limit=1)
    assert claimed(claim(asked)) == ["a@example.org", "b@example.net"]
    queue("c@example.com")
    assert claim(wish(together=True, limit=1)) is None
    assert claimed(claim(wish(id=asked.id, together=True, limit=1, domain="example.org"))) == ["c@example.com"]


@pytest.mark.parametrize("state", ["held", "sent", "failed", "dropped"])
def test_only_what_waits_is_claimed(state: str) -> None:
    queue("a@example.org")
    QueuedRecipient.objects.update(state=state)
    assert claim(wish()) is None


@pytest.mark.django_db(transaction=True)
def test_of_workers_that_claim_at_the_same_moment_each_recipient_has_one() -> None:
    for number in range(40):
        queue(f"r{number}@d{number % 8}.example")
    found: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        try:
            start.wait()
            while (got := claim(wish(limit=50))) is not None:
                found.extend(claimed(got))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found))
    # On PostgreSQL one may have passed over what another was just claiming.
    while (got := claim(wish(limit=50))) is not None:
        found.extend(claimed(got))
    assert sorted(found) == sorted(f"r{n}@d{n % 8}.example" for n in range(40))
