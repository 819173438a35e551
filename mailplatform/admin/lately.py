"""What a mailbox's page says of its last logins and sessions, and of what makes its owner wait at the door.

For an owner at the phone who cannot log in: the last tries with what became of them, and where failures have piled up
a button that forgives them.
"""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import LoginRecord, LoginResult, Mailbox
from accounts.throttling import Waiting, find_waiting, forgive
from mailplatform.admin.display import moment
from mailplatform.admin.logins import outcome_cell, when_cell
from mailplatform.admin.records import origin_cell
from mailplatform.admin.sessions import SessionRecordAdmin, sessions_url
from mailplatform.admin.situation import Fact
from pop3service.models import SessionRecord

#: Rows of each table, and tries from whose addresses it is looked for what makes them wait.
SHOWN = 5
_TRIES = 50


def lately(mailbox: Mailbox, request: HttpRequest, model_admin: Any) -> dict[str, Any]:
    """What mailbox_top.html shows below the facts, for whoever may see it; and the facts that come from records."""
    context: dict[str, Any] = {"lately": [], "record_facts": []}
    if request.user.has_perm("accounts.view_loginrecord"):
        tries = _tries(mailbox)
        context["lately"].append(_logins(mailbox, tries[:SHOWN]))
        context["record_facts"] = [*_refused(tries), *_waits(mailbox, tries)]
        context["can_forgive"] = any(fact.icon == "hourglass_top" for fact in context["record_facts"]) and (
            model_admin.has_change_permission(request, mailbox)
        )
    if request.user.has_perm("pop3service.view_sessionrecord"):
        context["lately"].append(_sessions(mailbox, request, model_admin))
    return context


def forgive_view(model_admin: Any, request: HttpRequest, mailbox_id: int) -> HttpResponse:
    """Forget the failures that make this mailbox's owner wait."""
    mailbox = get_object_or_404(Mailbox.objects.select_related("user", "domain"), pk=mailbox_id)
    if not model_admin.has_change_permission(request, mailbox):
        raise PermissionDenied
    waits = find_waiting(_pairs(mailbox, _tries(mailbox)))
    forgive([wait.key for wait in waits])
    model_admin.log_change(
        request, mailbox, "Forgave failed logins: " + (", ".join(wait.key for wait in waits) or "none")
    )
    model_admin.message_user(
        request, _("Failed logins are forgiven; the next try is looked at within some seconds."), "success"
    )
    return HttpResponseRedirect(reverse("admin:accounts_mailbox_change", args=[mailbox.pk]))


def _tries(mailbox: Mailbox) -> list[LoginRecord]:
    return list(LoginRecord.objects.filter(mailbox_id=mailbox.pk).order_by("-at", "-id")[:_TRIES])


def _refused(tries: list[LoginRecord]) -> list[Fact]:
    """The last try, where it was refused."""
    if not tries or tries[0].result == LoginResult.ADMITTED:
        return []
    last = tries[0]
    text = _("The last login was refused: %(why)s (%(protocol)s from %(address)s, %(time)s).") % {
        "why": LoginResult(last.result).label,
        "protocol": last.protocol.upper(),
        "address": last.address or "-",
        "time": moment(last.last_at),
    }
    return [Fact("warning", "login", text)]


def _waits(mailbox: Mailbox, tries: list[LoginRecord]) -> list[Fact]:
    return [_wait(wait) for wait in find_waiting(_pairs(mailbox, tries))]


def _pairs(mailbox: Mailbox, tries: list[LoginRecord]) -> list[tuple[str, str]]:
    """Logins and addresses of the last tries, and of those of others that count against the mailbox's name."""
    return list({(one.login, one.address) for one in tries} | {(mailbox.address, "")})


def _wait(wait: Waiting) -> Fact:
    login, _bar, network = wait.key.rpartition("|")
    if login and network:
        text = _("Logins as %(login)s from %(network)s have to wait %(wait)s: %(failures)s.")
    elif login:
        text = _("Logins as %(login)s from addresses that are new have to wait %(wait)s: %(failures)s.")
    else:
        text = _("Logins from %(network)s have to wait %(wait)s: %(failures)s.")
    failures = ngettext("%(number)d wrong password", "%(number)d wrong passwords", round(wait.failures))
    values = {
        "login": login,
        "network": network.removesuffix("/32"),
        "wait": _duration(wait.seconds),
        "failures": failures % {"number": round(wait.failures)},
    }
    return Fact("danger", "hourglass_top", text % values)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return ngettext("%(number)d second", "%(number)d seconds", round(seconds)) % {"number": round(seconds)}
    minutes = round(seconds / 60)
    return ngettext("%(number)d minute", "%(number)d minutes", minutes) % {"number": minutes}


def _logins(mailbox: Mailbox, tries: list[LoginRecord]) -> dict[str, Any]:
    url = reverse("admin:accounts_loginrecord_changelist")
    rows: list[list[Any]] = [[when_cell(one), outcome_cell(one), origin_cell(one, url)] for one in tries]
    return {
        "title": _("Last logins"),
        "url": f"{url}?mailbox__id__exact={mailbox.pk}",
        "empty": _("Nobody has tried to log in lately. With a name that is misspelt a try is not found here: "
                   "look for a part of it among all logins."),
        "table": {"headers": [_("Time"), _("Result"), _("From")], "rows": rows},
    }  # fmt: skip


def _sessions(mailbox: Mailbox, request: HttpRequest, model_admin: Any) -> dict[str, Any]:
    pages = SessionRecordAdmin(SessionRecord, model_admin.admin_site)
    last = list(SessionRecord.objects.filter(mailbox_id=mailbox.pk).order_by("-serial")[:SHOWN])
    pages.prepare(last, request)
    return {
        "title": _("Last sessions"),
        "url": sessions_url(mailbox.pk),
        "empty": _("No mail program has opened this mailbox lately."),
        "table": {
            "headers": [_("Began"), _("Retrieved"), _("Deleted"), _("End")],
            "rows": [[pages.when(one), pages.taken(one), pages.removed(one), pages.end(one)] for one in last],
        },
    }
