"""A mailbox's own word comes before its domain's, and that before the settings."""

import pytest
from pytest_django import Settings

from accounts.lookup import find_credentials
from accounts.models import Domain, Mailbox
from accounts.policies import Announced, Policy, expire_days_in_force, find_announced, strictest
from accounts.services import create_account, create_domain

pytestmark = pytest.mark.django_db


@pytest.fixture
def domain(settings: Settings) -> Domain:
    settings.MAIL_EXPIRE_DAYS, settings.POP3_LOGIN_DELAY_SECONDS = 90, 10
    return create_domain(name="maison.mrs")


def mailbox(name: str, **policies: int) -> Mailbox:
    found: Mailbox = create_account(username=name, password="x").mailboxes.get()
    Mailbox.objects.filter(pk=found.pk).update(**policies)
    return found


def policy_of(mailbox: Mailbox) -> Policy:
    """As a login has it; a statement on mailboxes says the same."""
    (credential,) = find_credentials([mailbox.address])
    assert credential is not None
    queryset = Mailbox.objects.filter(pk=mailbox.pk)
    assert queryset.values_list(expire_days_in_force(), flat=True).get() == credential.policy.expire_days
    return credential.policy


def test_the_settings_hold_where_nobody_says_otherwise(domain: Domain) -> None:
    assert policy_of(mailbox("jules")) == Policy(expire_days=90, login_delay_seconds=10)


def test_a_domain_and_then_a_mailbox_may_say_otherwise_each_policy_by_itself(domain: Domain) -> None:
    Domain.objects.update(expire_days=30)
    assert policy_of(mailbox("jules")) == Policy(30, 10)
    assert policy_of(mailbox("alfred", login_delay_seconds=60)) == Policy(30, 60)
    assert policy_of(mailbox("charles", expire_days=7)) == Policy(7, 10)


def test_nothing_is_something_to_say(domain: Domain) -> None:
    """0 is never, and none: it is not inherited."""
    Domain.objects.update(expire_days=0)
    assert policy_of(mailbox("jules", login_delay_seconds=0)) == Policy(0, 0)
    assert policy_of(mailbox("alfred", expire_days=5)) == Policy(5, 10)


def test_a_bare_name_has_the_policy_of_its_mailbox(domain: Domain) -> None:
    mailbox("jules", expire_days=3)
    (credential,) = find_credentials(["jules"])
    assert credential is not None
    assert credential.policy == Policy(3, 10)


def test_before_the_login_what_holds_for_all_is_said_as_it_is(domain: Domain) -> None:
    """RFC 2449, 6.5 and 6.7: USER is said only where users differ."""
    assert find_announced() == Announced(90, False, 10, False)
    mailbox("jules")
    assert find_announced() == Announced(90, False, 10, False)


def test_before_any_domain_the_settings_are_said(settings: Settings) -> None:
    settings.MAIL_EXPIRE_DAYS, settings.POP3_LOGIN_DELAY_SECONDS = 0, 0
    assert find_announced() == Announced(0, False, 0, False)


def test_before_the_login_the_strictest_is_said(domain: Domain) -> None:
    """RFC 2449: the smallest expiry and the largest delay that any user could have."""
    mailbox("jules", expire_days=30, login_delay_seconds=0)
    assert find_announced() == Announced(30, True, 10, True)
    Domain.objects.update(expire_days=5)
    mailbox("alfred", login_delay_seconds=600)
    assert find_announced() == Announced(5, True, 600, True)


def test_to_keep_for_ever_is_not_the_smallest(domain: Domain) -> None:
    mailbox("jules", expire_days=0)
    assert find_announced() == Announced(90, True, 10, False)


def test_of_several_mailboxes_the_shortest_life_and_the_longest_delay_hold() -> None:
    assert strictest([Policy(0, 5), Policy(90, 0), Policy(30, 7)]) == Policy(30, 7)
    assert strictest([Policy(0, 0), Policy(0, 0)]) == Policy(0, 0)
    assert strictest([]) == Policy(0, 0)
