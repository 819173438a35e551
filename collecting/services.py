"""Every change to collected accounts: the admin and commands call these, each one transaction."""

from collections.abc import Collection
from datetime import datetime

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.addresses import normal_domain, validate_domain_name
from accounts.networks import parse_address
from collecting.hosts import is_ours
from collecting.look import leads_to_itself
from collecting.models import SeenMessage, Source
from collecting.passwords import encrypt

#: What a password is given for: a change of any of these asks for it again.
PASSWORD_IS_FOR = ("mailbox_id", "host", "port", "tls", "verify_certificate", "login")

#: Where POP3 is served (RFC 1939, 3; RFC 8314, 7.2).
USUAL_PORTS = (110, 995)

#: Which account it is.
_WHICH = ("mailbox_id", "host", "port", "login")


@transaction.atomic
def save_source(*, source: Source, password: str = "") -> None:
    """Store an account, new or changed, that is looked at soon. Raises ValidationError.

    `password` is needed for a new one, and where anything changes that decides who gets to see it; else "" keeps it.
    One that becomes another account has seen nothing: unique-ids are its server's own, and may be the same elsewhere.
    """
    normalise(source)
    check_password(source, password)
    if password:
        source.secret = encrypt(source, password)
    source.full_clean()
    check_loop(source)
    source.next_look_at = timezone.now()
    source.failures, source.failing_since, source.told_at, source.last_error = 0, None, None, ""
    if source._state.adding:
        source.save()
        return
    # Of what a worker writes nothing but the end of a streak of failures.
    fields = [*PASSWORD_IS_FOR, "secret", "interval_minutes", "keep", "is_active", "next_look_at"]
    if _is_another(source):
        SeenMessage.objects.filter(source_id=source.pk).delete()
        source.claimed_by = source.claimed_until = None  # who is at the one before stores nothing more
        fields += ["claimed_by", "claimed_until"]
    source.save(update_fields=[*fields, "failures", "failing_since", "told_at", "last_error"])


@transaction.atomic
def set_sources_active(*, sources: QuerySet[Source], active: bool) -> int:
    """Switch accounts on or off; answers how many were changed."""
    return sources.exclude(is_active=active).update(is_active=active)


@transaction.atomic
def look_now(*, source_ids: Collection[int], now: datetime | None = None) -> int:
    """Have active accounts looked at without waiting, and what could not be fetched there; answers how many."""
    now = now or timezone.now()
    try_again_now(source_ids=source_ids, now=now)
    return Source.objects.filter(pk__in=source_ids, is_active=True).update(next_look_at=now)


def try_again_now(*, source_ids: Collection[int], now: datetime) -> None:
    """What could not be fetched from these accounts is due with the next look."""
    SeenMessage.objects.filter(source_id__in=source_ids, again_at__gt=now).update(again_at=now)


def _is_another(source: Source) -> bool:
    """Whether a stored account becomes another one; its row is locked. From STLS to TLS it stays the same."""
    before = Source.objects.select_for_update().filter(pk=source.pk).values(*_WHICH).first()
    now = {name: getattr(source, name) for name in _WHICH}
    if before is not None and {before["port"], now["port"]} <= set(USUAL_PORTS):
        now["port"] = before["port"]
    return bool(before != now)


def normalise(source: Source) -> None:
    """The spelling of a server under which it is looked up. Raises ValidationError where it is none."""
    host = source.host.strip().removeprefix("[").removesuffix("]")
    if (address := parse_address(host)) is not None:
        host = str(address)
    else:
        host = normal_domain(host.rstrip("."))
        try:
            validate_domain_name(host)
        except ValidationError as error:
            raise ValidationError({"host": error.messages}) from error
    source.host, source.login = host, source.login.strip()
    if not source.login.isprintable():
        raise ValidationError({"login": _("A login has no line ends and no control characters.")})


def check_password(source: Source, password: str) -> None:
    """Raise ValidationError where a password is missing, or cannot be sent (RFC 1939, 7: PASS)."""
    if {"\r", "\n", "\0"} & set(password):
        raise ValidationError({"password": _("A password has no line ends.")})
    if password:
        return
    before = Source.objects.filter(pk=source.pk).values(*PASSWORD_IS_FOR).first() if not source._state.adding else None
    if before is None:
        raise ValidationError({"password": _("The password of the account is needed.")})
    if before != {name: getattr(source, name) for name in PASSWORD_IS_FOR}:
        raise ValidationError({"password": _("Give the password again: it would go elsewhere, or in another way.")})


def check_loop(source: Source) -> None:
    """Raise ValidationError where the mailbox would collect from itself; collecting.look finds out for sure.

    On other ports of this machine there may be another server, from which everybody is being moved here.
    """
    here = source.host in {normal_domain(settings.MAIL_HOSTNAME), "localhost"} or (
        parse_address(source.host) is not None and is_ours(source.host)
    )
    if here and source.port in USUAL_PORTS and leads_to_itself(source):
        raise ValidationError({"login": _("The mailbox would collect from itself.")})
