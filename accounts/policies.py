"""What a mailbox says of its messages and logins, or its domain for it, or the settings: one place that resolves it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import QuerySet, Value
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


def default_policy() -> Policy:
    """What holds where neither mailbox nor domain says anything."""
    return Policy(settings.MAIL_EXPIRE_DAYS, settings.POP3_LOGIN_DELAY_SECONDS)


def resolved(mailboxes: QuerySet[Mailbox]) -> QuerySet[Mailbox, tuple[int, int, int]]:
    """For each mailbox its id, the days after which its messages expire and the seconds between its logins."""
    return mailboxes.values_list("id", expire_days_in_force(), login_delay_in_force())


def expire_days_in_force(to_mailbox: str = "") -> Coalesce:
    """As an expression in statements on mailboxes, or on what `to_mailbox`, such as "mailbox__", leads from."""
    default = Value(settings.MAIL_EXPIRE_DAYS)
    return Coalesce(f"{to_mailbox}expire_days", f"{to_mailbox}domain__expire_days", default)


def login_delay_in_force(to_mailbox: str = "") -> Coalesce:
    """As `expire_days_in_force`."""
    default = Value(settings.POP3_LOGIN_DELAY_SECONDS)
    return Coalesce(f"{to_mailbox}login_delay_seconds", f"{to_mailbox}domain__login_delay_seconds", default)


def find_policies(mailbox_ids: Sequence[int]) -> list[Policy | None]:
    """The policy of each mailbox, None for one that is not there. Made for `bridge.gather`."""
    rows = resolved(Mailbox.objects.filter(id__in=set(mailbox_ids)))
    found = {mailbox_id: Policy(expire_days, login_delay) for mailbox_id, expire_days, login_delay in rows}
    return [found.get(mailbox_id) for mailbox_id in mailbox_ids]


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
