"""Every change to accounts: admin, commands and servers call these, each one transaction."""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import QuerySet

from accounts.models import Domain, Mailbox, User, default_quota_messages, default_quota_octets


@transaction.atomic
def create_domain(*, name: str, default: bool = False) -> Domain:
    """Store a new domain; the first one is the default. Raises ValidationError where the name will not do."""
    domain = Domain(name=name)
    domain.full_clean()
    domain.save()
    if default or not Domain.objects.filter(is_default=True).exists():
        set_default_domain(domain=domain)
    return domain


@transaction.atomic
def set_default_domain(*, domain: Domain) -> None:
    """Make `domain` the one in which new users get their first mailbox."""
    Domain.objects.filter(is_default=True).exclude(pk=domain.pk).update(is_default=False)
    domain.is_default = True
    domain.save(update_fields=["is_default"])


@transaction.atomic
def create_mailbox(
    *,
    user: User,
    domain: Domain,
    local_part: str | None = None,
    quota_octets: int | None = None,
    quota_messages: int | None = None,
) -> Mailbox:
    """Give `user` a mailbox, by default `username@domain`. Raises ValidationError where the address is taken."""
    mailbox = Mailbox(
        user=user,
        domain=domain,
        local_part=local_part or user.username,
        quota_octets=default_quota_octets() if quota_octets is None else quota_octets,
        quota_messages=default_quota_messages() if quota_messages is None else quota_messages,
    )
    mailbox.full_clean()
    mailbox.save()
    return mailbox


@transaction.atomic
def create_account(*, username: str, password: str, domains: Sequence[Domain] = ()) -> User:
    """A new user with a mailbox `username@domain` in each domain, or in the default one where none is given."""
    user = User(username=username.lower())
    user.set_password(password)
    user.full_clean()
    user.save()
    if not domains:
        user.add_default_mailbox()
    for domain in domains:
        create_mailbox(user=user, domain=domain)
    return user


def set_active(*, mailboxes: QuerySet[Mailbox], active: bool) -> int:
    """Activate or suspend mailboxes; answers how many were changed."""
    return mailboxes.exclude(is_active=active).update(is_active=active)


def set_password(*, user: User, password: str) -> None:
    """Store a new password; what was remembered of the old one fails with it."""
    user.set_password(password)
    user.save(update_fields=["password"])
