"""What is noted of messages: how long one that could not be fetched is let be, and what becomes of it."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.lookup import FoundMailbox
from collecting.aside import BAD_AGAIN_AFTER, TRY_AGAIN_AFTER, leave, note_stored, put_aside
from collecting.claims import ClaimLostError, claim_one
from collecting.listing import Listed, sort
from collecting.models import ERROR_CHARACTERS, SeenMessage, Source
from collecting.services import look_now
from tests.collecting.sources import make_source
from tests.mailstore.pop3_server import ScriptedPop3

NOW = timezone.now()
MOMENT = timedelta(seconds=1)
LISTED = {4: b"u"}


@pytest.fixture
def source(mailbox: FoundMailbox) -> Source:
    claimed = claim_one(make_source(mailbox, ScriptedPop3(port=1)).pk, uuid4(), NOW)
    assert claimed is not None
    return claimed


def new(source: Source) -> Listed:
    (found,) = sort(LISTED, source, NOW).new
    return found


def test_it_is_let_be_longer_and_longer(source: Source) -> None:
    each, now = new(source), NOW
    for times, wait in enumerate((*TRY_AGAIN_AFTER, TRY_AGAIN_AFTER[-1]), start=1):
        put_aside(source, each, f"{times} times", now)
        if wait:
            early = sort(LISTED, source, now + wait - MOMENT)
            assert (early.again, early.new, early.waiting, early.why) == ([], [], 1, f"{times} times")
        now += wait
        due = sort(LISTED, source, now)
        (each,) = due.again
        assert (each.number, each.tries, due.new, due.stored, due.waiting) == (4, times, [], [], 0)


def test_what_came_and_was_no_message_is_let_be_at_once(source: Source) -> None:
    put_aside(source, new(source), "x" * 2 * ERROR_CHARACTERS, NOW, is_bad=True)
    assert SeenMessage.objects.get().again_at == NOW + BAD_AGAIN_AFTER


def test_in_the_end_it_is_stored_or_left_for_good(source: Source) -> None:
    for end in (note_stored, leave):
        SeenMessage.objects.all().delete()
        put_aside(source, new(source), "no", NOW)
        end(source, sort(LISTED, source, NOW).again[0])
        found = sort(LISTED, source, NOW + timedelta(days=365))
        assert (found.again, found.waiting, len(found.stored)) == ([], 0, int(end is note_stored))


def test_what_is_not_listed_any_more_is_not_told_of(source: Source) -> None:
    put_aside(source, new(source), "no", NOW, is_bad=True)
    assert sort({}, source, NOW).waiting == 0


def test_an_admin_has_it_tried_again_now(source: Source) -> None:
    put_aside(source, new(source), "no", NOW, is_bad=True)
    look_now(source_ids=[source.pk], now=NOW)
    assert len(sort(LISTED, source, NOW).again) == 1


def test_whoever_has_lost_the_claim_notes_nothing(source: Source) -> None:
    Source.objects.update(claimed_by=uuid4())
    for write in (lambda: put_aside(source, new(source), "no", NOW), lambda: leave(source, new(source))):
        with pytest.raises(ClaimLostError):
            write()
    assert not SeenMessage.objects.exists()
