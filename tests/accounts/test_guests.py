"""Who was let in may still be, until what let them in is taken back."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import identify_hasher, make_password
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.app_passwords import create_app_password, revoke_app_password
from accounts.callers import Protocol
from accounts.guests import Guest, find_unwelcome
from accounts.models import AppPassword, Mailbox, User
from accounts.services import create_account, create_domain, create_mailbox, set_active, set_password
from accounts.tokens import BearerToken

pytestmark = pytest.mark.django_db


@pytest.fixture
def jules() -> User:
    create_domain(name="maison.mrs")
    create_account(username="alfred", password="x")
    return create_account(username="jules", password="x")


def by_password(user: User) -> Guest:
    return Guest(user.pk, tuple(user.mailboxes.values_list("pk", flat=True)), Protocol.POP3, None, user.password_mark)


def by_app_password(user: User, protocol: Protocol = Protocol.POP3, **limits: bool) -> Guest:
    made, _ = create_app_password(user=user, name=f"{protocol} {limits}", **limits)
    return Guest(user.pk, (user.mailboxes.get().pk,), protocol, made.pk)


def test_nothing_has_changed(jules: User) -> None:
    charles = create_account(username="charles", password="x")
    create_mailbox(user=charles, domain=create_domain(name="alfred.maison.mrs"))
    guests = [by_password(jules), by_password(charles), by_app_password(jules), by_app_password(jules, Protocol.SMTP)]
    assert find_unwelcome(guests) == set()
    assert find_unwelcome([]) == set()


def revoke(user: User) -> None:
    revoke_app_password(user=user, pk=user.app_passwords.get().pk)


def let_expire(user: User) -> None:
    user.app_passwords.update(expires_at=timezone.now() - timedelta(seconds=1))


def switch_off(user: User) -> None:
    user.set_unusable_password()
    user.save()


def suspend_user(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def suspend_mailbox(user: User) -> None:
    set_active(mailboxes=user.mailboxes.all(), active=False)


@pytest.mark.parametrize(
    ("change", "password_too"),  # None: the password alone
    [
        (revoke, False),
        (let_expire, False),
        (lambda user: user.app_passwords.update(pop3=False), False),
        (suspend_user, True),
        (suspend_mailbox, True),
        (lambda user: user.mailboxes.all().delete(), True),
        (lambda user: user.mailboxes.update(user=User.objects.get(username="alfred")), True),
        (lambda user: user.delete(), True),
        (lambda user: set_password(user=user, password="new"), None),
        (lambda user: set_password(user=user, password="x"), None),
        (switch_off, None),
    ],
)
def test_what_is_taken_back(jules: User, change: Callable[[User], object], password_too: bool | None) -> None:
    by_one, by_other = by_app_password(jules), by_password(jules)
    another = by_password(User.objects.get(username="alfred"))
    change(jules)
    expected = {None: {by_other}, False: {by_one}, True: {by_one, by_other}}[password_too]
    assert find_unwelcome([by_one, by_other, another]) == expected


def test_a_token_lets_in_until_it_runs_out(jules: User) -> None:
    now = timezone.now().timestamp()
    ids = tuple(jules.mailboxes.values_list("pk", flat=True))
    left, unknown, over = (
        Guest(jules.pk, ids, Protocol.POP3, token=BearerToken("secret", expires_at))
        for expires_at in (now + 600, None, now)
    )
    assert find_unwelcome([left, unknown, over]) == {over}
    assert "secret" not in repr(over)


def test_a_hash_that_is_brought_up_to_date_is_no_other_password(jules: User) -> None:
    guest = by_password(jules)
    User.objects.filter(pk=jules.pk).update(password=make_password("x"), scram="")
    assert find_unwelcome([guest]) == set()
    jules.refresh_from_db()
    jules.first_name = "Jules"
    jules.save()
    assert find_unwelcome([guest]) == set()
    jules.password = make_password("x", hasher="pbkdf2_sha256")
    jules.save()
    assert jules.check_password("x")  # as Django does at a login to the web
    jules.refresh_from_db()
    assert (identify_hasher(jules.password).algorithm, jules.scram != "") == ("argon2", True)
    assert find_unwelcome([guest]) == set()


def test_an_app_password_is_looked_at_for_its_protocol(jules: User) -> None:
    reads = by_app_password(jules, smtp=False)
    sends = by_app_password(jules, Protocol.SMTP, pop3=False)
    assert find_unwelcome([reads, sends]) == set()
    AppPassword.objects.filter(pk=sends.app_password_id).update(pop3=True, smtp=False)
    assert find_unwelcome([reads, sends]) == {sends}


def test_a_delegate_may_stay_until_dismissed(jules: User) -> None:
    alfreds = Mailbox.objects.get(local_part="alfred")
    guest = Guest(jules.pk, (alfreds.pk,), Protocol.POP3)
    assert find_unwelcome([guest]) == {guest}
    alfreds.delegates.add(jules)
    assert find_unwelcome([guest]) == set()
    User.objects.filter(username="alfred").update(is_active=False)
    assert find_unwelcome([guest]) == {guest}


def test_of_several_mailboxes_each_has_to_be_open(jules: User) -> None:
    other = create_mailbox(user=jules, domain=create_domain(name="alfred.maison.mrs"))
    guest = by_password(jules)
    assert len(guest.mailbox_ids) == 2
    assert find_unwelcome([guest]) == set()
    set_active(mailboxes=Mailbox.objects.filter(pk=other.pk), active=False)
    assert find_unwelcome([guest]) == {guest}


def test_many_cost_few_statements(jules: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    guests = [by_password(jules), by_app_password(jules)]
    gone = [Guest(jules.pk, (number,), Protocol.POP3) for number in range(10_000, 10_400)]
    with django_assert_num_queries(5):  # two rounds of users and mailboxes, app passwords once
        assert find_unwelcome([*guests, *gone]) == set(gone)
