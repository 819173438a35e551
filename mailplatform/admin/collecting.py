"""Admin pages of collected accounts: from where a mailbox collects, how that goes, and what went wrong last.

A password is written here and never shown. It is asked for again where it would go to another server, or in another
way; so is it for another mailbox: an account stays with the mailbox it was added for.
"""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.forms.models import construct_instance
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.contrib.filters.admin import DropdownFilter
from unfold.widgets import UnfoldAdminPasswordWidget

from collecting import services
from collecting.models import Source
from mailplatform.admin.deletion import Preview
from mailplatform.admin.display import badge, moment_cell
from mailplatform.admin.log import log_many
from mailplatform.admin.octets import messages_and_size
from mailplatform.admin.records import two_lines
from mailplatform.admin.switching import SwitchedAdmin

_FIELDS = ["mailbox", "host", "port", "tls", "verify_certificate", "login", "interval_minutes", "keep", "is_active"]


class SourceForm(forms.ModelForm):
    """An account with its password, which is not shown again."""

    password = forms.CharField(
        label=gettext_lazy("Password"),
        required=False,
        strip=False,
        max_length=1000,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = Source
        fields = _FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "password" in self.fields:
            self.fields["password"].help_text = _("Empty: it stays as it is.")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            source = construct_instance(self, self.instance, self._meta.fields)
            password = cleaned.get("password", "")
            services.normalise(source)
            # What the form brings into the instance after this is the spelling that was looked at.
            cleaned |= {"host": source.host, "login": source.login}
            services.check_password(source, password)
            services.check_loop(source)
        return cleaned


class StateFilter(DropdownFilter):
    """Accounts that work, or do not."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        left = ("left", _("some mail stays there"))
        return [("failing", _("failing")), left, ("working", _("working")), ("off", _("off"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Source]) -> QuerySet[Source]:
        found = {
            "failing": Q(is_active=True, failures__gt=0),
            "left": Q(is_active=True, failures=0) & ~Q(last_error=""),
            "working": Q(is_active=True, failures=0, last_error=""),
            "off": Q(is_active=False),
        }.get(self.value() or "")
        return queryset.filter(found) if found is not None else queryset


@admin.register(Source)
class SourceAdmin(SwitchedAdmin):
    """Accounts elsewhere, each with the mailbox that collects from it."""

    form = SourceForm
    logged_off = "Deactivated."
    ordering = ("-pk",)
    list_display = ["account", "owner", "state_of", "looked", "brought", "error"]
    list_filter = [StateFilter]
    list_filter_submit = True
    list_select_related = ["mailbox"]
    search_fields = ["mailbox__address", "host", "login"]
    search_help_text = gettext_lazy("Search by mailbox, server or login")
    autocomplete_fields = ["mailbox"]
    sortable_by = ()
    actions = ["look_now", "activate", "deactivate"]
    warn_unsaved_form = True
    fieldsets = (
        (
            gettext_lazy("How it goes"),
            {"fields": (("state_of", "error"), ("looked", "succeeded"), ("next_look", "brought"))},
        ),
        (None, {"fields": ("mailbox", "is_active")}),
        (
            gettext_lazy("The account"),
            {"fields": (("host", "port"), ("tls", "verify_certificate"), ("login", "password"))},
        ),
        (gettext_lazy("Collecting"), {"fields": ("interval_minutes", "keep")}),
    )
    readonly_fields = ["state_of", "error", "looked", "succeeded", "next_look", "brought"]

    def get_fieldsets(self, request: HttpRequest, obj: Source | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj else fieldsets[1:]

    def get_readonly_fields(self, request: HttpRequest, obj: Source | None = None) -> list[str]:
        return [*self.readonly_fields, *(["mailbox"] if obj else [])]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Without a menu to change the mailbox that is chosen; it has a page."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        for deed in ("add", "change", "delete", "view"):
            if field is not None and hasattr(field.widget, f"can_{deed}_related"):
                setattr(field.widget, f"can_{deed}_related", False)
        return field

    def save_model(self, request: HttpRequest, obj: Source, form: SourceForm, change: bool) -> None:
        services.save_source(source=obj, password=form.cleaned_data.get("password", ""))

    def get_deleted_objects(self, objs: Iterable[Source], request: HttpRequest) -> Preview:
        """The rows of messages that were seen there are not loaded; what was collected stays."""
        sources = [_("%(account)s, for %(mailbox)s") % {"account": each, "mailbox": each.mailbox} for each in objs]
        needed = set() if self.has_delete_permission(request) else {str(Source._meta.verbose_name)}
        return Preview(sources, {str(Source._meta.verbose_name_plural): len(sources)}, needed, [])

    @admin.display(description=gettext_lazy("account"))
    def account(self, source: Source) -> SafeString:
        return two_lines(source.login, source.host)

    @admin.display(description=gettext_lazy("mailbox"))
    def owner(self, source: Source) -> str:
        return source.mailbox.address

    @admin.display(description=gettext_lazy("state"))
    def state_of(self, source: Source) -> SafeString:
        if not source.is_active:
            return badge(_("off"), "")
        if source.claimed_until is not None and source.claimed_until > timezone.now():
            return badge(_("being collected"), "primary")
        if source.failures:
            number = source.failures
            text = ngettext("%(number)d failure in a row", "%(number)d failures in a row", number)
            return badge(_("failing"), "danger", text % {"number": number})
        if source.last_error:
            return badge(_("some mail stays there"), "warning", source.last_error)
        return badge(_("working"), "success") if source.last_success_at else badge(_("new"), "info")

    @admin.display(description=gettext_lazy("last look"))
    def looked(self, source: Source) -> SafeString:
        return moment_cell(source.last_look_at)

    @admin.display(description=gettext_lazy("last success"))
    def succeeded(self, source: Source) -> SafeString:
        return moment_cell(source.last_success_at)

    @admin.display(description=gettext_lazy("next look"))
    def next_look(self, source: Source) -> SafeString:
        return moment_cell(source.next_look_at if source.is_active else None)

    @admin.display(description=gettext_lazy("collected"))
    def brought(self, source: Source) -> str:
        return messages_and_size(source.collected, source.collected_octets)

    @admin.display(description=gettext_lazy("last error"))
    def error(self, source: Source) -> str:
        return source.last_error or "-"

    @admin.action(description=gettext_lazy("Collect now"), permissions=["change"])
    def look_now(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        rows = list(queryset)
        number = services.look_now(source_ids=[row.pk for row in rows])
        log_many(request, rows, "Collected now.")
        text = ngettext("%(number)d is looked at now.", "%(number)d are looked at now.", number)
        self.message_user(request, text % {"number": number}, messages.SUCCESS if number else messages.WARNING)

    def set_active(self, wanted: QuerySet[Source], *, active: bool) -> None:
        services.set_sources_active(sources=wanted, active=active)

    def said_of(self, number: int, *, active: bool) -> str:
        return ngettext("%(number)d account changed.", "%(number)d accounts changed.", number) % {"number": number}
