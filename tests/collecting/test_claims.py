"""Claims: one worker has an account, the longest due comes first, and what a dead worker held is anybody's again."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.lookup import FoundMailbox
from accounts.models import Mailbox, User
from collecting.claims import LEASE, ClaimLostError, claim, claim_one, holds, renew
from collecting.models import Source
from tests.collecting.sources import make_source, take_due
from tests.mailstore.pop3_server import ScriptedPop3

NOW = timezone.now() + timedelta(days=1)  # later than all that the tests make, whenever they run
SERVER = ScriptedPop3(port=1)


def test_the_longest_due_comes_first_and_once(mailbox: FoundMailbox) -> None:
    second, first = make_source(mailbox, SERVER, login="a"), make_source(mailbox, SERVER, login="b")
    Source.objects.filter(pk=first.pk).update(next_look_at=NOW - timedelta(days=2))
    assert [take_due(NOW), take_due(NOW), take_due(NOW)] == [first, second, None]
    first.refresh_from_db()
    assert (first.last_look_at, first.next_look_at) == (NOW, NOW + timedelta(minutes=15))  # before anything is dialled


def test_what_is_not_due_off_or_suspended_is_left_alone(mailbox: FoundMailbox) -> None:
    source = make_source(mailbox, SERVER)
    assert take_due(source.next_look_at - timedelta(seconds=1)) is None
    for model, off in ((Source, {"is_active": False}), (Mailbox, {"is_active": False}), (User, {"is_active": False})):
        model.objects.update(**off)
        assert take_due(NOW) is None
        model.objects.update(is_active=True)
    assert take_due(NOW) == source


def test_a_claim_ends_unless_it_is_renewed(mailbox: FoundMailbox) -> None:
    source, worker = make_source(mailbox, SERVER), uuid4()
    later = NOW + LEASE - timedelta(seconds=1)
    claimed = claim(worker, NOW)
    Source.objects.update(next_look_at=NOW)
    renew([worker], later)
    assert take_due(NOW + LEASE) is None
    holds(claimed)
    assert take_due(later + LEASE) == source
    with pytest.raises(ClaimLostError):
        holds(claimed)


def test_one_account_by_hand(mailbox: FoundMailbox) -> None:
    source = make_source(mailbox, SERVER)
    Source.objects.update(next_look_at=NOW + timedelta(days=1))
    assert claim_one(source.pk, uuid4(), NOW) == source
    assert claim_one(source.pk, uuid4(), NOW) is None


def test_a_worker_with_nothing_to_do_asks_once(
    mailbox: FoundMailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        assert take_due(NOW) is None
