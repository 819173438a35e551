"""Every change to accounts: admin, commands and servers call these, each one transaction."""

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from accounts.addresses import normal_local_part
from accounts.models import Alias, Domain, Mailbox, User, default_quota_messages, default_quota_octets
from accounts.routing import Changed, DeadEnd, loop_of


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
def create_account(*, username: str, password: str, domains: Sequence[Domain] = (), combined: bool = False) -> User:
    """A new user with a mailbox `username@domain` in each domain, or in the default one where none is given.

    `combined`: the bare name opens all of them as one maildrop.
    """
    user = User(username=normal_local_part(username), combined=combined)
    user.set_password(password)
    user.full_clean()
    user.save()
    if not domains:
        user.add_default_mailbox()
    for domain in domains:
        create_mailbox(user=user, domain=domain)
    return user


@transaction.atomic
def create_alias(
    *, domain: Domain, local_part: str, targets: str, may_send: bool = True, is_active: bool = True, note: str = ""
) -> Alias:
    """Have mail for an address go to others (accounts.aliases). Raises ValidationError, also for a loop."""
    alias = Alias(
        domain=domain, local_part=local_part, targets=targets, may_send=may_send, is_active=is_active, note=note
    )
    save_alias(alias=alias)
    return alias


@transaction.atomic
def save_alias(*, alias: Alias) -> None:
    """Store an alias, new or changed. Raises ValidationError, also where it would lead round in a loop."""
    alias.full_clean()
    check_alias(alias)
    alias.save()


@transaction.atomic
def set_forwarding(*, mailbox: Mailbox, forward_to: str, keep_copy: bool = True) -> None:
    """Have a mailbox's mail sent on, or no longer ("").  Raises ValidationError, also for what goes in a loop."""
    mailbox.forward_to, mailbox.keep_copy = forward_to, keep_copy
    mailbox.full_clean()
    check_forwarding(mailbox)
    mailbox.save(update_fields=["forward_to", "keep_copy"])


def check_alias(alias: Alias) -> None:
    """Raise ValidationError where mail for this alias, saved as it is, would go in a loop."""
    alias.normalise()
    _refuse_loop("targets", loop_of(alias.address, Changed(alias=alias)) if alias.is_active else None)


def check_forwarding(mailbox: Mailbox) -> None:
    """Raise ValidationError where mail for this mailbox, saved as it is, would go in a loop."""
    _refuse_loop("forward_to", loop_of(mailbox.address, Changed(mailbox=mailbox)) if mailbox.forward_to else None)


def _refuse_loop(field: str, found: DeadEnd | None) -> None:
    if found is DeadEnd.LOOP:
        raise ValidationError({field: _("Mail would go in a loop: one of these addresses leads back to this one.")})
    if found is DeadEnd.TOO_FAR:
        raise ValidationError({field: _("These addresses lead on too far, or to too many others.")})


def set_active(*, mailboxes: QuerySet[Mailbox], active: bool) -> int:
    """Activate or suspend mailboxes; answers how many were changed."""
    return mailboxes.exclude(is_active=active).update(is_active=active)


def set_users_active(*, users: QuerySet[User], active: bool) -> int:
    """Activate or suspend users; answers how many were changed. Sessions that are open end (accounts.guests)."""
    return users.exclude(is_active=active).update(is_active=active)


def set_aliases_active(*, aliases: QuerySet[Alias], active: bool) -> int:
    """Activate or deactivate aliases; answers how many were changed. A loop that comes about is refused in use."""
    return aliases.exclude(is_active=active).update(is_active=active)


def set_password(*, user: User, password: str) -> None:
    """Store a new password; what was remembered of the old one fails with it."""
    user.set_password(password)
    user.save(update_fields=["password"])
