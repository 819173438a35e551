"""Whom mail for an address goes to: mailboxes here, and addresses elsewhere. Read only; made for `bridge.gather`.

An address leads to, in this order: its mailbox, its alias, the same without its +detail, the alias with a wildcard
that says most (`*` alone is the catch-all), and for postmaster, who is known everywhere, whoever find_postmaster says.
Aliases and mailboxes that forward lead on, some levels deep. All addresses that are asked for together go up the
levels together: a few statements for each level, and one where all are plain mailboxes.
"""

import enum
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db import connection
from django.db.models import Q

from accounts.addresses import normal_address, normal_spelling, written_address
from accounts.aliases import WILDCARD, Alias, best_pattern, targets_of, what_it_stands_for
from accounts.lookup import COLUMNS, FoundMailbox, find_postmaster
from accounts.models import Domain, Mailbox

#: Levels of aliases that lead to aliases, and addresses that one may lead to in the end.
MAX_LEVELS = 10
MAX_ENDS = 2000
#: Aliases to one address that a page shows.
MOST_ALIASES = 100
#: Addresses that are looked at for those that are asked for together.
MAX_STEPS = 10_000


_MAILBOXES = f"SELECT {', '.join(COLUMNS)}, forward_to, keep_copy FROM accounts_mailbox WHERE address IN ({{}})"  # noqa: S608


class DeadEnd(enum.Enum):
    """Why an address leads to nobody."""

    UNKNOWN = "unknown"
    NOT_HERE = "not here"
    SUSPENDED = "suspended"
    LOOP = "loop"
    TOO_FAR = "too far"


@dataclass(frozen=True, slots=True)
class Forward:
    """An address elsewhere that mail is sent on to, as it is written, and the domain here whose name is used."""

    address: str
    domain: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where an address leads, each end once; there is one at least. `direct`: it is the one mailbox's own."""

    mailboxes: tuple[FoundMailbox, ...] = ()
    forwards: tuple[Forward, ...] = ()
    direct: bool = False


@dataclass(slots=True)
class Changed:
    """A row that is looked at as if it were saved already, in place of the one that is."""

    alias: Alias | None = None
    mailbox: Mailbox | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """What one address is, and which addresses it leads on to."""

    end: FoundMailbox | DeadEnd | None = None
    targets: tuple[str, ...] = ()
    domain: str = ""
    #: The mailbox that has the address, also where it keeps no copy; 0 for an alias and for what is not here.
    mailbox_id: int = 0
    may_send: bool = True


def find_routes(addresses: Sequence[str]) -> Sequence[Route | DeadEnd]:
    """Where each address leads. One that is not of a domain here is a dead end: nobody asked to send it on.

    `postmaster@` is the postmaster of no domain in particular (RFC 5321, 4.1.1.3).
    """
    found = _find_routes(addresses, Changed())
    if len(addresses) == 1:
        return found
    # It may be too many steps together: those who ask at the same moment have nothing to do with one another.
    return [
        _find_routes([address], Changed())[0] if route is DeadEnd.TOO_FAR else route
        for address, route in zip(addresses, found, strict=True)
    ]


def _find_routes(addresses: Sequence[str], changed: Changed) -> list[Route | DeadEnd]:
    wanted = [normal_spelling(address) for address in addresses]
    steps = _explore(wanted, changed)
    return [_Walk(steps).route(address) for address in wanted]


def find_senders(addresses: Sequence[str]) -> list[frozenset[int]]:
    """For each address the ids of the mailboxes whose owners may send from it.

    They are the one that has it, or for an alias those that it leads to, where it and all on the way may be sent from.
    What a mailbox forwards does not make others its senders.
    """
    wanted = [normal_spelling(address) for address in addresses]
    steps = _explore(wanted, Changed())
    return [frozenset(_senders(address, steps, set())) for address in wanted]


def may_send_from(user_id: int, addresses: Sequence[str]) -> list[bool]:
    """For each address whether it is a user's to send from.

    It is a mailbox of theirs, or entrusted to them, or an alias that leads to one.
    """
    senders = find_senders(addresses)
    found = Mailbox.objects.filter(id__in={mailbox_id for ids in senders for mailbox_id in ids})
    theirs = set(found.filter(Q(user_id=user_id) | Q(delegates=user_id)).values_list("id", flat=True))
    return [bool(ids & theirs) for ids in senders]


def _senders(address: str, steps: dict[str, _Step], seen: set[str]) -> Iterator[int]:
    step = steps.get(address)
    if step is None or address in seen:
        return
    seen.add(address)
    if step.mailbox_id:
        yield step.mailbox_id
    elif step.may_send:
        for target in step.targets:
            yield from _senders(normal_spelling(target), steps, seen)


def _explore(wanted: Collection[str], changed: Changed) -> dict[str, _Step]:
    """The steps of all addresses, and of those that they lead on to."""
    steps: dict[str, _Step] = {}
    waiting = set(wanted)
    for _level in range(MAX_LEVELS):
        found = _look_up(waiting, changed)
        steps |= found
        targets = {normal_spelling(target) for step in found.values() for target in step.targets}
        waiting = targets - steps.keys()
        if not waiting or len(steps) + len(waiting) > MAX_STEPS:
            break
    return steps


def detail_taken_off(local_part: str) -> str | None:
    """The local part without its +detail; None where it has none."""
    delimiter = settings.MAIL_RECIPIENT_DELIMITER
    if not delimiter:
        return None
    base, found, _detail = local_part.partition(delimiter)
    return base if found and base else None


def find_aliases_to(address: str) -> list[Alias]:
    """The active aliases, some hundred at most, that name an address among their targets."""
    wanted = normal_spelling(address)
    found = Alias.objects.filter(is_active=True, targets__icontains=wanted).order_by("address")[:MOST_ALIASES]
    return [alias for alias in found if wanted in map(normal_spelling, alias.targets.split("\n"))]


# --- One level ----------------------------------------------------------------------------------------------------


def _look_up(addresses: Collection[str], changed: Changed) -> dict[str, _Step]:
    """The step of each address, all of them in lower case."""
    mailboxes = _mailboxes({spelling for address in addresses for spelling in _spellings(address)}, changed)
    steps = {address: mailboxes[address] for address in addresses if address in mailboxes}
    rest = [address for address in addresses if address not in steps]
    if not rest:
        return steps
    aliases = _aliases({spelling for address in rest for spelling in _spellings(address)}, changed)
    for address in rest:
        for spelling in _spellings(address):
            if (step := aliases.get(spelling) or mailboxes.get(spelling)) is not None:
                steps[address] = step
                break
    return steps | _of_domains([address for address in rest if address not in steps], changed)


def _spellings(address: str) -> Iterator[str]:
    """The address as it is, and without its detail."""
    yield address
    local_part, _at, domain = address.rpartition("@")
    if (base := detail_taken_off(local_part)) is not None:
        yield f"{base}@{domain}"


def _mailboxes(addresses: Collection[str], changed: Changed) -> dict[str, _Step]:
    if not addresses:
        return {}
    with connection.cursor() as cursor:
        # SQL of our own: every recipient waits for it, and the ORM took four times the processor time to say the same.
        cursor.execute(_MAILBOXES.format(", ".join(["%s"] * len(addresses))), list(addresses))
        rows = [(*row[:4], bool(row[4]), row[5], bool(row[6])) for row in cursor.fetchall()]
    steps = {row[1]: _of_mailbox(FoundMailbox(*row[:5]), row[5], row[6]) for row in rows}
    if (mailbox := changed.mailbox) is not None:
        steps = {address: step for address, step in steps.items() if getattr(step.end, "id", 0) != mailbox.pk}
        if mailbox.address in addresses:
            found = FoundMailbox(*(getattr(mailbox, column) for column in COLUMNS))
            steps[mailbox.address] = _of_mailbox(found, mailbox.forward_to, mailbox.keep_copy)
    return steps


def _of_mailbox(found: FoundMailbox, forward_to: str, keep_copy: bool) -> _Step:
    if not found.is_active:
        return _Step(DeadEnd.SUSPENDED)
    kept = found if keep_copy or not forward_to else None
    return _Step(kept, tuple(targets_of(forward_to)), found.address.rpartition("@")[2], found.id)


def _aliases(addresses: Collection[str], changed: Changed) -> dict[str, _Step]:
    rows = Alias.objects.filter(address__in=addresses, is_active=True, is_wildcard=False)
    if changed.alias is not None:
        rows = rows.exclude(pk=changed.alias.pk)
    found = rows.values_list("address", "targets", "may_send")
    steps = {address: _of_alias(address, targets, may_send) for address, targets, may_send in found}
    if (alias := changed.alias) is not None and alias.is_active and alias.address in addresses:
        steps[alias.address] = _of_alias(alias.address, alias.targets, alias.may_send)
    return steps


def _of_alias(address: str, targets: str, may_send: bool, stands_for: str = WILDCARD) -> _Step:
    leads_to = tuple(target.replace(WILDCARD, stands_for) for target in targets_of(targets))
    return _Step(None, leads_to, address.rpartition("@")[2], may_send=may_send)


def _of_domains(addresses: Sequence[str], changed: Changed) -> dict[str, _Step]:
    """The steps of addresses that are neither a mailbox nor an alias: wildcards, postmaster, and who is not here."""
    if not addresses:
        return {}
    names = {address.rpartition("@")[2] for address in addresses}
    here = set(Domain.objects.filter(name__in=names).values_list("name", flat=True))
    wildcards = _wildcards(here, changed) if here else {}
    steps = {}
    for address in addresses:
        local_part, _at, domain = address.rpartition("@")
        of_domain = wildcards.get(domain, {})
        if domain and domain not in here:
            steps[address] = _Step(DeadEnd.NOT_HERE)
        elif (pattern := best_pattern(list(of_domain), local_part)) is not None:
            stands_for = what_it_stands_for(pattern, local_part) or ""
            steps[address] = _of_alias(address, *of_domain[pattern], stands_for)
        else:
            found = find_postmaster() if local_part == "postmaster" else None
            steps[address] = _Step(found or DeadEnd.UNKNOWN, mailbox_id=found.id if found else 0)
    return steps


def _wildcards(domains: Collection[str], changed: Changed) -> dict[str, dict[str, tuple[str, bool]]]:
    """Domain -> pattern -> targets, and whether it may be sent from."""
    rows = Alias.objects.filter(domain__name__in=domains, is_active=True, is_wildcard=True)
    if changed.alias is not None:
        rows = rows.exclude(pk=changed.alias.pk)
    found: dict[str, dict[str, tuple[str, bool]]] = {domain: {} for domain in domains}
    for domain, pattern, *rest in rows.values_list("domain__name", "local_part", "targets", "may_send"):
        targets, may_send = rest
        found[domain][pattern] = str(targets), bool(may_send)
    alias = changed.alias
    if alias is not None and alias.is_wildcard and alias.is_active and alias.domain.name in found:
        found[alias.domain.name][alias.local_part] = (alias.targets, alias.may_send)
    return found


# --- The whole way --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Walk:
    """One address followed to all its ends."""

    steps: dict[str, _Step]
    mailboxes: dict[int, FoundMailbox] = field(default_factory=dict)
    forwards: dict[str, Forward] = field(default_factory=dict)
    dead: list[DeadEnd] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def route(self, address: str) -> Route | DeadEnd:
        self._follow(address, "")
        for worst in (DeadEnd.LOOP, DeadEnd.TOO_FAR):
            if worst in self.dead:
                return worst
        if len(self.mailboxes) + len(self.forwards) > MAX_ENDS:
            return DeadEnd.TOO_FAR
        if not self.mailboxes and not self.forwards:
            return self.dead[0]
        direct = not self.steps[address].targets
        return Route(tuple(self.mailboxes.values()), tuple(self.forwards.values()), direct)

    def _follow(self, address: str, through: str) -> None:
        """`through`: the domain here that leads to this address; empty for the address that was asked for."""
        name = normal_spelling(address)
        if name in self.path:
            self.dead.append(DeadEnd.LOOP)
        elif name not in self.steps:
            self.dead.append(DeadEnd.TOO_FAR)
        elif name not in self.done:
            self.done.add(name)
            self.path.append(name)
            self._take(address, self.steps[name], through)
            self.path.pop()

    def _take(self, address: str, step: _Step, through: str) -> None:
        if isinstance(step.end, FoundMailbox):
            self.mailboxes.setdefault(step.end.id, step.end)
        elif step.end is DeadEnd.NOT_HERE and through:
            local_part, _at, domain = address.rpartition("@")  # what a * stands for is a stranger's words
            self.forwards.setdefault(normal_spelling(address), Forward(written_address(local_part, domain), through))
        elif step.end is not None:
            self.dead.append(step.end)
        for target in step.targets:
            self._follow(target, step.domain)


def loop_of(address: str, changed: Changed) -> DeadEnd | None:
    """LOOP or TOO_FAR where the address would lead nowhere but round, once what is changed were saved."""
    (found,) = _find_routes([normal_address(*address.rsplit("@", 1))], changed)
    return found if found in (DeadEnd.LOOP, DeadEnd.TOO_FAR) else None
