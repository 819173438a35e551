"""Admin pages of mailboxes: the list from kept counters, and one mailbox.

A page of the list is one query with its counters joined in and one for the workers that hold its locks, whatever is
stored behind it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.forms.models import construct_instance
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_POST
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.decorators import action
from unfold.views import ChangeList

from accounts import services
from accounts.models import Mailbox, default_quota_octets
from accounts.policies import NOTHING_SAID, Columns
from mailplatform.admin.deletion import Preview, preview
from mailplatform.admin.display import held_by, last_login, mark_open, moment_cell, quota_bar, state
from mailplatform.admin.domains import default_domain
from mailplatform.admin.lately import forgive_view, lately
from mailplatform.admin.lists import List
from mailplatform.admin.messages import READ_MAIL, mailbox_tabs, message_urls
from mailplatform.admin.octets import OctetsField, human
from mailplatform.admin.policies import FIELDS, FIELDSET, PoliciesForm
from mailplatform.admin.situation import by_weight, facts_about, may_set_password
from mailplatform.admin.switching import SwitchedAdmin
from mailstore.removal import remove_mailboxes

#: What says who reads mail: whoever gets it besides the user, and whose the mailbox of an address is. A new mailbox has
#: no mail yet: there the latter are chosen.
_WHO_ELSE_READS = ("forward_to", "keep_copy", "delegates")
_WHOSE = ("local_part", "domain", "user")
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def _kept(column: str, none: Value) -> Coalesce:
    """A counter to sort by, in which a mailbox that was never used is the least on every database."""
    return Coalesce(f"maildrop__{column}", none)


class MailboxList(List):
    """The list, which knows of each mailbox on the page whether it is open."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: list[Mailbox] = list(self.result_list)  # no other query may load the rows again
        mark_open(self.result_list)


class QuotaFilter(DropdownFilter):
    """Mailboxes that are full, or nearly."""

    title = gettext_lazy("quota")
    parameter_name = "quota"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("over", _("Over quota")), ("near", _("Above 90 %")), ("none", _("No limit"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Mailbox]) -> QuerySet[Mailbox]:
        octets, number = F("maildrop__octets"), F("maildrop__message_count")
        if self.value() == "over":
            return queryset.filter(
                Q(quota_octets__gt=0, quota_octets__lte=octets) | Q(quota_messages__gt=0, quota_messages__lte=number)
            )
        if self.value() == "near":
            return queryset.filter(
                Q(quota_octets__gt=0, maildrop__octets__gt=F("quota_octets") / 10 * 9)
                | Q(quota_messages__gt=0, maildrop__message_count__gte=F("quota_messages") * 9 / 10)
            )
        if self.value() == "none":
            return queryset.filter(quota_octets=0, quota_messages=0)
        return queryset


class MailboxForm(PoliciesForm):
    """A mailbox with its quota as people write sizes."""

    quota_octets = OctetsField(label=gettext_lazy("Quota"), required=False, initial=default_quota_octets)

    class Meta:
        model = Mailbox
        fields = [
            "user",
            "domain",
            "local_part",
            "quota_octets",
            "quota_messages",
            "is_active",
            "forward_to",
            "keep_copy",
            "delegates",
            *FIELDS,
        ]

    def above(self) -> Columns:
        if self.instance.domain_id is None:
            return NOTHING_SAID
        return self.instance.domain.expire_days, self.instance.domain.login_delay_seconds

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            # _post_clean brings the form's values into the instance after this; a loop is looked for with them here.
            mailbox = construct_instance(self, self.instance, ["domain", "local_part", "forward_to", "keep_copy"])
            mailbox.clean()
            services.check_forwarding(mailbox)
        return cleaned


@admin.register(Mailbox)
class MailboxAdmin(SwitchedAdmin):
    """Mailboxes; their messages and shelf are pages of their own (mailplatform.admin.messages)."""

    form = MailboxForm
    list_display = ["address", "owner", "message_count", "size", "quota", "last_login", "state_of"]
    list_filter = [
        ("domain", AutocompleteSelectFilter),
        "is_active",
        QuotaFilter,
    ]
    list_filter_submit = True
    search_fields = ["address", "user__username", "user__first_name", "user__last_name"]
    search_help_text = gettext_lazy("Search by address or name")
    autocomplete_fields = ["user", "domain", "delegates"]
    actions = ["activate", "suspend"]
    ordering = ["address"]
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": (("local_part", "domain"), "user", "is_active")}),
        (gettext_lazy("Quota"), {"fields": (("quota_octets", "quota_messages"),)}),
        (gettext_lazy("Forwarding"), {"fields": ("forward_to", "keep_copy")}),
        (gettext_lazy("Who else may open it"), {"fields": ("delegates",)}),
        FIELDSET,
        (
            gettext_lazy("What is stored"),
            {"fields": (("message_count", "size"), ("quota", "state_of"), ("last_login", "created"))},
        ),
    )
    readonly_fields = ["message_count", "size", "quota", "last_login", "state_of", "created"]
    change_form_outer_before_template = "mailplatform/mailbox_top.html"
    actions_detail = ["set_password", "collect_from"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        asked: dict[str, Any] = super().get_changeform_initial_data(request)
        return default_domain() | asked

    def get_fieldsets(self, request: HttpRequest, obj: Mailbox | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj else fieldsets[:-1]

    def get_readonly_fields(self, request: HttpRequest, obj: Mailbox | None = None) -> list[str]:
        """Whoever may not read other people's mail gives it to nobody else either, whatever they may change."""
        readonly = list(super().get_readonly_fields(request, obj))
        if request.user.has_perm(READ_MAIL):
            return readonly
        return [*readonly, *_WHO_ELSE_READS, *(_WHOSE if obj else ())]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Without a menu to change the user or the domain that is chosen; these have pages."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        for deed in ("add", "change", "delete", "view"):
            if field is not None and hasattr(field.widget, f"can_{deed}_related"):
                setattr(field.widget, f"can_{deed}_related", False)
        if db_field.name in ("targets", "forward_to"):
            field.widget.attrs["rows"] = 4
        return field

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mailbox]:
        queryset: QuerySet[Mailbox] = super().get_queryset(request)
        return queryset.select_related("user", "domain", "maildrop")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MailboxList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Mailbox | None:
        mailbox: Mailbox | None = super().get_object(request, object_id, from_field)
        if mailbox is not None:
            mark_open([mailbox])
        return mailbox

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        finding = path("find/", self.admin_site.admin_view(require_GET(self.find)), name="accounts_mailbox_find")
        forgiving = path(
            "<int:mailbox_id>/forgive/",
            self.admin_site.admin_view(require_POST(partial(forgive_view, self))),
            name="accounts_mailbox_forgive",
        )
        return [finding, forgiving, *message_urls(self), *urls]

    def find(self, request: HttpRequest) -> HttpResponse:
        """To the one mailbox that is found, else to the list of those that are: the field beside every page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        words = request.GET.get("q", "").replace("\0", "")
        found, _several = self.get_search_results(request, self.get_queryset(request), words)
        few = list(found.values_list("pk", flat=True)[:2])
        if len(few) == 1:
            return HttpResponseRedirect(reverse("admin:accounts_mailbox_change", args=few))
        return HttpResponseRedirect(f"{reverse('admin:accounts_mailbox_changelist')}?{urlencode({'q': words})}")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        mailbox = kwargs.get("obj")
        if mailbox is not None:
            context |= mailbox_tabs(mailbox, "account")
        if mailbox is not None and request.method != "POST":  # what was not taken is no fact, and its errors come first
            context |= lately(mailbox, request, self)
            context["facts"] = by_weight([*facts_about(mailbox, request), *context["record_facts"]])
        return super().render_change_form(request, context, *args, **kwargs)

    @action(description=gettext_lazy("Set password"), url_path="set-password", icon="key", permissions=["set_password"])
    def set_password(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The password is the user's, for all mailboxes of theirs."""
        mailbox = get_object_or_404(Mailbox, pk=object_id)
        return HttpResponseRedirect(reverse("admin:auth_user_password_change", args=[mailbox.user_id]))

    def has_set_password_permission(self, request: HttpRequest, object_id: str) -> bool:
        mailbox = Mailbox.objects.select_related("user").filter(pk=object_id).first()
        return mailbox is not None and may_set_password(mailbox, request)

    @action(
        description=gettext_lazy("Collect from elsewhere"),
        url_path="collect-from",
        icon="download",
        permissions=["collect_from"],
    )
    def collect_from(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The account that is added is of this mailbox."""
        url = reverse("admin:collecting_source_add")
        return HttpResponseRedirect(f"{url}?{urlencode({'mailbox': object_id})}")

    def has_collect_from_permission(self, request: HttpRequest, object_id: str) -> bool:
        may: bool = request.user.has_perm("collecting.add_source")
        return may

    @admin.display(description=gettext_lazy("user"), ordering="user__username")
    def owner(self, mailbox: Mailbox) -> SafeString:
        url = reverse("admin:accounts_user_change", args=[mailbox.user_id])
        return format_html('<a class="mp-link" href="{}">{}</a>', url, mailbox.user.username)

    @admin.display(description=gettext_lazy("messages"), ordering=_kept("message_count", Value(0)))
    def message_count(self, mailbox: Mailbox) -> SafeString:
        url = reverse("admin:accounts_mailbox_messages", args=[mailbox.pk])
        return format_html('<a class="mp-link" href="{}">{}</a>', url, held_by(mailbox)[0])

    @admin.display(description=gettext_lazy("size"), ordering=_kept("octets", Value(0)))
    def size(self, mailbox: Mailbox) -> str:
        return human(held_by(mailbox)[1])

    @admin.display(description=gettext_lazy("quota used"))
    def quota(self, mailbox: Mailbox) -> SafeString:
        return quota_bar(mailbox)

    @admin.display(description=gettext_lazy("last login"), ordering=_kept("opened_at", Value(_NEVER)))
    def last_login(self, mailbox: Mailbox) -> SafeString:
        return last_login(mailbox)

    @admin.display(description=gettext_lazy("created"))
    def created(self, mailbox: Mailbox) -> SafeString:
        return moment_cell(mailbox.created_at)

    @admin.display(description=gettext_lazy("state"), ordering="is_active")
    def state_of(self, mailbox: Mailbox) -> SafeString:
        return state(mailbox)

    def set_active(self, wanted: QuerySet[Mailbox], *, active: bool) -> None:
        services.set_active(mailboxes=wanted, active=active)

    def said_of(self, number: int, *, active: bool) -> str:
        activated = ngettext("%(number)d mailbox activated.", "%(number)d mailboxes activated.", number)
        suspended = ngettext("%(number)d mailbox suspended.", "%(number)d mailboxes suspended.", number)
        return (activated if active else suspended) % {"number": number}

    def get_deleted_objects(self, objs: Iterable[Mailbox], request: HttpRequest) -> Preview:
        mailboxes = list(objs)
        return preview(mailboxes, request, Mailbox.objects.filter(pk__in=[m.pk for m in mailboxes]))

    def delete_model(self, request: HttpRequest, obj: Mailbox) -> None:
        remove_mailboxes(mailbox_ids=[obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Mailbox]) -> None:
        remove_mailboxes(mailbox_ids=list(queryset.order_by().values_list("pk", flat=True)))
