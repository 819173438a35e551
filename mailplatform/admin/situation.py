"""What to tell an owner at the phone who cannot log in, or whose mail has gone: one mailbox in a few sentences.

Each comes from the row that decides the matter itself, so that none says more than is so. A handful of queries, each
for a bounded number of rows, whatever the mailbox holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.aliases import targets_of
from accounts.lookup import find_credentials
from accounts.models import Mailbox, User
from accounts.routing import find_aliases_to
from collecting.models import Source
from mailplatform.admin.display import held_by, maildrop_of, moment, used_percent
from mailplatform.admin.octets import messages_and_size
from mailstore.browse import SHELVED_COUNTED, Overview, overview
from pop3service.models import Worker

#: Accounts of a mailbox that are looked at.
SOURCES_NAMED = 20


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence about a mailbox; `kind` is good, warning, danger or plain. A link says where to go on."""

    kind: str
    icon: str
    text: str
    url: str = ""
    link: str = ""


def facts_about(mailbox: Any, request: HttpRequest) -> list[Fact]:
    """What there is to say; the mailbox has been through `mark_open`."""
    found = overview(mailbox.pk)
    by_address, by_name = find_credentials([mailbox.address, mailbox.user.username])
    names = [mailbox.address]
    if by_name is not None and by_name.mailbox_id == mailbox.pk and not by_name.combined:
        names.append(mailbox.user.username)
    facts = [
        *_access(mailbox, request),
        _login(mailbox, names, request),
        *_combined(mailbox),
        _mail(mailbox, found),
        *_routing(mailbox, request),
        *_collecting(mailbox, request),
        *_shelf(mailbox, found),
    ]
    if by_address is not None and (days := by_address.policy.expire_days):
        text = ngettext("Mail expires after %(days)d day.", "Mail expires after %(days)d days.", days)
        facts.append(Fact("plain", "auto_delete", text % {"days": days}))
    return by_weight(facts)


def by_weight(facts: Sequence[Fact]) -> list[Fact]:
    """What is wrong comes first."""
    weight = {"danger": 0, "warning": 1}
    return sorted(facts, key=lambda fact: weight.get(fact.kind, 2))


def may_set_password(mailbox: Mailbox, request: HttpRequest) -> bool:
    """Whether the one who asks may give the mailbox's user another password."""
    user = mailbox.user
    may: bool = request.user.has_perm("accounts.change_user")
    return may and (request.user.is_superuser or not (user.is_staff or user.is_superuser))


def _access(mailbox: Any, request: HttpRequest) -> Iterator[Fact]:
    user = mailbox.user
    if not mailbox.is_active:
        yield Fact("danger", "block", _("The mailbox is suspended: nobody logs in, and mail to it is refused."))
    if not user.is_active:
        yield Fact("danger", "block", _("Its user is suspended: nobody logs in."))
    if not user.has_usable_password():
        may = may_set_password(mailbox, request)
        url = reverse("admin:auth_user_password_change", args=[user.pk]) if may else ""
        yield Fact("danger", "key_off", _("No password is set: nobody logs in."), url, _("Set password"))
    if user.two_factor:
        yield _two_factor(user, request)
    if mailbox.is_open:
        yield _open(mailbox, request)


def _two_factor(user: User, request: HttpRequest) -> Fact:
    may_see = request.user.has_perm("accounts.view_user")
    url = reverse("admin:accounts_user_apppasswords", args=[user.pk]) if may_see else ""
    if user.app_passwords.exists():
        text = _("Two-factor is on: mail programs need an app password.")
        return Fact("warning", "phonelink_lock", text, url, _("App passwords"))
    text = _("Two-factor is on and there is no app password: no mail program logs in.")
    return Fact("danger", "phonelink_lock", text, url, _("Make one"))


def _open(mailbox: Mailbox, request: HttpRequest) -> Fact:
    drop = mailbox.maildrop
    worker = Worker.objects.filter(pk=drop.lock_worker).first() if drop.lock_worker else None
    text = _("A mail program has it open since %(time)s, on %(host)s; another one is told to wait.")
    host = worker.host.split(" ")[0] if worker else "?"
    may_see = request.user.has_perm("pop3service.view_sessionrecord")
    url = f"{reverse('admin:pop3service_sessionrecord_open')}?{urlencode({'q': mailbox.address})}" if may_see else ""
    values = {"time": moment(drop.locked_at), "host": host}
    return Fact("warning", "lock_open", text % values, url, _("See the session"))


def _login(mailbox: Mailbox, names: list[str], request: HttpRequest) -> Fact:
    """The names that open it, and when one last did."""
    may_see = request.user.has_perm("accounts.view_user")
    url = reverse("admin:accounts_user_change", args=[mailbox.user_id]) if may_see else ""
    drop = maildrop_of(mailbox)
    opened = drop.opened_at if drop else None
    when = _("Last login: %(time)s.") % {"time": moment(opened)} if opened else _("Nobody has logged in yet.")
    text = _("Login name: %(names)s.") % {"names": _(" or ").join(names)}
    return Fact("good" if opened else "plain", "login", f"{text} {when}", url, _("Open the user"))


def _combined(mailbox: Mailbox) -> Iterator[Fact]:
    user = mailbox.user
    if user.combined and mailbox.is_active:
        text = _("As %(name)s its user opens it together with the other mailboxes: all have to be free then.")
        yield Fact("plain", "stacks", text % {"name": user.username})


def _mail(mailbox: Mailbox, found: Overview) -> Fact:
    held = _("%(held)s in the mailbox.") % {"held": messages_and_size(*held_by(mailbox))}
    if (used_percent(mailbox) or 0) >= 100:
        full = _("It is full: new mail is refused.")
        return Fact("danger", "inbox", f"{held} {full}")
    if found.received_at is None:
        return Fact("plain", "inbox", _("No mail has ever come."))
    newest = _("The newest came %(time)s.") % {"time": moment(found.received_at)}
    return Fact("good", "inbox", f"{held} {newest}")


def _routing(mailbox: Mailbox, request: HttpRequest) -> Iterator[Fact]:
    """Where its mail goes on to, and the aliases that lead here."""
    if targets := targets_of(mailbox.forward_to):
        text = _("Mail is forwarded to %(addresses)s; a copy is kept.")
        if not mailbox.keep_copy:
            text = _("Mail is forwarded to %(addresses)s; no copy is kept.")
        yield Fact("plain", "forward_to_inbox", text % {"addresses": _some(targets)})
    if aliases := find_aliases_to(mailbox.address):
        text = _("Mail for %(addresses)s comes here too.")
        may_see = request.user.has_perm("accounts.view_alias")
        listed = f"{reverse('admin:accounts_alias_changelist')}?{urlencode({'q': mailbox.address})}"
        named = _some([alias.address for alias in aliases])
        yield Fact("plain", "alt_route", text % {"addresses": named}, listed if may_see else "", _("Open the aliases"))


def _collecting(mailbox: Mailbox, request: HttpRequest) -> Iterator[Fact]:
    """From where it collects; what fails is said of each."""
    sources = list(Source.objects.filter(mailbox=mailbox, is_active=True).order_by("pk")[:SOURCES_NAMED])
    may_see = request.user.has_perm("collecting.view_source")
    for source in sources:
        if source.last_error:
            text = _("Collecting from %(account)s: %(error)s") % {"account": source, "error": source.last_error}
            url = reverse("admin:collecting_source_change", args=[source.pk]) if may_see else ""
            yield Fact("warning", "sync_problem", text, url, _("Open the account"))
    if working := [str(source) for source in sources if not source.last_error]:
        text = _("It collects mail from %(accounts)s.") % {"accounts": _some(working)}
        listed = f"{reverse('admin:collecting_source_changelist')}?{urlencode({'q': mailbox.address})}"
        yield Fact("plain", "download", text, listed if may_see else "", _("Open the accounts"))


def _some(addresses: Sequence[str]) -> str:
    more = [_("%(number)d more") % {"number": len(addresses) - 3}] if len(addresses) > 3 else []
    return ", ".join([*addresses[:3], *more])


def _shelf(mailbox: Mailbox, found: Overview) -> Iterator[Fact]:
    if found.deleted_at is None:
        return
    number = f"{SHELVED_COUNTED}+" if found.shelved > SHELVED_COUNTED else str(found.shelved)
    text = ngettext(
        "%(number)s message was deleted, on %(time)s; it can be brought back until %(end)s.",
        "%(number)s messages were deleted, the last on %(time)s; that one can be brought back until %(end)s.",
        found.shelved,
    )
    end = found.deleted_at + timedelta(days=settings.MAIL_SHELF_DAYS)
    values = {"number": number, "time": moment(found.deleted_at), "end": moment(end)}
    url = reverse("admin:accounts_mailbox_shelf", args=[mailbox.pk])
    yield Fact("plain", "shelves", text % values, url, _("Open the shelf"))
