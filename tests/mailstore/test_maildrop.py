"""A maildrop is open in one session, never moves, and loses nothing but what its session deleted."""

import uuid
from array import array
from copy import deepcopy
from dataclasses import replace

import pytest
from django.db import OperationalError
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from accounts.models import Mailbox
from mailstore import maildrop
from mailstore.locks import Lock
from mailstore.maildrop import (
    Closed,
    CloseRequest,
    LockLostError,
    MaildropInconsistentError,
    MaildropInUseError,
    MessageGoneError,
    Opened,
    OpenRequest,
    PieceRequest,
    close_maildrops,
    open_maildrops,
    read_listing,
    read_pieces,
)
from mailstore.models import PIECE_OCTETS, Maildrop, Message
from mailstore.rows import MailboxGoneError, live_messages, shelved_messages
from mailstore.shelf import restore
from tests.mailstore.mailboxes import assert_counters_fit, fill, make_mailbox, stored

pytestmark = pytest.mark.django_db

WORKER = uuid.UUID(int=1)
OTHER = uuid.UUID(int=2)


def opened(mailbox: FoundMailbox, worker: uuid.UUID = WORKER, take_from: Lock | None = None) -> Opened:
    (answer,) = open_maildrops([OpenRequest(mailbox.id, worker, take_from)])
    assert isinstance(answer, Opened)
    return answer


def in_use(mailbox: FoundMailbox, take_from: Lock | None = None) -> MaildropInUseError:
    (answer,) = open_maildrops([OpenRequest(mailbox.id, OTHER, take_from)])
    assert isinstance(answer, MaildropInUseError)
    return answer


class TestOpen:
    def test_says_what_is_there(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one\n", b"three\n")
        answer = opened(mailbox)
        assert (answer.message_count, answer.octets, answer.next_uid) == (2, 7 + 9, 3)
        assert Maildrop.objects.get(mailbox_id=mailbox.id).opened_at is not None

    def test_a_new_mailbox_is_empty(self, mailbox: FoundMailbox) -> None:
        assert opened(mailbox).message_count == 0

    def test_a_second_session_is_told_who_and_since_when(self, mailbox: FoundMailbox) -> None:
        first = opened(mailbox)
        refusal = in_use(mailbox)
        assert refusal.holder == first.lock
        assert refusal.since == Maildrop.objects.get(mailbox_id=mailbox.id).locked_at

    def test_of_two_in_one_batch_the_first_gets_it(self, mailbox: FoundMailbox) -> None:
        first, second = open_maildrops([OpenRequest(mailbox.id, WORKER), OpenRequest(mailbox.id, WORKER)])
        assert isinstance(first, Opened)
        assert isinstance(second, MaildropInUseError)
        assert second.holder == first.lock

    def test_a_batch_answers_each_in_its_place(
        self, mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        others = [make_mailbox(f"user{number}") for number in range(5)]
        everyone = [mailbox, *others]
        fill(others[2].id, b"x")
        for one in everyone:
            close_maildrops([CloseRequest(one.id, opened(one).lock)])
        with django_assert_num_queries(1):
            answers = open_maildrops([OpenRequest(one.id, WORKER) for one in reversed(everyone)])
        assert [answer.mailbox_id for answer in answers if isinstance(answer, Opened)] == [
            one.id for one in reversed(everyone)
        ]

    def test_the_lock_of_a_dead_holder_is_taken_once(self, mailbox: FoundMailbox) -> None:
        dead = opened(mailbox).lock
        taken = opened(mailbox, OTHER, take_from=dead)
        assert taken.lock != dead
        assert in_use(mailbox, take_from=dead).holder == taken.lock

    def test_who_is_behind_another_that_may_not_take_it_is_told_that_it_is_in_use(self, mailbox: FoundMailbox) -> None:
        """And of no login delay, which nobody had to wait for: the lock is to be taken with the next try."""
        dead = opened(mailbox).lock
        answers = open_maildrops([OpenRequest(mailbox.id, OTHER), OpenRequest(mailbox.id, OTHER, take_from=dead)])
        assert [each.holder for each in answers if isinstance(each, MaildropInUseError)] == [dead, dead]

    def test_a_mailbox_that_vanished_is_gone(self, mailbox: FoundMailbox) -> None:
        Mailbox.objects.filter(id=mailbox.id).delete()
        (answer,) = open_maildrops([OpenRequest(mailbox.id, WORKER)])
        assert isinstance(answer, MailboxGoneError)


class TestListing:
    def test_fits_what_stat_said_and_what_is_stored(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"A: b\n\n.x\n", b"", b"y\n" * 50)
        session = opened(mailbox)
        listing = read_listing(session)
        assert list(listing.uids) == [1, 2, 3]
        assert sum(listing.octets) == session.octets
        assert [len(stored(mailbox.id, uid)) for uid in listing.uids] == list(listing.wire_octets)
        assert listing.header_octets[0] == len(b"A: b\r\n\r\n")
        assert [listing.unique_id(index) for index in range(3)] == [f"{session.uidvalidity}.{n}" for n in (1, 2, 3)]

    def test_keeps_unique_ids_from_elsewhere(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one")
        fill(mailbox.id, b"two", unique_id="from-elsewhere")
        session = opened(mailbox)
        listing = read_listing(session)
        assert [listing.unique_id(0), listing.unique_id(1)] == [f"{session.uidvalidity}.1", "from-elsewhere"]

    def test_does_not_move_while_mail_comes_and_comes_back(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one", b"two")
        first = opened(mailbox)
        close_maildrops([CloseRequest(mailbox.id, first.lock, deleted=[1])])
        session = opened(mailbox)
        fill(mailbox.id, b"three")
        restore(mailbox_id=mailbox.id, uids=[1])
        assert list(read_listing(session).uids) == [2]
        close_maildrops([CloseRequest(mailbox.id, session.lock)])
        assert list(read_listing(opened(mailbox)).uids) == [2, 3, 4]

    def test_is_read_in_bounded_parts(self, mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mailstore.maildrop._LISTED", 4)
        monkeypatch.setattr("mailstore.maildrop._FETCHED", 3)
        fill(mailbox.id, *[b"x" * size for size in range(6)])
        fill(mailbox.id, b"x" * 6, unique_id="from-elsewhere")
        fill(mailbox.id, b"x" * 7)
        listing = read_listing(opened(mailbox))
        assert list(listing.uids) == [1, 2, 3, 4, 5, 6, 7, 8]
        sizes = [len(stored(mailbox.id, uid)) for uid in listing.uids]
        assert list(listing.octets) == list(listing.wire_octets) == sizes
        assert sizes == sorted(set(sizes))
        assert listing.unique_ids == {6: "from-elsewhere"}

    def test_of_one_that_is_known_only_what_came_is_read(
        self,
        mailbox: FoundMailbox,
        monkeypatch: pytest.MonkeyPatch,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        fill(mailbox.id, b"one", b"two")
        fill(mailbox.id, b"three", unique_id="three")
        first = opened(mailbox)
        known = read_listing(first)
        close_maildrops([CloseRequest(mailbox.id, first.lock)])
        fill(mailbox.id, b"four")
        fill(mailbox.id, b"five", unique_id="five")
        monkeypatch.setattr("mailstore.maildrop._LISTED", 2)  # all five would take three statements
        session = opened(mailbox)
        columns = [known.uids, known.octets, known.wire_octets, known.header_octets, known.marked]
        with django_assert_num_queries(2):  # the second finds that there is no more
            listing = read_listing(session, known)
        assert listing == read_listing(session)
        assert listing.unique_ids == {2: "three", 4: "five"}
        # A copy would cost what is there, and not what is new.
        grown = [listing.uids, listing.octets, listing.wire_octets, listing.header_octets, listing.marked]
        assert all(one is other for one, other in zip(columns, grown, strict=True))

    def test_of_one_that_is_known_nothing_stays_that_has_gone(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one", b"two", b"xxx")
        first = opened(mailbox)
        known = read_listing(first)
        close_maildrops([CloseRequest(mailbox.id, first.lock, deleted=[1])])
        fill(mailbox.id, b"new")  # as many messages as before, and as many octets
        second = opened(mailbox)
        later = read_listing(second, known)
        assert list(later.uids) == [2, 3, 4]
        close_maildrops([CloseRequest(mailbox.id, second.lock)])
        restore(mailbox_id=mailbox.id, uids=[1])
        assert list(read_listing(opened(mailbox), known).uids) == [2, 3, 4, 5]
        with pytest.raises(MaildropInconsistentError):  # a session that has lost its lock
            read_listing(first, later)

    @pytest.mark.parametrize("deleted", [[1], [4], [1, 3], [2, 4], [1, 2, 3, 4]])
    def test_of_one_that_is_known_what_its_session_deleted_is_left_out(
        self, mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries, deleted: list[int]
    ) -> None:
        """So the next session of a client that deletes what is old reads what is new, and not all that is there."""
        fill(mailbox.id, b"one", b"two")
        fill(mailbox.id, b"three", unique_id="three")
        fill(mailbox.id, b"four")
        first = opened(mailbox)
        known = read_listing(first)
        before = deepcopy(known)
        known.gone = array("Q", deleted)
        close_maildrops([CloseRequest(mailbox.id, first.lock, deleted=deleted)])
        fill(mailbox.id, b"five")
        session = opened(mailbox)
        with django_assert_num_queries(1):
            listing = read_listing(session, known)
        assert listing == read_listing(session)
        assert list(listing.uids) == [uid for uid in (1, 2, 3, 4, 5) if uid not in deleted]
        # A session that has lost its lock may have it still.
        assert replace(known, gone=before.gone) == before

    def test_of_one_that_is_known_nothing_is_left_out_but_what_has_gone(self, mailbox: FoundMailbox) -> None:
        """Somebody else has deleted another one since."""
        fill(mailbox.id, b"one", b"two", b"xxx")
        first = opened(mailbox)
        known = read_listing(first)
        known.gone = array("Q", [1])
        close_maildrops([CloseRequest(mailbox.id, first.lock, deleted=[1])])
        other = opened(mailbox, OTHER)
        close_maildrops([CloseRequest(mailbox.id, other.lock, deleted=[3])])
        fill(mailbox.id, b"yyy")
        assert list(read_listing(opened(mailbox), known).uids) == [2, 4]

    def test_counters_that_do_not_fit_are_put_right(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one")
        Maildrop.objects.filter(mailbox_id=mailbox.id).update(octets=1)
        session = opened(mailbox)
        with pytest.raises(MaildropInconsistentError):
            read_listing(session)
        close_maildrops([CloseRequest(mailbox.id, session.lock)])
        assert len(read_listing(opened(mailbox))) == 1


class TestPieces:
    def test_are_answered_in_their_places(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one\n\n", b"x\n" * PIECE_OCTETS)
        wire = stored(mailbox.id, 2)
        answers = read_pieces([PieceRequest(mailbox.id, uid, piece) for uid, piece in [(2, 1), (1, 0), (9, 0), (2, 0)]])
        assert answers[0] == wire[PIECE_OCTETS : 2 * PIECE_OCTETS]
        assert answers[1] == b"one\r\n\r\n"
        assert isinstance(answers[2], MessageGoneError)
        assert answers[3] == wire[:PIECE_OCTETS]

    def test_of_another_mailbox_are_never_given(self, mailbox: FoundMailbox) -> None:
        other = make_mailbox("alfred")
        fill(other.id, b"secret")
        assert isinstance(read_pieces([PieceRequest(mailbox.id, 1, 0)])[0], MessageGoneError)


class TestClose:
    def test_deletes_what_was_deleted_and_nothing_else(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one", b"two", b"three", b"four")
        session = opened(mailbox)
        request = CloseRequest(mailbox.id, session.lock, retrieved=[1, 2], deleted=[2, 4])
        assert close_maildrops([request]) == [Closed(messages=2, octets=7 + 8)]
        assert [message.uid for message in live_messages(mailbox.id).order_by("uid")] == [1, 3]
        read = Message.objects.filter(mailbox_id=mailbox.id, retrieved_at__isnull=False).order_by("uid")
        serial = session.lock.serial
        assert [(message.uid, message.retrieved_serial) for message in read] == [(1, serial), (2, serial)]
        gone = shelved_messages(mailbox.id).order_by("uid").values_list("uid", "retrieved_serial", "deleted_serial")
        assert list(gone) == [(2, serial, serial), (4, None, serial)]
        assert_counters_fit(mailbox.id)
        assert opened(mailbox).version == session.version + 1

    def test_without_deletions_leaves_the_version(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one")
        session = opened(mailbox)
        close_maildrops([CloseRequest(mailbox.id, session.lock)])
        assert opened(mailbox).version == session.version

    def test_of_a_session_that_lost_its_lock_does_nothing(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one")
        dead = opened(mailbox).lock
        living = opened(mailbox, OTHER, take_from=dead)
        (answer,) = close_maildrops([CloseRequest(mailbox.id, dead, retrieved=[1], deleted=[1])])
        assert isinstance(answer, LockLostError)
        assert live_messages(mailbox.id).count() == 1
        assert in_use(mailbox).holder == living.lock

    def test_of_a_session_that_lost_its_lock_marks_nothing_as_retrieved(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one")
        dead = opened(mailbox).lock
        opened(mailbox, OTHER, take_from=dead)
        (answer,) = close_maildrops([CloseRequest(mailbox.id, dead, retrieved=[1])])
        assert isinstance(answer, LockLostError)
        assert live_messages(mailbox.id).get().retrieved_at is None

    def test_nor_where_the_one_that_has_the_lock_ends_at_the_same_moment(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one")
        lost = opened(mailbox).lock
        taken = opened(mailbox, take_from=lost).lock
        first, second = close_maildrops([CloseRequest(mailbox.id, lock, retrieved=[1]) for lock in (lost, taken)])
        assert isinstance(first, LockLostError)
        assert second == Closed(0, 0)
        assert live_messages(mailbox.id).get().retrieved_serial == taken.serial

    def test_nothing_is_deleted_where_something_fails_for_others(
        self, mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All who end at the same moment are told of the error, so it has to be true for all of them (promise 2)."""
        fill(mailbox.id, b"one")
        other = make_mailbox("other")
        requests = [
            CloseRequest(mailbox.id, opened(mailbox).lock, deleted=[1]),
            CloseRequest(other.id, opened(other).lock),
        ]

        def fail(*_: object) -> None:
            raise OperationalError("the database has gone")

        monkeypatch.setattr(maildrop, "_free", fail)
        with pytest.raises(OperationalError):
            close_maildrops(requests)
        assert live_messages(mailbox.id).count() == 1

    def test_a_listing_knows_what_is_marked_as_retrieved(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one", b"two", b"three")
        session = opened(mailbox)
        close_maildrops([CloseRequest(mailbox.id, session.lock, retrieved=[2])])
        listing = read_listing(opened(mailbox))
        assert listing.unmarked([1, 2, 3]) == [1, 3]
        listing.mark([3])
        assert listing.unmarked([1, 2, 3]) == [1]

    def test_twice_is_once(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one", b"two")
        session = opened(mailbox)
        request = CloseRequest(mailbox.id, session.lock, deleted=[1])
        first, second = close_maildrops([request, request])
        assert isinstance(first, Closed)
        assert isinstance(second, LockLostError)
        assert_counters_fit(mailbox.id)

    def test_of_very_many_deletions(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one", b"two", b"three")
        session = opened(mailbox)
        close_maildrops([CloseRequest(mailbox.id, session.lock, deleted=[*range(2, 5000)])])
        assert [message.uid for message in live_messages(mailbox.id)] == [1]
        assert_counters_fit(mailbox.id)

    def test_keeps_mail_that_came_meanwhile(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one")
        session = opened(mailbox)
        fill(mailbox.id, b"two")
        close_maildrops([CloseRequest(mailbox.id, session.lock, deleted=[1])])
        assert opened(mailbox).message_count == 1
        assert_counters_fit(mailbox.id)
