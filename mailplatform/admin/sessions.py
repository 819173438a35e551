"""Admin pages of session records: who opened which mailbox, what was taken and deleted, and how it ended."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_http_methods
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter

from mailplatform.admin.display import badge, moment, moment_cell
from mailplatform.admin.octets import human, messages_and_size
from mailplatform.admin.records import DayFilter, RecordAdmin, box_cell, origin_cell, two_lines
from mailstore.locks import Lock, find_holders
from pop3service.models import ENDINGS, SessionRecord
from pop3service.states import Ending
from pop3service.workers import are_dead

#: Colour and word of each end; the longer text is beside it.
_BADGES = {
    Ending.QUIT: ("success", gettext_lazy("QUIT")),
    Ending.FAILED: ("danger", gettext_lazy("failed")),
    Ending.DROPPED: ("warning", gettext_lazy("lost")),
    Ending.TIMED_OUT: ("warning", gettext_lazy("timed out")),
    Ending.SERVER: ("", gettext_lazy("server stopped")),
    Ending.ADMIN: ("info", gettext_lazy("by an admin")),
    Ending.REVOKED: ("info", gettext_lazy("revoked")),
    Ending.BROKEN_OFF: ("danger", gettext_lazy("broken off")),
}


class EndingFilter(DropdownFilter):
    """Sessions by the way they ended."""

    title = gettext_lazy("end")
    parameter_name = "ending"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(ending.value, text) for ending, text in ENDINGS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[SessionRecord]) -> QuerySet[SessionRecord]:
        return queryset.filter(ending=self.value()) if self.value() else queryset


class DidFilter(DropdownFilter):
    """Sessions by what they did."""

    title = gettext_lazy("what was done")
    parameter_name = "did"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("deleted", _("Messages deleted")), ("took", _("Messages retrieved")), ("nothing", _("Only looked"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[SessionRecord]) -> QuerySet[SessionRecord]:
        took = Q(retrieved__gt=0) | Q(topped__gt=0)
        wanted = {"deleted": Q(deleted__gt=0), "took": took, "nothing": ~took & Q(deleted=0)}
        return queryset.filter(wanted[self.value()]) if self.value() in wanted else queryset


@admin.register(SessionRecord)
class SessionRecordAdmin(RecordAdmin):
    """Session records, to be read."""

    moment_column = "began_at"
    ordering = ("-began_at", "-id")
    list_display = ["when", "who", "origin", "taken", "removed", "end"]
    list_display_links = ["when"]
    list_filter = [EndingFilter, DidFilter, ("mailbox", AutocompleteSelectFilter), ("began_at", DayFilter)]
    fields = ["who", "origin", "when", "taken", "removed", "left", "end"]

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        # Imported here: that page shows cells of this one.
        from mailplatform.admin.open_sessions import open_page

        find = self.admin_site.admin_view(require_GET(self.find))
        show = self.admin_site.admin_view(require_http_methods(["GET", "POST"])(partial(open_page, self)))
        return [
            path("of/<int:mailbox_id>/<int:serial>/", find, name="pop3service_sessionrecord_of"),
            path("open/", show, name="pop3service_sessionrecord_open"),
            *urls,
        ]

    def find(self, request: HttpRequest, mailbox_id: int, serial: int) -> HttpResponse:
        """To the record of the session with this number, or to those of its mailbox."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = SessionRecord.objects.filter(mailbox_id=mailbox_id, serial=serial).values_list("pk", flat=True).first()
        if found is not None:
            return HttpResponseRedirect(reverse("admin:pop3service_sessionrecord_change", args=[found]))
        messages.info(request, _("There is no record of that session, or not yet."))
        return HttpResponseRedirect(sessions_url(mailbox_id))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> SessionRecord | None:
        record: SessionRecord | None = super().get_object(request, object_id, from_field)
        if record is not None:
            self.prepare([record], request)
        return record

    def prepare(self, records: list[Any], request: HttpRequest) -> None:
        super().prepare(records, request)
        unended = [record for record in records if record.ended_at is None]
        holders = find_holders([record.mailbox_id for record in unended]) if unended else []
        held = {holder for holder in holders if holder is not None}
        living = _living(held)
        for record, holder in zip(unended, holders, strict=True):
            record.is_open = holder is not None and holder.serial == record.serial and holder in living

    @admin.display(description=gettext_lazy("began"))
    def when(self, record: SessionRecord) -> SafeString:
        if record.times > 1:
            times = ngettext("%(number)d poll", "%(number)d polls", record.times) % {"number": record.times}
            until = _("until %(time)s") % {"time": moment(record.ended_at)[-5:]}
            return two_lines(moment_cell(record.began_at), f"{times} {until}")
        took = lasted((record.ended_at - record.began_at).total_seconds()) if record.ended_at else ""
        return two_lines(moment_cell(record.began_at), took)

    @admin.display(description=gettext_lazy("mailbox"))
    def who(self, record: SessionRecord) -> SafeString:
        return box_cell(record)

    @admin.display(description=gettext_lazy("from"))
    def origin(self, record: SessionRecord) -> SafeString | str:
        return origin_cell(record, reverse("admin:pop3service_sessionrecord_changelist"))

    @admin.display(description=gettext_lazy("retrieved"))
    def taken(self, record: SessionRecord) -> SafeString | str:
        whole = messages_and_size(record.retrieved, record.retrieved_octets) if record.retrieved else ""
        part = ngettext("the beginning of %(number)d", "the beginnings of %(number)d", record.topped)
        parts = f"{part % {'number': record.topped}} ({human(record.topped_octets)})" if record.topped else ""
        return two_lines(whole, parts) if parts else whole or "-"

    @admin.display(description=gettext_lazy("deleted"))
    def removed(self, record: Any) -> SafeString | str:
        """How many, with a link to the shelf, where those are that are not back yet."""
        if not record.deleted:
            return "-"
        number = ngettext("%(number)d message", "%(number)d messages", record.deleted) % {"number": record.deleted}
        if record.box is None or not record.box_url:
            return number
        url = reverse("admin:accounts_mailbox_shelf", args=[record.mailbox_id])
        return format_html('<a class="mp-link" href="{}?session={}">{}</a>', url, record.serial, number)

    @admin.display(description=gettext_lazy("end"))
    def end(self, record: Any) -> SafeString:
        return end_cell(record)


def sessions_url(mailbox_id: int) -> str:
    """The sessions of a mailbox."""
    return f"{reverse('admin:pop3service_sessionrecord_changelist')}?mailbox__id__exact={mailbox_id}"


def end_cell(record: Any) -> SafeString:
    """How a prepared record's session ended, if it has."""
    if record.ended_at is None:
        if record.is_open:
            return badge(_("open now"), "info")
        return two_lines(badge(_("killed"), "danger"), _("its server was killed"))
    ending = Ending(record.ending)
    kind, word = _BADGES[ending]
    return badge(str(word), kind, str(ENDINGS[ending]))


def lasted(seconds: float) -> str:
    """A time that a session took."""
    if seconds < 60:
        return _("%(number).1f s") % {"number": seconds}
    if seconds < 3600:
        return _("%(number)d min") % {"number": round(seconds / 60)}
    return _("%(number).1f h") % {"number": seconds / 3600}


def _living(holders: set[Lock]) -> set[Lock]:
    """Those locks whose workers live."""
    ordered = list(holders)
    dead = are_dead([holder.worker for holder in ordered]) if ordered else []
    return {holder for holder, is_dead in zip(ordered, dead, strict=True) if not is_dead}
