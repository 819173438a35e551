"""A mailbox is looked at page by page, at the same cost for the first page and the last."""

from datetime import UTC, datetime

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from mailstore import browse
from mailstore.browse import find_message, find_uids, overview, page_of_messages, read_message
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
    assert uids(mailbox.id, search="dinner " * 2000)[0] == [2]
    assert uids(mailbox.id, search="dîner " * 2000)[0] == []


@pytest.mark.parametrize("word", ["élevé", "Élevé", "ÉLEVÉ"])
def test_upper_and_lower_case_are_the_same_beyond_ascii_too(mailbox: FoundMailbox, word: str) -> None:
    fill(
        mailbox.id, *[f"Subject: un prix {spelling}\n\n".encode() for spelling in ("élevé", "Élevé", "ÉLEVÉ", "eleve")]
    )
    assert uids(mailbox.id, search=word)[0] == [3, 2, 1]


def test_the_shelf_and_the_maildrop_are_apart(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"one", b"two")
    Message.objects.filter(mailbox_id=mailbox.id, uid=1).update(deleted_at="2026-11-01T00:00Z")
    assert uids(mailbox.id) == ([2], None)
    assert uids(mailbox.id, shelf=True) == ([1], None)


def test_all_that_the_pages_show_is_found_at_once(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, *[b"Subject: a\n\n", b"Subject: b\n\n"] * 3)
    Message.objects.filter(mailbox_id=mailbox.id, uid__gt=4).update(deleted_at="2026-11-01T00:00Z")
    assert find_uids(mailbox.id, most=9) == [1, 2, 3, 4]
    assert find_uids(mailbox.id, most=3) == [1, 2, 3]
    assert find_uids(mailbox.id, most=9, search="b") == [2, 4]
    assert find_uids(mailbox.id, most=9, shelf=True) == [5, 6]


def test_a_mailbox_in_short(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert overview(mailbox.id) == browse.Overview(shelved=0, deleted_at=None, received_at=None)
    fill(mailbox.id, *[b"x"] * 7)
    days = [datetime(2026, 11, day, tzinfo=UTC) for day in range(8)[1:]]
    for uid, day in enumerate(days, 1):
        Message.objects.filter(mailbox_id=mailbox.id, uid=uid).update(received_at=day)
    # Number 7 came back from the shelf: the newest message is another one.
    Message.objects.filter(mailbox_id=mailbox.id, uid=7).update(received_at=days[0])
    Message.objects.filter(mailbox_id=mailbox.id, uid__in=[1, 2]).update(deleted_at=days[3])
    Message.objects.filter(mailbox_id=mailbox.id, uid=3).update(deleted_at=days[4])
    with django_assert_num_queries(3):
        assert overview(mailbox.id) == browse.Overview(shelved=3, deleted_at=days[4], received_at=days[5])
    monkeypatch.setattr(browse, "SHELVED_COUNTED", 1)
    assert overview(mailbox.id).shelved == 2


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
