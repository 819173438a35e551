"""Whether who is in may still be: passwords are changed or revoked, users and mailboxes suspended, delegates dismissed.

A login lasts as long as its session, which may be long. So whoever keeps sessions open asks this from time to time, or
before what matters. What is asked is what the door asks of a new login. Whether a bearer token was revoked is known to
its issuer alone, whom the door asks (accounts.door.Door.is_revoked); that it has run out is known here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from django.db.models import Q
from django.utils import timezone

from accounts.callers import Protocol
from accounts.door import Admission
from accounts.models import AppPassword, Mailbox, User
from accounts.tokens import BearerToken

#: Guests of whom one statement asks.
_AT_ONCE = 300


@dataclass(frozen=True, slots=True)
class Guest:
    """Who came in, the owner or a delegate, to which mailboxes, over what, and by which app password or token."""

    user_id: int
    mailbox_ids: tuple[int, ...]
    protocol: Protocol
    app_password_id: int | None = None
    #: Which password it was, if it was the user's own.
    password_mark: int | None = None
    token: BearerToken | None = None

    @classmethod
    def of(cls, admission: Admission, protocol: Protocol, mailbox_ids: Iterable[int] = ()) -> "Guest":
        """Who was admitted, to these mailboxes or to the one that was opened."""
        ids = tuple(mailbox_ids) or (admission.mailbox_id,)
        return cls(
            admission.user_id, ids, protocol, admission.app_password_id, admission.password_mark, admission.token
        )

    def has_time_left(self, now: float) -> bool:
        """Whether the token has not run out, as far as that is known."""
        return self.token is None or self.token.expires_at is None or now < self.token.expires_at


def find_unwelcome(guests: Iterable[Guest]) -> set[Guest]:
    """Those who would not be let in any more."""
    waiting = iter(guests)
    unwelcome: set[Guest] = set()
    while some := list(islice(waiting, _AT_ONCE)):
        unwelcome.update(_unwelcome(some))
    return unwelcome


def _unwelcome(guests: Sequence[Guest]) -> Iterator[Guest]:
    users = User.objects.filter(pk__in={guest.user_id for guest in guests}, is_active=True)
    marks = dict(users.values_list("pk", "password_mark"))
    mailbox_ids = {mailbox_id for guest in guests for mailbox_id in guest.mailbox_ids}
    open_ones = Mailbox.objects.filter(pk__in=mailbox_ids, is_active=True, user__is_active=True)
    owners = dict(open_ones.values_list("pk", "user_id"))
    delegates = _delegates(guests, owners)
    app_passwords = _app_passwords(guests)
    now = timezone.now().timestamp()
    for guest in guests:
        allowed = guest.user_id in marks and guest.password_mark in (None, marks[guest.user_id])
        allowed = allowed and all(
            owners.get(mailbox_id) == guest.user_id or (guest.user_id, mailbox_id) in delegates
            for mailbox_id in guest.mailbox_ids
        )
        allowed = allowed and guest.has_time_left(now)
        if guest.app_password_id is not None:
            allowed = allowed and (guest.app_password_id, guest.user_id, guest.protocol) in app_passwords
        if not allowed:
            yield guest


def _delegates(guests: Sequence[Guest], owners: dict[int, int]) -> set[tuple[int, int]]:
    """Pairs of users and open mailboxes of others that are entrusted to them."""
    strange = {
        mailbox_id
        for guest in guests
        for mailbox_id in guest.mailbox_ids
        if owners.get(mailbox_id, guest.user_id) != guest.user_id
    }
    if not strange:
        return set()
    entrusted = Mailbox.delegates.through.objects.filter(mailbox_id__in=strange)
    return set(entrusted.values_list("user_id", "mailbox_id"))


def _app_passwords(guests: Sequence[Guest]) -> set[tuple[int, int, Protocol]]:
    """App passwords that open still: with their user, for each protocol."""
    used = {guest.app_password_id for guest in guests if guest.app_password_id is not None}
    if not used:
        return set()
    rows = AppPassword.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), pk__in=used)
    return {
        (pk, user_id, protocol)
        for pk, user_id, pop3, smtp in rows.values_list("pk", "user_id", "pop3", "smtp")
        for protocol in Protocol
        if (pop3 if protocol is Protocol.POP3 else smtp)
    }
