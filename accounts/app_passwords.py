"""Passwords for one mail program each: random, shown once, kept as one fast digest.

A secret has so many random bits that nobody guesses it, so it needs no slow hash. It is looked up only where what was
typed has its shape: an ordinary login asks the database nothing more for it.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.callers import Caller, Protocol
from accounts.models import AppPassword, LoginResult, User
from accounts.networks import lies_in

#: RFC 4648, 6, in lower case: none of its signs is taken for another one. 28 of them are 140 random bits.
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_SIGNS = 28
_GROUP = 4
_SHAPE = re.compile(rf"[{_ALPHABET}]{{{_SIGNS}}}")
#: Longer text is no secret of ours, however many blanks are in it.
_MOST_TYPED = 100

#: The last use is written this often at most: a client that polls every minute is not a write every minute.
USE_WRITTEN_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class FoundAppPassword:
    """An app password and what it opens."""

    id: int
    user_id: int
    name: str
    pop3: bool
    smtp: bool
    network: str
    expires_at: datetime | None
    read_only: bool
    last_used_at: datetime | None

    def refusal(self, caller: Caller, now: datetime) -> LoginResult | None:
        """Why it does not open for this caller; None where it does."""
        if not (self.pop3 if caller.protocol is Protocol.POP3 else self.smtp):
            return LoginResult.PROTOCOL
        if self.network and not lies_in(caller.address, self.network):
            return LoginResult.NETWORK
        if self.expires_at is not None and self.expires_at <= now:
            return LoginResult.EXPIRED
        return None

    def use_is_news(self, now: datetime) -> bool:
        """Whether this use is to be written."""
        return self.last_used_at is None or now - self.last_used_at >= USE_WRITTEN_EVERY


@dataclass(frozen=True, slots=True)
class Use:
    """When and from where an app password was used."""

    app_password_id: int
    at: datetime
    address: str


@transaction.atomic
def create_app_password(
    *,
    user: User,
    name: str,
    pop3: bool = True,
    smtp: bool = True,
    network: str = "",
    expires_at: datetime | None = None,
    read_only: bool = False,
) -> tuple[AppPassword, str]:
    """A new app password and its secret, which is kept nowhere. Raises ValidationError."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SIGNS))
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError({"expires_at": _("This time has passed.")})
    made = AppPassword(
        user=user, name=name.strip(), digest=_digest(secret), pop3=pop3, smtp=smtp,
        network=network, expires_at=expires_at, read_only=read_only,
    )  # fmt: skip
    made.full_clean()
    made.save()
    return made, "-".join(secret[start : start + _GROUP] for start in range(0, _SIGNS, _GROUP))


def revoke_app_password(*, user: User, pk: int) -> str | None:
    """Take back an app password of the user's: the next login with it fails. Answers its name; None: there is none."""
    found = AppPassword.objects.filter(user=user, pk=pk).first()
    if found is None:
        return None
    found.delete()
    return found.name


def typed_digest(typed: str) -> str | None:
    """The digest under which `typed` would be kept; None where it does not have the shape of an app password.

    Blanks and dashes are passed over, and capitals are as good.
    """
    if not _SIGNS <= len(typed) <= _MOST_TYPED:  # as most passwords are not
        return None
    secret = re.sub(r"[\s-]", "", typed).lower()
    return _digest(secret) if _SHAPE.fullmatch(secret) else None


def find_app_passwords(digests: Sequence[str]) -> list[FoundAppPassword | None]:
    """The app password of each digest. Made for `bridge.gather`."""
    rows = AppPassword.objects.filter(digest__in=set(digests)).values_list(
        "id", "user_id", "name", "pop3", "smtp", "network", "expires_at", "read_only", "last_used_at", "digest"
    )
    found = {row[-1]: FoundAppPassword(*row[:-1]) for row in rows}
    return [found.get(digest) for digest in digests]


@transaction.atomic
def write_uses(uses: Sequence[Use]) -> None:
    """Keep the last use of each app password. In ascending order, so that no two writers wait in a circle."""
    for use in sorted(uses, key=lambda use: use.app_password_id):
        rows = AppPassword.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=use.at), pk=use.app_password_id)
        rows.update(last_used_at=use.at, last_used_from=use.address[:45])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
