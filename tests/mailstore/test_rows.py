"""The maildrop's row is there when it is needed, and its counters can be put right."""

import pytest

from accounts.lookup import FoundMailbox
from mailstore.models import Maildrop
from mailstore.rows import MailboxGoneError, lock_maildrop, lock_maildrops, recount
from tests.mailstore.mailboxes import assert_counters_fit, fill, make_mailbox

pytestmark = pytest.mark.django_db


def test_a_row_is_made_when_it_is_first_locked(mailbox: FoundMailbox) -> None:
    assert not Maildrop.objects.exists()
    made = lock_maildrop(mailbox.id)
    assert (made.next_uid, made.message_count, made.octets) == (1, 0, 0)
    assert made.uidvalidity > 1_700_000_000
    assert lock_maildrop(mailbox.id).uidvalidity == made.uidvalidity


def test_a_mailbox_that_does_not_exist_has_no_row(mailbox: FoundMailbox) -> None:
    other = make_mailbox("alfred")
    assert list(lock_maildrops([other.id, 999_999, mailbox.id])) == sorted([mailbox.id, other.id])
    with pytest.raises(MailboxGoneError):
        lock_maildrop(999_999)


def test_counters_that_went_wrong_are_put_right(mailbox: FoundMailbox) -> None:
    fill(mailbox.id, b"one", b"two")
    Maildrop.objects.filter(mailbox_id=mailbox.id).update(message_count=7, octets=1)
    recount(mailbox_id=mailbox.id)
    assert_counters_fit(mailbox.id)
