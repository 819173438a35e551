"""Room is asked for before a message is received; what is refused then would be refused when it is stored."""

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailstore.models import Maildrop
from mailstore.quota import RoomRequest, have_room
from tests.mailstore.mailboxes import fill, make_mailbox

pytestmark = pytest.mark.django_db

KIB = 1024


def has_room(mailbox: FoundMailbox, octets: int = 0) -> bool:
    (answer,) = have_room([RoomRequest(mailbox, octets)])
    return answer


def test_without_a_quota_there_is_room_for_anything(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        assert has_room(mailbox, 2**40)


def test_the_last_message_has_room_and_the_next_has_not() -> None:
    small = make_mailbox("alfred", quota_messages=2)
    assert has_room(small)
    fill(small.id, b"one")
    assert has_room(small)
    fill(small.id, b"two")
    assert not has_room(small)


def test_octets_count_with_those_of_a_trace_header() -> None:
    small = make_mailbox("alfred", quota_octets=10 * KIB)
    assert has_room(small, 9 * KIB)
    assert not has_room(small, 9 * KIB + 1)
    fill(small.id, b"\r\n" + b"x" * 4094 + b"\r\n")
    used = Maildrop.objects.get(mailbox_id=small.id).octets
    assert has_room(small, 9 * KIB - used)
    assert not has_room(small, 9 * KIB - used + 1)


def test_a_message_of_unknown_size_is_refused_where_none_at_all_would_fit() -> None:
    small = make_mailbox("alfred", quota_octets=2 * KIB)
    assert has_room(small)
    fill(small.id, b"\r\n" + b"x" * 2 * KIB)
    assert not has_room(small)


def test_a_batch_is_answered_in_order_with_one_query(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    full = make_mailbox("alfred", quota_messages=1)
    roomy = make_mailbox("charles", quota_messages=2)
    for one in (full, roomy):
        fill(one.id, b"x")
    with django_assert_num_queries(1):
        assert have_room([RoomRequest(one, 0) for one in (full, mailbox, roomy, full)]) == [False, True, True, False]
