"""A mailbox is looked at page by page, at the same cost for the first page and the last."""

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailstore.browse import find_message, page_of_messages, read_message
from mailstore.models import Message
from tests.mailstore.mailboxes import fill, make_mailbox

pytestmark = pytest.mark.django_db


def uids(mailbox_id: int, **how: object) -> tuple[list[int], int | None]:
    page = page_of_messages(mailbox_id, **how)
    return [message.uid for message in page.messages], page.next_before_uid


def test_pages_follow_one_another_newest_first(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    fill(mailbox.id, *[b"x"] * 5)
    with django_assert_num_queries(3):
        assert uids(mailbox.id, size=2) == ([5, 4], 4)
        assert uids(mailbox.id, size=2, before_uid=4) == ([3, 2], 2)
        assert uids(mailbox.id, size=2, before_uid=2) == ([1], None)
    assert uids(mailbox.id, size=5) == ([5, 4, 3, 2, 1], None)


def test_every_word_is_looked_for_in_the_envelope(mailbox: FoundMailbox) -> None:
    fill(
        mailbox.id,
        b"Subject: the quota report\nFrom: alfred@maison.mrs\n\n",
        b"Subject: dinner\nFrom: alfred@maison.mrs\n\n",
        b"Subject: REPORT\nMessage-ID: <quota@x>\n\n",
    )
    assert uids(mailbox.id, search="quota report")[0] == [3, 1]
    assert uids(mailbox.id, search="ALFRED")[0] == [2, 1]
    assert uids(mailbox.id, search="\0%_")[0] == []


def test_the_shelf_and_the_maildrop_are_apart(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"one", b"two")
    Message.objects.filter(mailbox_id=mailbox.id, uid=1).update(deleted_at="2026-11-01T00:00Z")
    assert uids(mailbox.id) == ([2], None)
    assert uids(mailbox.id, shelf=True) == ([1], None)


def test_a_message_is_read_as_it_came(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"Subject: x\r\n\r\n.dot\r\n..dots\r\n")
    assert b"".join(read_message(mailbox.id, 1)) == b"Subject: x\r\n\r\n.dot\r\n..dots\r\n"
    assert find_message(mailbox.id, 1) is not None


def test_another_mailbox_is_not_looked_into(mailbox: FoundMailbox) -> None:
    other = make_mailbox("alfred")
    fill(other.id, b"secret")
    assert uids(mailbox.id) == ([], None)
    assert find_message(mailbox.id, 1) is None
    assert b"".join(read_message(mailbox.id, 1)) == b""
