"""Admin pages of login records: every try to log in, over any protocol, and what became of it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter

from accounts.models import LoginRecord, LoginResult
from mailplatform.admin.display import badge, moment, moment_cell
from mailplatform.admin.records import DayFilter, RecordAdmin, box_cell, origin_cell, two_lines

#: How far a result is from the fault of whoever tried.
_KINDS = {
    LoginResult.ADMITTED: "success",
    LoginResult.ERROR: "danger",
    LoginResult.BUSY: "warning",
    LoginResult.THROTTLED: "warning",
}
_REFUSED = "refused"


class ResultFilter(DropdownFilter):
    """Tries that were let in, refused for any reason, or for one."""

    title = gettext_lazy("result")
    parameter_name = "result"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        first, *others = LoginResult.choices
        return [first, (_REFUSED, _("refused, for any reason")), *others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LoginRecord]) -> QuerySet[LoginRecord]:
        value = self.value()
        if value == _REFUSED:
            return queryset.exclude(result=LoginResult.ADMITTED)
        return queryset.filter(result=value) if value in LoginResult.values else queryset


class ProtocolFilter(DropdownFilter):
    """Tries over one protocol."""

    title = gettext_lazy("protocol")
    parameter_name = "protocol"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("pop3", "POP3"), ("smtp", "SMTP"), ("web", "WEB")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LoginRecord]) -> QuerySet[LoginRecord]:
        return queryset.filter(protocol=self.value()) if self.value() else queryset


@admin.register(LoginRecord)
class LoginRecordAdmin(RecordAdmin):
    """Login records, to be read."""

    moment_column = "at"
    ordering = ("-at", "-id")
    list_display = ["when", "who", "outcome", "origin", "how"]
    list_filter = [ResultFilter, ProtocolFilter, ("mailbox", AutocompleteSelectFilter), ("at", DayFilter)]
    fields = ["when", "who", "outcome", "origin", "how"]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> LoginRecord | None:
        record: LoginRecord | None = super().get_object(request, object_id, from_field)
        if record is not None:
            self.prepare([record], request)
        return record

    @admin.display(description=gettext_lazy("time"))
    def when(self, record: LoginRecord) -> SafeString:
        return when_cell(record)

    @admin.display(description=gettext_lazy("mailbox"))
    def who(self, record: LoginRecord) -> SafeString:
        return box_cell(record)

    @admin.display(description=gettext_lazy("result"))
    def outcome(self, record: LoginRecord) -> SafeString:
        return outcome_cell(record)

    @admin.display(description=gettext_lazy("from"))
    def origin(self, record: LoginRecord) -> SafeString | str:
        return origin_cell(record, reverse("admin:accounts_loginrecord_changelist"))

    @admin.display(description=gettext_lazy("how"))
    def how(self, record: LoginRecord) -> SafeString:
        took = _("%(number)d ms") % {"number": record.milliseconds}
        return two_lines(record.protocol.upper(), record.mechanism, took)


def when_cell(record: LoginRecord) -> SafeString:
    """The first time, and how often until when."""
    if record.times == 1:
        return moment_cell(record.at)
    times = ngettext("%(number)d time", "%(number)d times", record.times) % {"number": record.times}
    first, last = moment(record.at), moment(record.last_at)
    until = "" if last == first else _("until %(time)s") % {"time": last[-5:]}
    return two_lines(moment_cell(record.at), f"{times} {until}".rstrip())


def outcome_cell(record: LoginRecord) -> SafeString:
    """Let in or refused, and why."""
    result = LoginResult(record.result)
    if result is LoginResult.ADMITTED:
        return badge(str(result.label), "success")
    return two_lines(badge(_("refused"), _KINDS.get(result, "danger")), str(result.label))
