"""What the database itself refuses."""

import pytest
from django.db import IntegrityError, transaction

from accounts.models import Domain, Mailbox, User
from accounts.services import create_account, create_domain

pytestmark = pytest.mark.django_db


def test_there_is_one_default_domain() -> None:
    create_domain(name="jules.maison.mrs")
    with pytest.raises(IntegrityError), transaction.atomic():
        Domain.objects.create(name="alfred.maison.mrs", is_default=True)


def test_addresses_are_kept_in_lower_case_and_once() -> None:
    domain = create_domain(name="Jules.Maison.mrs")
    user = create_account(username="Jules", password="x")
    assert [str(mailbox) for mailbox in user.mailboxes.all()] == ["jules@jules.maison.mrs"]
    with pytest.raises(IntegrityError), transaction.atomic():
        Mailbox.objects.create(user=user, domain=domain, local_part="JULES")


def test_a_domain_with_mailboxes_is_not_deleted() -> None:
    domain = create_domain(name="jules.maison.mrs")
    create_account(username="jules", password="x")
    with pytest.raises(IntegrityError):
        domain.delete()


def test_a_user_needs_a_name() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        User.objects.create_user("")
