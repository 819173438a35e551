"""Several maildrops in one session: all or none, and one order for their messages."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from accounts.models import Mailbox
from mailstore.delivery import Import, append_many
from mailstore.locks import find_holders
from mailstore.maildrop import (
    Closed,
    CloseRequest,
    LockLostError,
    MaildropInUseError,
    Opened,
    OpenedLatelyError,
    OpenRequest,
    close_maildrops,
    open_maildrops,
    read_listing,
)
from mailstore.models import Content, Maildrop, Message
from mailstore.rows import MailboxGoneError, live_messages
from mailstore.together import Order, Part, close_together, open_together, read_order
from tests.mailstore.mailboxes import assert_counters_fit, body_of, fill, make_mailbox

pytestmark = pytest.mark.django_db

WORKER, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
BEGAN = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


@pytest.fixture
def boxes() -> list[FoundMailbox]:
    return [make_mailbox("charles"), make_mailbox("charles2"), make_mailbox("charles3")]


def requests(boxes: list[FoundMailbox], delay: int = 0) -> list[OpenRequest]:
    return [OpenRequest(box.id, WORKER, login_delay=delay) for box in boxes]


def holders(boxes: list[FoundMailbox]) -> list[object]:
    return list(find_holders([box.id for box in boxes]))


def fill_at(box: FoundMailbox, *seconds: float, unique_id: str = "") -> None:
    """Store messages that came so many seconds after the beginning."""
    for second in seconds:
        with body_of(b"x") as body:
            append_many(mailbox_id=box.id, imports=[Import(body, BEGAN + timedelta(seconds=second), unique_id)])


def parts_of(sessions: list[Opened]) -> list[Part]:
    return [Part(session.mailbox_id, read_listing(session)) for session in sessions]


def places(order: Order) -> list[tuple[int, int]]:
    return list(zip(order.parts, order.indexes, strict=True))


class TestOpen:
    def test_all(self, boxes: list[FoundMailbox]) -> None:
        fill(boxes[1].id, b"one")
        opened = open_together(requests(boxes))
        assert [session.mailbox_id for session in opened] == [box.id for box in boxes]
        assert [session.message_count for session in opened] == [0, 1, 0]
        assert holders(boxes) == [session.lock for session in opened]

    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_or_none(self, boxes: list[FoundMailbox], at: int) -> None:
        """Those that were free are as if nobody had come: not locked, and no login delay begins."""
        (other,) = open_maildrops([OpenRequest(boxes[at].id, OTHER)])
        assert isinstance(other, Opened)
        with pytest.raises(MaildropInUseError) as error:
            open_together(requests(boxes))
        assert (error.value.mailbox_id, error.value.holder) == (boxes[at].id, other.lock)
        assert holders(boxes) == [other.lock if number == at else None for number in range(3)]
        free = [box.id for number, box in enumerate(boxes) if number != at]
        assert not Maildrop.objects.filter(mailbox_id__in=free, opened_at__isnull=False).exists()

    def test_nor_where_one_was_opened_a_moment_ago(self, boxes: list[FoundMailbox]) -> None:
        (before,) = open_maildrops([OpenRequest(boxes[1].id, OTHER)])
        assert isinstance(before, Opened)
        close_maildrops([CloseRequest(boxes[1].id, before.lock)])
        with pytest.raises(OpenedLatelyError):
            open_together(requests(boxes, delay=600))
        assert holders(boxes) == [None] * 3

    def test_nor_where_one_is_gone(self, boxes: list[FoundMailbox]) -> None:
        Mailbox.objects.filter(id=boxes[2].id).delete()
        with pytest.raises(MailboxGoneError):
            open_together(requests(boxes))
        assert holders(boxes[:2]) == [None] * 2

    def test_the_locks_of_the_dead_are_taken(self, boxes: list[FoundMailbox]) -> None:
        (dead,) = open_maildrops([OpenRequest(boxes[1].id, OTHER)])
        assert isinstance(dead, Opened)
        asked = requests(boxes)
        asked[1] = OpenRequest(boxes[1].id, WORKER, take_from=dead.lock)
        assert [session.lock.worker for session in open_together(asked)] == [WORKER] * 3


class TestClose:
    def test_deletes_in_all(self, boxes: list[FoundMailbox]) -> None:
        fill(boxes[0].id, b"one", b"two")
        fill(boxes[1].id, b"three")
        one, two, three = open_together(requests(boxes))
        closed = close_together(
            [
                CloseRequest(boxes[0].id, one.lock, retrieved=[2], deleted=[1]),
                CloseRequest(boxes[1].id, two.lock, deleted=[1]),
                CloseRequest(boxes[2].id, three.lock),
            ]
        )
        assert closed == [Closed(1, 7), Closed(1, 9), Closed(0, 0)]
        assert [live_messages(box.id).count() for box in boxes] == [1, 0, 0]
        assert Message.objects.get(mailbox_id=boxes[0].id, uid=2).retrieved_serial == one.lock.serial
        assert Message.objects.get(mailbox_id=boxes[1].id, uid=1).deleted_serial == two.lock.serial
        assert holders(boxes) == [None] * 3
        for box in boxes:
            assert_counters_fit(box.id)

    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_in_none_where_one_lock_is_lost(self, boxes: list[FoundMailbox], at: int) -> None:
        """Promise 2: nothing is deleted but by a QUIT answered +OK."""
        for box in boxes:
            fill(box.id, b"x")
        opened = open_together(requests(boxes))
        (taken,) = open_maildrops([OpenRequest(boxes[at].id, OTHER, take_from=opened[at].lock)])
        assert isinstance(taken, Opened)
        with pytest.raises(LockLostError):
            close_together([CloseRequest(each.mailbox_id, each.lock, retrieved=[1], deleted=[1]) for each in opened])
        assert [live_messages(box.id).filter(retrieved_at=None).count() for box in boxes] == [1, 1, 1]
        assert holders(boxes) == [(taken if number == at else opened[number]).lock for number in range(3)]

    def test_nor_where_a_mailbox_has_gone(self, boxes: list[FoundMailbox]) -> None:
        fill(boxes[0].id, b"x")
        opened = open_together(requests(boxes))
        Mailbox.objects.filter(id=boxes[2].id).delete()
        with pytest.raises(LockLostError):
            close_together([CloseRequest(each.mailbox_id, each.lock, deleted=[1]) for each in opened])
        assert live_messages(boxes[0].id).count() == 1


class TestOrder:
    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(arrivals=st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 3)), max_size=12), split=st.integers(0, 12))
    def test_it_is_the_merge_of_the_single_ones(
        self, boxes: list[FoundMailbox], arrivals: list[tuple[int, int]], split: int
    ) -> None:
        """By time of arrival, then by mailbox and uid; read on from an order that is known or anew."""
        for box in boxes:
            for model in (Content, Message):
                model.objects.filter(mailbox_id=box.id).delete()
            Maildrop.objects.filter(mailbox_id=box.id).update(
                message_count=0, octets=0, next_uid=1, uidvalidity=box.id, lock_worker=None
            )
        known = None
        for some in (arrivals[:split], arrivals[split:]):
            for number, second in some:
                fill_at(boxes[number], second)
            sessions = open_together(requests(boxes))
            parts = parts_of(sessions)
            order = read_order(parts, known)
            assert order == read_order(parts)
            rows = Message.objects.filter(mailbox_id__in=[box.id for box in boxes])
            wanted = rows.order_by("received_at", "mailbox_id", "uid").values_list("mailbox_id", "uid")
            shown = [(boxes[number].id, parts[number].listing.uids[index]) for number, index in places(order)]
            assert shown == list(wanted)
            close_together([CloseRequest(each.mailbox_id, each.lock) for each in sessions])
            known = order

    def test_what_has_gone_since_is_not_read_on(self, boxes: list[FoundMailbox]) -> None:
        fill_at(boxes[0], 1, 2, 3)
        fill_at(boxes[1], 1.5)
        first = open_together(requests(boxes))
        known = read_order(parts_of(first))
        assert places(known) == [(0, 0), (1, 0), (0, 1), (0, 2)]
        closing = [CloseRequest(each.mailbox_id, each.lock) for each in first]
        close_together([CloseRequest(boxes[0].id, first[0].lock, deleted=[1]), *closing[1:]])
        fill_at(boxes[1], 0)
        again = read_order(parts_of(open_together(requests(boxes))), known)
        assert places(again) == [(1, 1), (1, 0), (0, 0), (0, 1)]

    def test_of_what_is_known_no_times_are_read(
        self, boxes: list[FoundMailbox], django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        fill_at(boxes[0], 1, 2, 3)
        parts = parts_of(open_together(requests(boxes)))
        known = read_order(parts)
        with django_assert_num_queries(1):  # which unique-ids are given with the mailbox
            assert read_order(parts, known) == known


class TestUniqueIds:
    """RFC 1939, 7: unique within the maildrop that is shown, and the same in each session."""

    def qualified(self, boxes: list[FoundMailbox]) -> list[int]:
        sessions = open_together(requests(boxes))
        order = read_order(parts_of(sessions))
        close_together([CloseRequest(each.mailbox_id, each.lock) for each in sessions])
        return sorted(order.qualified)

    def test_ours_are_all_different(self, boxes: list[FoundMailbox]) -> None:
        for box in boxes:
            fill(box.id, b"x", b"y")
        assert self.qualified(boxes) == []

    def test_those_that_were_brought_from_elsewhere_may_be_the_same(self, boxes: list[FoundMailbox]) -> None:
        fill_at(boxes[0], 1, unique_id="one")
        fill_at(boxes[1], 1, unique_id="two")
        assert self.qualified(boxes) == []
        fill_at(boxes[2], 1, unique_id="two")
        assert self.qualified(boxes) == [2]

    def test_that_is_for_ever(self, boxes: list[FoundMailbox]) -> None:
        fill_at(boxes[0], 1, unique_id="one")
        fill_at(boxes[1], 1, unique_id="one")
        assert self.qualified(boxes[:2]) == [1]
        (session,) = open_maildrops([OpenRequest(boxes[0].id, WORKER)])
        assert isinstance(session, Opened)
        close_maildrops([CloseRequest(boxes[0].id, session.lock, deleted=[1])])
        assert self.qualified(boxes[:2]) == [1]

    def test_one_of_ours_that_was_brought_to_another_mailbox(self, boxes: list[FoundMailbox]) -> None:
        """As by exportmail and importmail: the one it was made for may come to give it again."""
        fill(boxes[2].id, b"x")
        made = Maildrop.objects.get(mailbox_id=boxes[2].id).uidvalidity
        fill_at(boxes[0], 1, unique_id=f"{made}.7")
        assert self.qualified(boxes) == [0]

    def test_mailboxes_from_before_may_have_the_same_uidvalidity(self, boxes: list[FoundMailbox]) -> None:
        for box in boxes[:2]:
            fill(box.id, b"x")
        Maildrop.objects.update(uidvalidity=1_700_000_000)
        assert self.qualified(boxes) == [1]
