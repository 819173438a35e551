"""What was done in the admin, by whom: changes, deletions, and each look into somebody's mail. Nobody edits it."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from unfold.decorators import display

from mailplatform.admin.display import moment_cell
from mailplatform.admin.lists import ListAdmin
from mailplatform.admin.log import READ

_KINDS = {ADDITION: gettext_lazy("added"), CHANGE: gettext_lazy("changed"), DELETION: gettext_lazy("deleted")}


@admin.register(LogEntry)
class LogEntryAdmin(ListAdmin):
    """Django's log of the admin, to be read."""

    list_display = ["time", "user", "kind", "thing", "what"]
    list_display_links = None
    list_filter = ["action_flag"]
    list_select_related = ["user", "content_type"]
    search_fields = ["object_repr", "change_message", "user__username"]
    search_help_text = gettext_lazy("Search by object, what was done, or who did it")
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        queryset: QuerySet[LogEntry] = super().get_queryset(request)
        return queryset.select_related("user", "content_type")

    @admin.display(description=gettext_lazy("time"), ordering="id")
    def time(self, entry: LogEntry) -> SafeString:
        return moment_cell(entry.action_time)

    @display(
        description=gettext_lazy("what was done"),
        label={ADDITION: "success", CHANGE: "info", DELETION: "danger", READ: "warning"},
    )
    def kind(self, entry: LogEntry) -> tuple[int | str, Any]:
        if entry.change_message.startswith(READ):
            return READ, gettext_lazy("read")
        return entry.action_flag, _KINDS.get(entry.action_flag, "")

    @admin.display(description=gettext_lazy("object"))
    def thing(self, entry: LogEntry) -> str:
        url = None if entry.is_deletion() else entry.get_admin_url()
        return format_html('<a class="mp-link" href="{}">{}</a>', url, entry.object_repr) if url else entry.object_repr

    @admin.display(description=gettext_lazy("details"))
    def what(self, entry: LogEntry) -> str:
        return entry.get_change_message()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False
