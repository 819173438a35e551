"""Admin pages of aliases: addresses that lead to others, and where their mail ends."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.forms.models import construct_instance
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from accounts import services
from accounts.aliases import WILDCARD, targets_of
from accounts.models import Alias
from accounts.routing import DeadEnd, find_routes
from mailplatform.admin.display import badge, moment_cell
from mailplatform.admin.domains import default_domain
from mailplatform.admin.switching import SwitchedAdmin

#: Targets that a row of the list names, and ends that a page names.
NAMED = 2
ENDS_NAMED = 50

_DEAD_ENDS = {
    DeadEnd.UNKNOWN: gettext_lazy("no such mailbox here"),
    DeadEnd.NOT_HERE: gettext_lazy("elsewhere"),
    DeadEnd.SUSPENDED: gettext_lazy("suspended"),
    DeadEnd.LOOP: gettext_lazy("goes in a loop"),
    DeadEnd.TOO_FAR: gettext_lazy("leads on too far"),
}


class AliasForm(forms.ModelForm):
    """An alias, which is refused where its mail would go in a loop."""

    class Meta:
        model = Alias
        fields = ["local_part", "domain", "targets", "is_active", "may_send", "note"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            alias = construct_instance(self, self.instance, self._meta.fields)
            services.check_alias(alias)
        return cleaned


@admin.register(Alias)
class AliasAdmin(SwitchedAdmin):
    """Aliases with what they lead to."""

    form = AliasForm
    logged_off = "Deactivated."
    list_display = ["address", "leads_to", "note", "state_of"]
    list_filter = [("domain", AutocompleteSelectFilter), "is_active", "is_wildcard"]
    list_filter_submit = True
    list_select_related = ["domain"]
    search_fields = ["address", "targets", "note"]
    search_help_text = gettext_lazy("Search by address, target or note")
    autocomplete_fields = ["domain"]
    actions = ["activate", "deactivate"]
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": (("local_part", "domain"), "targets", "note", ("is_active", "may_send"))}),
        (gettext_lazy("Where mail ends"), {"fields": ("ends", "created")}),
    )
    readonly_fields = ["ends", "created"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        asked: dict[str, Any] = super().get_changeform_initial_data(request)
        return default_domain() | asked

    def get_fieldsets(self, request: HttpRequest, obj: Alias | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj else fieldsets[:-1]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Without a menu to change the domain that is chosen; it has a page."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        for deed in ("add", "change", "delete", "view"):
            if field is not None and hasattr(field.widget, f"can_{deed}_related"):
                setattr(field.widget, f"can_{deed}_related", False)
        if db_field.name in ("targets", "forward_to"):
            field.widget.attrs["rows"] = 4
        return field

    @admin.display(description=gettext_lazy("leads to"), ordering="targets")
    def leads_to(self, alias: Alias) -> str:
        targets = targets_of(alias.targets)
        named = ", ".join(targets[:NAMED])
        if len(targets) <= NAMED:
            return named
        more = len(targets) - NAMED
        return ngettext("%(named)s and %(more)d more", "%(named)s and %(more)d more", more) % {
            "named": named,
            "more": more,
        }

    @admin.display(description=gettext_lazy("state"), ordering="is_active")
    def state_of(self, alias: Alias) -> SafeString:
        return badge(_("active"), "success") if alias.is_active else badge(_("inactive"), "danger")

    @admin.display(description=gettext_lazy("created"))
    def created(self, alias: Alias) -> SafeString:
        return moment_cell(alias.created_at)

    @admin.display(description=gettext_lazy("mail goes to"))
    def ends(self, alias: Alias) -> SafeString | str:
        """What each target leads to in the end, with a link where it is a mailbox here."""
        if not alias.is_active:
            return _("Nowhere: the alias is not active, mail is refused.")
        targets = targets_of(alias.targets)
        fixed = [target for target in targets if WILDCARD not in target]
        routes = dict(zip(fixed, find_routes(fixed), strict=True))
        lines: list[tuple[SafeString | str]] = [
            (_end_of(target, routes.get(target)),) for target in targets[:ENDS_NAMED]
        ]
        if len(targets) > ENDS_NAMED:
            lines.append((_("and %(number)d more") % {"number": len(targets) - ENDS_NAMED},))
        return format_html('<ul class="mp-ends">{}</ul>', format_html_join("", "<li>{}</li>", lines))

    def set_active(self, wanted: QuerySet[Alias], *, active: bool) -> None:
        services.set_aliases_active(aliases=wanted, active=active)

    def said_of(self, number: int, *, active: bool) -> str:
        activated = ngettext("%(number)d alias activated.", "%(number)d aliases activated.", number)
        deactivated = ngettext("%(number)d alias deactivated.", "%(number)d aliases deactivated.", number)
        return (activated if active else deactivated) % {"number": number}

    def save_model(self, request: HttpRequest, obj: Alias, form: AliasForm, change: bool) -> None:
        services.save_alias(alias=obj)


def _end_of(target: str, route: Any) -> SafeString:
    if route is None:
        return format_html("{} <span class='mp-quiet'>{}</span>", target, _("whatever * stands for"))
    if isinstance(route, DeadEnd):
        kind = "mp-quiet" if route is DeadEnd.NOT_HERE else "mp-wrong"
        return format_html("{} <span class='{}'>{}</span>", target, kind, _DEAD_ENDS[route])
    ends = [_link(mailbox.id, mailbox.address) for mailbox in route.mailboxes[:ENDS_NAMED]]
    ends += [format_html("{}", forward.address) for forward in route.forwards[:ENDS_NAMED]]
    listed = format_html_join(", ", "{}", ((end,) for end in ends))
    if len(ends) == 1 and not route.forwards and route.mailboxes[0].address == target.lower():
        return listed
    return format_html("{} → {}", target, listed)


def _link(mailbox_id: int, address: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse("admin:accounts_mailbox_change", args=[mailbox_id]), address)
