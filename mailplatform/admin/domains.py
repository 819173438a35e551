"""Admin pages of domains."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.widgets import UnfoldBooleanSwitchWidget

from accounts import services
from accounts.models import Alias, Domain, Mailbox
from mailplatform.admin.deletion import Preview
from mailplatform.admin.display import badge, moment_cell
from mailplatform.admin.lists import ListAdmin
from mailplatform.admin.policies import FIELDS, FIELDSET, PoliciesForm


class DomainForm(PoliciesForm):
    """A domain and whether it is to be the default, which takes that role from another one."""

    make_default = forms.BooleanField(
        label=gettext_lazy("Default domain"),
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text=gettext_lazy("New users get their first mailbox here; bare login names mean this domain."),
    )

    class Meta:
        model = Domain
        fields = ["name", *FIELDS]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.is_default or not Domain.objects.exists():
            self.fields["make_default"].initial = True
            self.fields["make_default"].disabled = True  # there is always a default; another domain can take over


@admin.register(Domain)
class DomainAdmin(ListAdmin):
    """Domains with the number of their mailboxes. A name never changes: addresses are made of it."""

    form = DomainForm
    list_display = ["name", "mailbox_count", "role", "created"]
    search_fields = ["name"]
    search_help_text = gettext_lazy("Search by name")
    fieldsets = ((None, {"fields": ("name", "make_default")}), FIELDSET)
    actions = ["make_default"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Domain]:
        """Counts mailboxes in a subquery, which the database answers for the rows of one page alone."""
        inside = Mailbox.objects.filter(domain=OuterRef("pk")).order_by().values("domain").annotate(number=Count("pk"))
        queryset: QuerySet[Domain] = super().get_queryset(request)
        return queryset.annotate(mailbox_number=Coalesce(Subquery(inside.values("number")), 0))

    def get_fieldsets(self, request: HttpRequest, obj: Domain | None = None) -> Any:
        """Who may only look sees the role where the switch would be."""
        if obj is None or self.has_change_permission(request, obj):
            return super().get_fieldsets(request, obj)
        return ((None, {"fields": ("name", "role")}), FIELDSET)

    def get_readonly_fields(self, request: HttpRequest, obj: Domain | None = None) -> list[str]:
        return ["name"] if obj else []

    @admin.display(description=gettext_lazy("mailboxes"), ordering="mailbox_number")
    def mailbox_count(self, domain: Any) -> SafeString:
        return _link_to("mailbox", domain.pk, domain.mailbox_number)

    @admin.display(description=gettext_lazy("role"), ordering="is_default")
    def role(self, domain: Domain) -> SafeString | str:
        return badge(_("default"), "primary") if domain.is_default else ""

    @admin.display(description=gettext_lazy("created"), ordering="created_at")
    def created(self, domain: Domain) -> SafeString:
        return moment_cell(domain.created_at)

    @admin.action(description=gettext_lazy("Make the default domain"), permissions=["change"])
    def make_default(self, request: HttpRequest, queryset: QuerySet[Domain]) -> None:
        if queryset.count() != 1:
            self.message_user(request, _("Select the one domain that is to be the default."), "error")
            return
        domain = queryset.get()
        services.set_default_domain(domain=domain)
        self.log_change(request, domain, _("Made the default domain."))
        self.message_user(request, _("%(domain)s is the default domain now.") % {"domain": domain}, "success")

    def save_model(self, request: HttpRequest, obj: Domain, form: DomainForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.cleaned_data.get("make_default") and not obj.is_default:
            services.set_default_domain(domain=obj)

    def get_deleted_objects(self, objs: Iterable[Domain], request: HttpRequest) -> Preview:
        """A domain with mailboxes or aliases stays, and so does the default while there is another."""
        domains = list(objs)
        counted = Domain.objects.filter(pk__in=[d.pk for d in domains]).annotate(number=Count("mailboxes"))
        aliases = Alias.objects.filter(domain__in=domains).order_by().values_list("domain_id", "domain__name")
        protected: list[str] = []
        for pk, name, number in aliases.annotate(number=Count("pk")):
            text = ngettext("%(domain)s has %(number)d alias", "%(domain)s has %(number)d aliases", number)
            protected.append(_link_to("alias", pk, text % {"domain": name, "number": number}))
        for domain in counted.filter(number__gt=0):
            text = ngettext("%(domain)s has %(number)d mailbox", "%(domain)s has %(number)d mailboxes", domain.number)
            protected.append(_link_to("mailbox", domain.pk, text % {"domain": domain, "number": domain.number}))
        if Domain.objects.exclude(pk__in=[d.pk for d in domains]).exists():
            wanted = _("%(domain)s is the default domain; make another one the default first")
            protected += [wanted % {"domain": domain} for domain in domains if domain.is_default]
        allowed = self.has_delete_permission(request)
        perms = set() if allowed else {str(Domain._meta.verbose_name)}
        model_count = {str(Domain._meta.verbose_name_plural): len(domains)}
        return Preview([str(domain) for domain in domains], model_count, perms, protected)


def default_domain() -> dict[str, Any]:
    """What a form for an address begins with."""
    return {"domain": Domain.objects.filter(is_default=True).first()}


def _link_to(model: str, domain_id: int, text: Any) -> SafeString:
    """A link to what is in a domain: its mailboxes, or its aliases."""
    url = reverse(f"admin:accounts_{model}_changelist")
    return format_html('<a class="mp-link" href="{}?domain__id__exact={}">{}</a>', url, domain_id, text)
