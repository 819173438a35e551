"""Finding mailboxes by address and by login name, many at once. Read only; made for `bridge.gather`."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Q

from accounts.addresses import normal_login
from accounts.models import Domain, Mailbox

_CREDENTIALS = """
SELECT mailbox.id, mailbox.address, mailbox.user_id, owner.password, mailbox.is_active, owner.is_active
FROM accounts_mailbox mailbox JOIN accounts_user owner ON owner.id = mailbox.user_id
WHERE mailbox.address IN ({})
"""


@dataclass(frozen=True, slots=True)
class FoundMailbox:
    """A mailbox that an address leads to. Quotas: 0 is no limit."""

    id: int
    address: str
    quota_octets: int
    quota_messages: int
    is_active: bool


#: The columns of a FoundMailbox.
_COLUMNS = ("id", "address", "quota_octets", "quota_messages", "is_active")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a login name opens, and the hash its password has to fit."""

    mailbox_id: int
    address: str
    user_id: int
    encoded: str
    is_active: bool


def find_mailboxes(addresses: Sequence[str]) -> list[FoundMailbox | None]:
    """The mailbox of each address, in any case; None where there is none."""
    wanted = [address.lower() for address in addresses]
    rows = Mailbox.objects.filter(address__in=set(wanted)).values_list(*_COLUMNS)
    found = {row[1]: FoundMailbox(*row) for row in rows}
    return [found.get(address) for address in wanted]


def find_local_domains(names: Sequence[str]) -> list[bool]:
    """For each domain name whether this platform is its final destination."""
    wanted = [name.lower() for name in names]
    local = set(Domain.objects.filter(name__in=set(wanted)).values_list("name", flat=True))
    return [name in local for name in wanted]


def find_postmaster() -> FoundMailbox | None:
    """Who reads the mail for postmaster of a domain that has no such mailbox; None where there is nobody.

    RFC 5321, 4.5.1 has postmaster in every domain: it is the default domain's, or else the first admin with a mailbox.
    """
    active = Mailbox.objects.filter(is_active=True).order_by("-domain__is_default", "id")
    for who in (
        Q(local_part="postmaster", domain__is_default=True),
        Q(user__is_superuser=True, user__is_active=True),
    ):
        row = active.filter(who).values_list(*_COLUMNS).first()
        if row is not None:
            return FoundMailbox(*row)
    return None


def find_credentials(logins: Sequence[str]) -> list[Credential | None]:
    """The credential of each login name: a full address, `name%domain`, or a user's bare name.

    A bare name opens that user's mailbox in the default domain. Active is said where both the user and the mailbox
    are; the caller refuses the others with the same words as a wrong password (promise 7).
    """
    wanted = [normal_login(login) for login in logins]
    found: dict[str, Credential] = {}
    addresses = {login for login in wanted if "@" in login}
    names = set(wanted) - addresses
    if addresses:
        found = {credential.address: credential for credential in _of_addresses(addresses)}
    if names:
        columns = ("id", "address", "user_id", "user__password", "is_active", "user__is_active")
        rows = (
            Mailbox.objects.filter(user__username__in=names, domain__is_default=True)
            .order_by("-id")  # of several in the default domain, the first that was made stays
            .values_list("user__username", "local_part", *columns)
        )
        for name, local_part, *row in rows:
            # The mailbox that is called like its user comes before any other.
            if name not in found or local_part == name or found[name].address.partition("@")[0] != name:
                found[name] = _credential(*row)
    return [found.get(login) for login in wanted]


def _of_addresses(addresses: Collection[str]) -> Iterator[Credential]:
    """SQL of our own: every login waits for it, and the ORM takes five times the processor time to say the same."""
    with connection.cursor() as cursor:
        cursor.execute(_CREDENTIALS.format(", ".join(["%s"] * len(addresses))), list(addresses))
        for row in cursor.fetchall():
            yield _credential(*row)


def _credential(
    mailbox_id: int, address: str, user_id: int, encoded: str, mailbox_active: bool, user_active: bool
) -> Credential:
    return Credential(mailbox_id, address, user_id, encoded, bool(mailbox_active and user_active))
