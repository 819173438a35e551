"""What a server lists beside what was seen there."""

import pytest
from django.utils import timezone

from accounts.lookup import FoundMailbox
from collecting.listing import FORGET_AFTER, sort
from collecting.models import SeenMessage, Source
from tests.collecting.sources import make_source
from tests.mailstore.pop3_server import ScriptedPop3

NOW = timezone.now()


@pytest.fixture
def source(mailbox: FoundMailbox) -> Source:
    return make_source(mailbox, ScriptedPop3(port=1))


def see(source: Source, listed: dict[int, bytes], *, stored: bool = True) -> None:
    """They have been seen."""
    SeenMessage.objects.bulk_create(
        [SeenMessage(source=source, digest=each.digest, stored=stored) for each in sort(listed, source, NOW).new]
    )


def test_new_stored_and_left(source: Source) -> None:
    see(source, {1: b"a"})
    see(source, {1: b"b"}, stored=False)
    found = sort({3: b"a", 2: b"b", 1: b"c"}, source, NOW)
    assert [each.number for each in found.new] == [1]
    assert [each.number for each in found.stored] == [3]


def test_copies_are_told_apart_by_their_order(source: Source) -> None:
    first, second = sort({1: b"a", 5: b"a"}, source, NOW).new
    assert first.digest != second.digest
    assert first.copies == second.copies == (first.digest, second.digest)
    see(source, {1: b"a"})
    assert [each.number for each in sort({1: b"a", 5: b"a"}, source, NOW).new] == [5]


def test_another_source_has_seen_nothing(source: Source, mailbox: FoundMailbox) -> None:
    see(source, {1: b"a"})
    other = make_source(mailbox, ScriptedPop3(port=1), login="other")
    assert len(sort({1: b"a"}, other, NOW).new) == 1


def test_what_is_gone_is_forgotten_after_a_while_and_what_is_back_is_not(source: Source) -> None:
    see(source, {n: b"%d" % n for n in range(1200)})
    sort({}, source, NOW)
    sort({1: b"1"}, source, NOW + FORGET_AFTER / 2)
    sort({1: b"1"}, source, NOW + FORGET_AFTER * 1.01)
    assert SeenMessage.objects.get().missing_since is None
