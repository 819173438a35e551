"""The admin's page of sessions that are open now, on all hosts, with a button to end one.

What is open is said by the locks and by nothing else. Who is behind a lock comes from the session's record, which is
written when a session has lasted some seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.timezone import now
from django.utils.translation import gettext as _

from mailplatform.admin.display import badge, moment_cell
from mailplatform.admin.records import origin_cell, position, two_lines, written
from mailplatform.admin.sessions import lasted
from mailstore.locks import Lock
from mailstore.models import Maildrop
from pop3service.ending import ask_to_end, find_asked
from pop3service.models import SessionRecord, Worker
from pop3service.workers import are_dead

END_SESSION = "pop3service.end_session"
PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A maildrop that is open, where, and its record where that is written; `ends`: it was asked to."""

    maildrop: Maildrop
    host: str
    record: SessionRecord | None
    ends: bool


def open_url(**query: str) -> str:
    """The page, with what is asked of it."""
    url = reverse("admin:pop3service_sessionrecord_open")
    return f"{url}?{urlencode(query)}" if query else url


def open_page(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """Show what is open, the longest first; end what the button is pressed of."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    may_end = request.user.has_perm(END_SESSION)
    if request.method == "POST":
        if not may_end:
            raise PermissionDenied
        _end(request, request.POST.get("end", ""))
        return HttpResponseRedirect(request.get_full_path())
    search = request.GET.get("q", "").replace("\0", "").strip()
    drops, older = _locked(search, position(request.GET.get("after", "")))
    sessions = _with_records(drops)
    request.current_app = model_admin.admin_site.name
    headers = [_("Since"), _("Mailbox"), _("From"), _("Server"), *([""] if may_end else [])]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Open now"),
        "content_title": _("Open now"),
        "model_admin": model_admin,
        "table": {"headers": headers, "rows": [_row(session, may_end=may_end) for session in sessions]},
        "search": search,
        "older_url": open_url(after=older, q=search) if older else None,
        "newest_url": open_url(q=search) if "after" in request.GET else None,
        "empty_text": _("Nothing found for “%(search)s”.") % {"search": search} if search else _("No mailbox is open."),
    }
    return TemplateResponse(request, "mailplatform/open_sessions.html", context)


def _locked(search: str, after: Any) -> tuple[list[Maildrop], str | None]:
    """Maildrops that living workers hold open, the longest first, and where the next page begins."""
    known = list(Worker.objects.values_list("pk", flat=True))
    living = [worker for worker, dead in zip(known, are_dead(known) if known else [], strict=True) if not dead]
    drops = (
        Maildrop.objects.filter(lock_worker__in=living).select_related("mailbox").order_by("locked_at", "mailbox_id")
    )
    if search:
        drops = drops.filter(mailbox__address__icontains=search)
    if after is not None:
        moment, mailbox_id = after
        drops = drops.filter(Q(locked_at__gt=moment) | Q(mailbox_id__gt=mailbox_id), locked_at__gte=moment)
    found = list(drops[: PAGE_SIZE + 1]) if living else []
    page = found[:PAGE_SIZE]
    return page, written(page[-1].locked_at, page[-1].mailbox_id) if len(found) > PAGE_SIZE else None


def _with_records(drops: Sequence[Maildrop]) -> list[OpenSession]:
    named = [(drop.mailbox_id, drop.lock_serial) for drop in drops]
    hosts = {
        worker.pk: worker.host.split(" ")[0] for worker in Worker.objects.filter(pk__in={d.lock_worker for d in drops})
    }
    rows = SessionRecord.objects.filter(mailbox_id__in=[box for box, _ in named], serial__in=[one for _, one in named])
    records = {(row.mailbox_id, row.serial): row for row in rows}
    asked = find_asked(named)
    return [
        OpenSession(
            drop, hosts.get(drop.lock_worker, "?") if drop.lock_worker else "?", records.get(name), name in asked
        )
        for drop, name in zip(drops, named, strict=True)
    ]


def _row(session: OpenSession, *, may_end: bool) -> list[Any]:
    drop, record = session.maildrop, session.record
    since = (now() - drop.locked_at).total_seconds() if drop.locked_at else 0
    url = reverse("admin:accounts_mailbox_change", args=[drop.mailbox_id])
    address = drop.mailbox.address
    said = _("as %(login)s") % {"login": record.login} if record and record.login != address else ""
    cells = [
        two_lines(moment_cell(drop.locked_at), lasted(since)),
        two_lines(
            format_html('<a class="mp-link" href="{}">{}</a>', url, address),
            said,
            record.app_password if record else "",
        ),
        origin_cell(record, reverse("admin:pop3service_sessionrecord_changelist")) if record else _("just opened"),
        session.host,
    ]
    if may_end:
        cells.append(badge(_("is ending"), "warning") if session.ends else _button(drop))
    return cells


def _button(drop: Maildrop) -> Any:
    label = _("End the session of %(address)s") % {"address": drop.mailbox.address}
    return format_html(
        '<button class="mp-end" name="end" value="{}-{}" aria-label="{}">{}</button>',
        drop.mailbox_id,
        drop.lock_serial,
        label,
        _("End"),
    )


def _end(request: HttpRequest, wanted: str) -> None:
    """Have the session ended that "mailbox-serial" names, if it is open still."""
    mailbox_id, _dash, serial = wanted.partition("-")
    numbers = wanted.isascii() and mailbox_id.isdigit() and serial.isdigit() and len(wanted) < 38
    drop = Maildrop.objects.select_related("mailbox").filter(mailbox_id=int(mailbox_id)).first() if numbers else None
    if drop is None or drop.lock_worker is None or drop.lock_serial != int(serial):
        messages.info(request, _("That session has ended already."))
        return
    ask_to_end(mailbox_id=drop.mailbox_id, lock=Lock(drop.lock_worker, drop.lock_serial))
    LogEntry.objects.log_actions(
        user_id=request.user.pk or 0,
        queryset=[drop.mailbox],
        action_flag=CHANGE,
        change_message=f"Ended the session open since {drop.locked_at:%Y-%m-%d %H:%M:%S} UTC",
        single_object=True,
    )
    text = _("The session of %(address)s ends within %(seconds)d seconds; nothing is deleted by it.")
    values = {"address": drop.mailbox.address, "seconds": min(5, settings.POP3_WORKER_DEAD_SECONDS)}
    messages.success(request, text % values)
