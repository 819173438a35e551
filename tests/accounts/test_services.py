"""Accounts are made whole: a user, its mailboxes, one default domain."""

import pytest
from django.core.exceptions import ValidationError
from pytest_django import Settings

from accounts.models import Mailbox, User
from accounts.services import create_account, create_domain, create_mailbox, set_active, set_password

pytestmark = pytest.mark.django_db


def test_the_first_domain_is_the_default_until_another_is_made_so() -> None:
    first = create_domain(name="jules.maison.mrs")
    second = create_domain(name="alfred.maison.mrs", default=True)
    first.refresh_from_db()
    assert (first.is_default, second.is_default) == (False, True)


@pytest.mark.parametrize("name", ["", "a b", "-a.org", "x" * 300, "a..b"])
def test_a_name_that_is_no_domain_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        create_domain(name=name)


def test_a_user_made_on_any_path_has_a_mailbox_in_the_default_domain() -> None:
    create_domain(name="jules.maison.mrs")
    for user in (
        User.objects.create_user("Anna", password="x"),
        User.objects.create_superuser("root", password="x"),
        create_account(username="bert", password="x"),
    ):
        assert [m.address for m in user.mailboxes.all()] == [f"{user.username}@jules.maison.mrs"]


def test_an_address_is_given_once() -> None:
    domain = create_domain(name="jules.maison.mrs")
    user = create_account(username="jules", password="x")
    with pytest.raises(ValidationError):
        create_mailbox(user=user, domain=domain, local_part="JULES")


def test_an_account_that_fails_leaves_no_user_behind() -> None:
    domain = create_domain(name="jules.maison.mrs")
    other = create_account(username="alfred", password="x")
    create_mailbox(user=other, domain=domain, local_part="jules")
    with pytest.raises(ValidationError):
        create_account(username="jules", password="x")
    assert not User.objects.filter(username="jules").exists()


def test_a_new_mailbox_has_the_default_quotas(settings: Settings) -> None:
    settings.MAIL_DEFAULT_QUOTA_OCTETS, settings.MAIL_DEFAULT_QUOTA_MESSAGES = 1000, 5
    domain = create_domain(name="jules.maison.mrs")
    user = create_account(username="jules", password="x")
    create_mailbox(user=user, domain=domain, local_part="unlimited", quota_octets=0, quota_messages=0)
    quotas = user.mailboxes.order_by("id").values_list("quota_octets", "quota_messages")
    assert list(quotas) == [(1000, 5), (0, 0)]


def test_suspending_says_how_many_changed() -> None:
    create_domain(name="jules.maison.mrs")
    for name in ("jules", "alfred"):
        create_account(username=name, password="x")
    set_active(mailboxes=Mailbox.objects.filter(local_part="jules"), active=False)
    assert set_active(mailboxes=Mailbox.objects.all(), active=False) == 1
    assert set_active(mailboxes=Mailbox.objects.all(), active=True) == 2


def test_a_new_password_replaces_the_old_one() -> None:
    create_domain(name="jules.maison.mrs")
    user = create_account(username="jules", password="old")
    set_password(user=user, password="new")
    user.refresh_from_db()
    assert (user.check_password("old"), user.check_password("new")) == (False, True)
