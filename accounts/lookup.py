"""Finding mailboxes by address and by login name, many at once. Read only; made for `bridge.gather`."""

import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from accounts.addresses import full_login, normal_domain, normal_login, normal_spelling
from accounts.models import Domain, Mailbox, User
from accounts.policies import Policy, default_policy, resolve
from mailplatform.statements import Statement

_CREDENTIALS = """
SELECT mailbox.id, mailbox.address, mailbox.user_id, owner.password, mailbox.is_active, owner.is_active,
    owner.two_factor, owner.combined, owner.password_mark, owner.username,
    mailbox.expire_days, mailbox.login_delay_seconds, domain.expire_days, domain.login_delay_seconds
FROM accounts_mailbox mailbox
    JOIN accounts_user owner ON owner.id = mailbox.user_id
    JOIN accounts_domain domain ON domain.id = mailbox.domain_id
WHERE """
_OF_ADDRESSES = Statement(f"{_CREDENTIALS} mailbox.address = ANY($wanted::text[])")
# Of several the one to open comes last: in the default domain the one that is called like its user, or else the first
# that was made. Who has a combined maildrop needs none there, and an active one opens it.
_OF_NAMES = Statement(
    f"""{_CREDENTIALS} owner.username = ANY($wanted::text[]) AND (domain.is_default OR owner.combined)
ORDER BY owner.combined AND mailbox.is_active, domain.is_default, mailbox.local_part = owner.username,
    mailbox.id DESC"""
)


@dataclass(frozen=True, slots=True)
class FoundMailbox:
    """A mailbox that an address leads to. Quotas: 0 is no limit."""

    id: int
    address: str
    quota_octets: int
    quota_messages: int
    is_active: bool


#: The columns of a FoundMailbox.
COLUMNS = ("id", "address", "quota_octets", "quota_messages", "is_active")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a login name opens, and the hash its password has to fit."""

    mailbox_id: int
    address: str
    user_id: int
    encoded: str
    is_active: bool
    #: The password opens no mail protocol.
    two_factor: bool
    #: The bare name of the user opens all mailboxes of the user as one maildrop.
    combined: bool
    #: Another one with each password (accounts.models.User).
    password_mark: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class OwnMailbox:
    """One of the mailboxes that a user owns."""

    mailbox_id: int
    address: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class ScramSecret:
    """A login name's credential with the SCRAM verifiers of its user, and the full form of the name itself."""

    credential: Credential | None
    kept: str
    address: str


def find_mailboxes(addresses: Sequence[str]) -> list[FoundMailbox | None]:
    """The mailbox of each address, in any case; None where there is none."""
    wanted = [normal_spelling(address) for address in addresses]
    rows = Mailbox.objects.filter(address__in=set(wanted)).values_list(*COLUMNS)
    found = {row[1]: FoundMailbox(*row) for row in rows}
    return [found.get(address) for address in wanted]


def find_local_domains(names: Sequence[str]) -> list[bool]:
    """For each domain name whether this platform is its final destination."""
    wanted = [normal_domain(name) for name in names]
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
        row = active.filter(who).values_list(*COLUMNS).first()
        if row is not None:
            return FoundMailbox(*row)
    return None


def find_credentials(logins: Sequence[str]) -> list[Credential | None]:
    """The credential of each login name: a full address, `name%domain`, or a user's bare name.

    A bare name opens that user's mailbox in the default domain, or stands for all of them (`find_combined`). Active is
    said where both the user and the mailbox are; the caller refuses the others with the same words as a wrong password
    (promise 7).
    """
    wanted = [normal_login(login) for login in logins]
    found: dict[str, Credential] = {}
    addresses = {login for login in wanted if "@" in login}
    for credential, _name in _rows(_OF_ADDRESSES, addresses):
        found[credential.address] = credential
    for credential, name in _rows(_OF_NAMES, set(wanted) - addresses):
        found[name] = credential
    return [found.get(login) for login in wanted]


def find_combined(user_ids: Sequence[int]) -> list[list[OwnMailbox]]:
    """For each user the active mailboxes that the bare name opens together, in ascending order."""
    found: dict[int, list[OwnMailbox]] = {user_id: [] for user_id in user_ids}
    rows = Mailbox.objects.filter(user_id__in=found, is_active=True).order_by("id")
    own, of_domain = ("expire_days", "login_delay_seconds"), ("domain__expire_days", "domain__login_delay_seconds")
    default = default_policy()
    for user_id, mailbox_id, address, *policies in rows.values_list("user_id", "id", "address", *own, *of_domain):
        policy = resolve((policies[0], policies[1]), (policies[2], policies[3]), default)
        found[user_id].append(OwnMailbox(mailbox_id, address, policy))
    return [found[user_id] for user_id in user_ids]


def find_delegated(wishes: Sequence[tuple[int, str]]) -> list[Credential | None]:
    """For each id of a user and login name the mailbox, where it is that user's own or entrusted to that user.

    A mailbox that is not there costs what one costs that others own.
    """
    credentials = find_credentials([login for _, login in wishes])
    through = Mailbox.delegates.through.objects
    # 0 is nobody's: without it there would be no statement where no mailbox was found.
    mailbox_ids = {0, *(credential.mailbox_id for credential in credentials if credential)}
    users = {user_id for user_id, _ in wishes}
    entrusted = set(through.filter(mailbox_id__in=mailbox_ids, user_id__in=users).values_list("user_id", "mailbox_id"))
    return [
        credential
        if credential and (credential.user_id == user_id or (user_id, credential.mailbox_id) in entrusted)
        else None
        for (user_id, _), credential in zip(wishes, credentials, strict=True)
    ]


def find_scram_secrets(logins: Sequence[str]) -> list[ScramSecret]:
    """What a login by SCRAM of each name needs. Who is not here costs what one costs who is."""
    credentials = find_credentials(logins)
    default = find_default_domain()
    users = {0, *(credential.user_id for credential in credentials if credential)}
    kept = dict(User.objects.filter(pk__in=users).values_list("pk", "scram"))
    return [
        ScramSecret(credential, kept.get(credential.user_id, "") if credential else "", full_login(login, default))
        for login, credential in zip(logins, credentials, strict=True)
    ]


def find_default_domain() -> str:
    """The name of the default domain; "" where there is none."""
    return Domain.objects.filter(is_default=True).values_list("name", flat=True).first() or ""


def _rows(statement: Statement, values: Collection[str]) -> Iterator[tuple[Credential, str]]:
    """SQL of our own: every login waits for it, and the ORM takes five times the processor time to say the same."""
    if not values:
        return
    default = default_policy()
    for row in statement.fetch(wanted=list(values)):
        yield _of_row(row, default)


@functools.lru_cache(maxsize=4096)
def _of_row(row: tuple[Any, ...], default: Policy) -> tuple[Credential, str]:
    """The credential and the name of its user. Remembered: who polls has the same row each time."""
    mailbox_id, address, user_id, encoded, mailbox_active, user_active, two_factor, combined, mark, name = row[:10]
    active = bool(mailbox_active and user_active)
    policy = resolve(row[10:12], row[12:], default)
    return (
        Credential(mailbox_id, address, user_id, encoded, active, bool(two_factor), bool(combined), mark, policy),
        name,
    )
