"""Delivery stores what came in, byte for byte, under a trace header, for all or for each."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from accounts.models import Mailbox
from mailstore import delivery
from mailstore.browse import read_message
from mailstore.delivery import Body, Envelope, Import, Outcome, append, append_many, deliver
from mailstore.downgrade import surrogate_octets
from mailstore.models import PIECE_OCTETS, Content, Maildrop, Message
from mailstore.rows import MailboxGoneError, live_messages
from mailstore.wire import encode
from tests.mailstore.mailboxes import assert_counters_fit, body_of, fill, make_mailbox, stored

pytestmark = pytest.mark.django_db

ENVELOPE = Envelope(sender="alfred@alfred.maison.mrs", received=b"from a by b with LMTP;\r\n\tMon, 23 Nov 2026")
TRACE = (
    b"Return-Path: <alfred@alfred.maison.mrs>\r\nDelivered-To: jules@maison.mrs\r\n"
    b"Received: from a by b with LMTP;\r\n\tMon, 23 Nov 2026\r\n"
)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_a_body_holds_the_wire_form_of_any_octets_in_any_chunks(message: bytes, chunk: int) -> None:
    with body_of(message, chunk) as body:
        encoded = encode(message)
        assert b"".join(body.pieces()) == encoded.wire
        assert (body.octets, body.wire_octets, body.header_octets) == (
            encoded.octets,
            len(encoded.wire),
            encoded.header_octets,
        )


def test_a_delivered_message_is_kept_under_its_trace_header(mailbox: FoundMailbox) -> None:
    message = b"Subject: Hello\n\n.a line\nthe last one"
    with body_of(message) as body:
        assert deliver(body=body, envelope=ENVELOPE, recipients=[mailbox], all_or_none=True) == [Outcome.STORED]
    assert stored(mailbox.id, 1) == TRACE + b"Subject: Hello\r\n\r\n..a line\r\nthe last one\r\n"
    row = Message.objects.get(mailbox_id=mailbox.id, uid=1)
    assert (row.octets, row.wire_octets) == (len(stored(mailbox.id, 1)) - 1, len(stored(mailbox.id, 1)))
    assert row.header_octets == len(TRACE) + len(b"Subject: Hello\r\n\r\n")
    assert row.subject == "Hello"
    assert_counters_fit(mailbox.id)


def test_a_disk_that_is_full_is_told_when_the_message_ends_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it is told when the message is stored, to all that are stored with it, and when it is given up."""
    body = Body()
    body.close()
    monkeypatch.setattr(body, "_spool", Path("/dev/full").open("r+b", buffering=1_000_000))
    body.write(b"a" * 1000)
    with pytest.raises(OSError, match="No space left"):
        body.finish()
    body.close()


field = st.sampled_from(
    [b" \xc3\xa9\r\n", b"\tb\r\n", b"Subject: \xc3\xa9\r\n", b"To: <a@b>\r\n", b"X: \xe9\r\n", b".\r\n"]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"To: \xc3\xa9@b\r\n", b"Received: a;\r\n\tb\r\n", b"Received: \xc3\xa9\r\n"]), max_size=3
    ),
    st.lists(field, max_size=4),
    st.binary(max_size=9),
)
def test_the_surrogate_of_a_message_under_a_trace_header_has_the_octets_it_would_have_whole(
    lines: list[bytes], fields: list[bytes], rest: bytes
) -> None:
    top = b"".join(lines)
    with body_of(b"".join(fields) + rest) as body:
        for _ in range(2):
            whole = surrogate_octets(body.pieces(top), len(top) + body.octets)
            assert body.surrogate_octets(top) == whole
            body.add_header("Subject: è\r\n".encode())


def test_the_surrogate_is_counted_once_for_all_recipients(
    mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a tenth of a second for a large header, and the maildrops are locked meanwhile."""
    counted: list[int] = []

    def count(pieces: Iterable[bytes], octets: int) -> int | None:
        whole = b"".join(pieces)
        counted.append(len(whole))
        return surrogate_octets([whole], octets)

    monkeypatch.setattr(delivery, "surrogate_octets", count)
    others = [make_mailbox(f"other{number}") for number in range(5)]
    with body_of(b"X: " + "é ".encode() * 1000 + b"\n\n") as body:
        deliver(body=body, envelope=ENVELOPE, recipients=[mailbox, *others], all_or_none=True)
    assert len([octets for octets in counted if octets > 3000]) == 1
    added = {row.surrogate_octets - row.octets for row in Message.objects.all() if row.surrogate_octets is not None}
    assert (Message.objects.count(), len(added)) == (6, 1)


def test_a_message_of_many_pieces_is_whole(mailbox: FoundMailbox) -> None:
    message = b"Subject: large\r\n\r\n" + b"".join(b".%d\r\n" % number for number in range(400_000))
    with body_of(message, 70_000) as body:
        deliver(body=body, envelope=ENVELOPE, recipients=[mailbox], all_or_none=True)
    sizes = [len(bytes(piece.octets)) for piece in Content.objects.filter(mailbox_id=mailbox.id).order_by("piece")]
    assert len(sizes) > 3
    assert set(sizes[:-1]) == {PIECE_OCTETS}
    assert b"".join(read_message(mailbox.id, 1)) == TRACE + message


def test_the_null_path_is_kept_as_such(mailbox: FoundMailbox) -> None:
    with body_of(b"\r\nbounce") as body:
        deliver(body=body, envelope=Envelope("", b"x"), recipients=[mailbox], all_or_none=True)
    assert stored(mailbox.id, 1).startswith(b"Return-Path: <>\r\n")


@pytest.mark.parametrize("sender", ["a@b>\r\nBcc: c@d", "a\0b", "a\x7fb"])
def test_a_sender_cannot_bring_header_lines(sender: str) -> None:
    with pytest.raises(ValueError, match="control"):
        Envelope(sender, b"x")


def test_each_recipient_has_its_own_copy_and_uid(mailbox: FoundMailbox) -> None:
    other = make_mailbox("alfred")
    with body_of(b"\r\nx") as body:
        deliver(body=body, envelope=ENVELOPE, recipients=[other], all_or_none=True)
        outcomes = deliver(body=body, envelope=ENVELOPE, recipients=[other, mailbox], all_or_none=True)
    assert outcomes == [Outcome.STORED] * 2
    assert b"Delivered-To: alfred@maison.mrs\r\n" in stored(other.id, 2)
    assert b"Delivered-To: jules@maison.mrs\r\n" in stored(mailbox.id, 1)
    assert_counters_fit(mailbox.id)
    assert_counters_fit(other.id)


@pytest.mark.parametrize("quota", [{"quota_messages": 1}, {"quota_octets": 400}])
def test_over_quota_is_refused_for_all_or_for_that_one(mailbox: FoundMailbox, quota: dict[str, int]) -> None:
    small = make_mailbox("alfred", **quota)
    with body_of(b"\r\n" + b"x" * 60) as body:
        assert deliver(body=body, envelope=ENVELOPE, recipients=[small], all_or_none=True) == [Outcome.STORED]
    with body_of(b"\r\n" + b"y" * 300) as body:
        outcomes = deliver(body=body, envelope=ENVELOPE, recipients=[mailbox, small], all_or_none=True)
        assert outcomes == [Outcome.HELD_BACK, Outcome.OVER_QUOTA]
        assert live_messages(mailbox.id).count() == 0
        outcomes = deliver(body=body, envelope=ENVELOPE, recipients=[mailbox, small], all_or_none=False)
        assert outcomes == [Outcome.STORED, Outcome.OVER_QUOTA]
        assert live_messages(mailbox.id).count() == 1
    assert live_messages(small.id).count() == 1


def test_a_mailbox_named_twice_needs_the_room_twice() -> None:
    small = make_mailbox("alfred", quota_messages=1)
    with body_of(b"\r\nx") as body:
        outcomes = deliver(body=body, envelope=ENVELOPE, recipients=[small, small], all_or_none=False)
    assert outcomes == [Outcome.STORED, Outcome.OVER_QUOTA]


def test_mail_for_a_mailbox_that_vanished_is_not_lost_in_silence(mailbox: FoundMailbox) -> None:
    Mailbox.objects.filter(id=mailbox.id).delete()
    with body_of(b"\r\nx") as body:
        assert deliver(body=body, envelope=ENVELOPE, recipients=[mailbox], all_or_none=True) == [Outcome.GONE]
        with pytest.raises(MailboxGoneError):
            append(mailbox_id=mailbox.id, body=body)


def test_an_error_midway_leaves_nothing_behind(mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(delivery, "_note_surrogates", fail)
    with body_of(b"\r\nx") as body, pytest.raises(DatabaseError), transaction.atomic():
        deliver(body=body, envelope=ENVELOPE, recipients=[mailbox], all_or_none=True)
    assert Message.objects.filter(mailbox_id=mailbox.id).count() == 0
    assert Content.objects.filter(mailbox_id=mailbox.id).count() == 0


def test_uids_go_up_and_are_not_given_twice(mailbox: FoundMailbox) -> None:
    uids = fill(mailbox.id, b"one", b"two", b"three")
    Message.objects.filter(mailbox_id=mailbox.id).delete()
    with body_of(b"four") as four, body_of(b"") as five:
        uids += append_many(mailbox_id=mailbox.id, imports=[Import(four), Import(five)])
    assert uids == [1, 2, 3, 4, 5]


def test_an_import_adds_no_header_and_minds_no_quota() -> None:
    small = make_mailbox("alfred", quota_messages=1, quota_octets=1)
    fill(small.id, *[b"A: b\r\n\r\n.\r\n"] * 2)
    assert stored(small.id, 2) == b"A: b\r\n\r\n..\r\n"


@pytest.mark.parametrize("unique_id", ["with blank", "é", "x" * 71])
def test_an_imported_unique_id_has_to_be_one(mailbox: FoundMailbox, unique_id: str) -> None:
    with pytest.raises(ValueError, match="unique-id"):
        fill(mailbox.id, b"", unique_id=unique_id)


def test_an_imported_unique_id_cannot_be_one_that_will_be_given_out(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"")
    ours = Maildrop.objects.get(mailbox_id=mailbox.id).uidvalidity
    with pytest.raises(ValueError, match="another message"):
        fill(mailbox.id, b"", unique_id=f"{ours}.2")


def test_a_delivery_to_many_costs_as_few_statements_as_one_to_two(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    many = [mailbox, *(make_mailbox(f"user{number}") for number in range(19))]
    with body_of(b"\r\nx") as body:
        deliver(body=body, envelope=ENVELOPE, recipients=many, all_or_none=True)
        for recipients in (many, many[:2]):
            # Rows, lock, messages and contents, which are one statement on PostgreSQL, counters.
            with django_assert_num_queries(4 if connection.vendor == "postgresql" else 5):
                deliver(body=body, envelope=ENVELOPE, recipients=recipients, all_or_none=True)
