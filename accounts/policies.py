"""What a mailbox says of its messages and logins, or else its domain, or else the settings: resolved here alone."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Value
from django.db.models.functions import Coalesce

from accounts.models import Domain, Mailbox


@dataclass(frozen=True, slots=True)
class Policy:
    """Days after which messages expire and seconds between two POP3 logins; 0 is never, and none."""

    expire_days: int
    login_delay_seconds: int


@dataclass(frozen=True, slots=True)
class Announced:
    """What may be said before it is known who logs in (RFC 2449, 6.5 and 6.7); `..._varies`: not the same for all."""

    expire_days: int
    expire_varies: bool
    login_delay_seconds: int
    login_delay_varies: bool


#: What a row says of expire_days and login_delay_seconds.
Columns = tuple[int | None, int | None]
NOTHING_SAID: Columns = (None, None)


def default_policy() -> Policy:
    """What holds where neither mailbox nor domain says anything."""
    return Policy(settings.MAIL_EXPIRE_DAYS, settings.POP3_LOGIN_DELAY_SECONDS)


def resolve(own: Columns, of_domain: Columns, default: Policy) -> Policy:
    """The policy of a mailbox: each of its own columns, or else its domain's, or else the default's."""
    if own == of_domain == NOTHING_SAID:
        return default
    firsts = (
        next(value for value in column if value is not None)
        for column in zip(own, of_domain, (default.expire_days, default.login_delay_seconds), strict=True)
    )
    return Policy(*firsts)


def strictest(policies: Iterable[Policy]) -> Policy:
    """What may be said of several mailboxes that are shown as one: the shortest life, the longest delay."""
    every = list(policies)
    return Policy(
        min((policy.expire_days for policy in every if policy.expire_days), default=0),
        max((policy.login_delay_seconds for policy in every), default=0),
    )


def expire_days_in_force() -> Coalesce:
    """The days after which messages expire, as an expression in statements on mailboxes."""
    return Coalesce("expire_days", "domain__expire_days", Value(settings.MAIL_EXPIRE_DAYS))


def find_announced() -> Announced:
    """What holds for anyone: the shortest life of messages and the longest delay, and whether it varies."""
    default = default_policy()
    expiries = _in_use("expire_days", default.expire_days)
    delays = _in_use("login_delay_seconds", default.login_delay_seconds)
    return Announced(
        expire_days=min((days for days in expiries if days), default=0),
        expire_varies=len(expiries) > 1,
        login_delay_seconds=max(delays),
        login_delay_varies=len(delays) > 1,
    )


def _in_use(field: str, default: int) -> set[int]:
    """The values of a policy that some mailbox may have."""
    of_domains = set(Domain.objects.order_by().values_list(field, flat=True).distinct()) or {None}
    own = Mailbox.objects.order_by().filter(**{f"{field}__isnull": False}).values_list(field, flat=True).distinct()
    return {default if value is None else value for value in of_domains.union(own)}
