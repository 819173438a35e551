"""A message is known when the mailbox has it octet for octet, whatever it says of itself."""

from contextlib import ExitStack

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailstore import duplicates
from mailstore.delivery import Envelope, deliver
from mailstore.duplicates import KnownMessages
from mailstore.models import PIECE_OCTETS, Content, Message
from mailstore.shelf import restore
from tests.mailstore.mailboxes import body_of, fill, make_mailbox

pytestmark = pytest.mark.django_db

ONE = b"Message-ID: <1@x>\n\none\n"
TWO = b"Message-ID: <2@x>\n\ntwo\n"


def new(known: KnownMessages, *messages: bytes) -> list[int]:
    """Which of the messages, by index, are new."""
    with ExitStack() as stack:
        bodies = [stack.enter_context(body_of(message)) for message in messages]
        found = known.only_new(bodies)
        return [bodies.index(body) for body in found]


def test_what_is_stored_is_known_and_the_rest_is_new(mailbox: FoundMailbox) -> None:
    other = make_mailbox("alfred")
    fill(mailbox.id, ONE)
    fill(other.id, TWO)
    assert new(KnownMessages(mailbox.id), ONE, TWO, ONE.replace(b"\n", b"\r\n"), b"") == [1, 3]


def test_equal_in_all_but_an_octet_is_not_equal(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(mailbox.id, ONE)
    assert new(KnownMessages(mailbox.id), ONE.replace(b"one", b"ein")) == [0]
    monkeypatch.setattr(duplicates, "hash", lambda _: 7, raising=False)
    assert new(KnownMessages(mailbox.id), ONE, TWO, b"", TWO) == [1, 2]


def test_a_message_without_a_message_id_is_known_by_its_octets(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"\nno header\n")
    assert new(KnownMessages(mailbox.id), b"\nno header\n", b"\nno Header\n") == [1]


def test_of_two_that_come_together_the_first_is_new(mailbox: FoundMailbox) -> None:
    assert new(KnownMessages(mailbox.id), ONE, ONE, TWO, ONE) == [0, 2]


def test_what_came_before_is_known(mailbox: FoundMailbox) -> None:
    known = KnownMessages(mailbox.id)
    assert new(known, ONE, TWO) == [0, 1]
    assert new(known, TWO, b"three", ONE) == [1]


def test_the_shelf_counts(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, ONE, TWO)
    Message.objects.filter(mailbox_id=mailbox.id).update(deleted_at=timezone.now())
    assert new(KnownMessages(mailbox.id), ONE) == []


def test_what_was_purged_or_moved_meanwhile_is_new(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, ONE, TWO)
    Message.objects.filter(mailbox_id=mailbox.id).update(deleted_at=timezone.now())
    known = KnownMessages(mailbox.id)
    Content.objects.filter(mailbox_id=mailbox.id, uid=1).delete()
    restore(mailbox_id=mailbox.id, uids=[2])
    assert new(known, ONE, TWO) == [0, 1]


def test_a_delivered_message_is_another_than_the_one_that_was_sent(mailbox: FoundMailbox) -> None:
    with body_of(ONE) as body:
        deliver(body=body, envelope=Envelope("a@b", b"x"), recipients=[mailbox], all_or_none=True)
    assert new(KnownMessages(mailbox.id), ONE) == [0]


def test_long_messages_are_compared_to_the_end(mailbox: FoundMailbox) -> None:
    long = b"\r\n" + b"x" * 2 * PIECE_OCTETS + b"%d\r\n"
    fill(mailbox.id, long % 1)
    assert new(KnownMessages(mailbox.id), long % 1, long % 2) == [1]


def test_a_batch_costs_one_query(mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    messages = [b"Message-ID: <%d@x>\n\n" % number for number in range(50)]
    fill(mailbox.id, *messages)
    with django_assert_num_queries(2):  # the rows, then the contents of those that look alike
        assert new(KnownMessages(mailbox.id), *messages, ONE) == [50]


def test_messages_that_all_look_alike_are_read_once(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine writes them: no message-id, and every one of the same size."""
    monkeypatch.setattr(duplicates, "_BATCH_MESSAGES", 20)
    messages = [b"Subject: disk %03d is full\n\n" % number for number in range(100)]
    fill(mailbox.id, *messages[:60])
    with django_assert_num_queries(4):  # the rows, then three times twenty contents
        known = KnownMessages(mailbox.id)
        assert new(known, *messages[:50]) == []
        assert new(known, *messages[50:]) == list(range(10, 50))


def test_few_of_the_long_ones_are_in_memory_at_a_time(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_BATCH_OCTETS", 1000)
    messages = [b"\n" + b"%d" % number * 500 for number in range(4)]
    fill(mailbox.id, *messages)
    with django_assert_num_queries(1 + 4):
        assert new(KnownMessages(mailbox.id), *messages) == []
