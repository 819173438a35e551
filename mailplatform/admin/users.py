"""Admin pages of users, with their mailboxes, and the accounts file in and out."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.forms.models import ModelForm
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.models import Domain, Mailbox, User
from mailplatform.admin import transfer
from mailplatform.admin.deletion import Preview, preview
from mailplatform.admin.display import size_of
from mailplatform.admin.octets import OctetsField


class NewUserForm(UserCreationForm):
    """Makes a user; refuses a name whose first address is taken."""

    class Meta:
        model = User
        fields = ("username",)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        domain = Domain.objects.filter(is_default=True).first()
        name = cleaned.get("username", "").lower()
        if domain and name and Mailbox.objects.filter(address=f"{name}@{domain.name}").exists():
            taken = _("The address %(address)s belongs to another user.") % {"address": f"{name}@{domain.name}"}
            self.add_error("username", ValidationError(taken, code="address"))
        return cleaned


class MailboxInlineForm(forms.ModelForm[Mailbox]):
    """A mailbox in a line of its user's page."""

    quota_octets = OctetsField(label=gettext_lazy("quota"), required=False, help_text="")

    class Meta:
        model = Mailbox
        fields = ["domain", "local_part", "quota_octets", "is_active"]


class MailboxInline(TabularInline):
    """The user's mailboxes. One is deleted on its own page, which says what goes with it."""

    model = Mailbox
    form = MailboxInlineForm
    fields = ["domain", "local_part", "quota_octets", "is_active", "size"]
    readonly_fields = ["size"]
    autocomplete_fields = ["domain"]
    extra = 0
    can_delete = False
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mailbox]:
        queryset: QuerySet[Mailbox] = super().get_queryset(request)
        return queryset.select_related("domain", "maildrop")

    @admin.display(description=gettext_lazy("stored"))
    def size(self, mailbox: Mailbox) -> str:
        return size_of(mailbox)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    """Users. A new one gets a mailbox in the default domain, as on every other way to make one."""

    form = UserChangeForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "full_name", "mailbox_count", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["username", "first_name", "last_name", "email", "mailboxes__address"]
    ordering = ["username"]
    inlines = [MailboxInline]
    actions = ["activate", "suspend"]
    actions_list = ["import_accounts", "export_accounts"]
    show_full_result_count = False
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": ("username", "password", "is_active")}),
        (gettext_lazy("Personal info"), {"fields": ("first_name", "last_name", "email")}),
        (
            gettext_lazy("Admin rights"),
            {"classes": ["collapse"], "fields": ("is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (gettext_lazy("Dates"), {"classes": ["collapse"], "fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ["last_login", "date_joined"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        queryset: QuerySet[User] = super().get_queryset(request)
        return queryset.annotate(mailbox_number=Count("mailboxes", distinct=True))

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[type[TabularInline]]:
        return list(self.inlines) if obj else []

    @admin.display(description=gettext_lazy("name"), ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description=gettext_lazy("mailboxes"), ordering="mailbox_number")
    def mailbox_count(self, user: Any) -> int:
        number: int = user.mailbox_number
        return number

    @admin.action(description=gettext_lazy("Activate"), permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._set_active(request, queryset, active=True)

    @admin.action(description=gettext_lazy("Suspend"), permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Suspended users open no mailbox and no page; an admin cannot shut the door on themselves."""
        self._set_active(request, queryset.exclude(pk=request.user.pk), active=False)

    def _set_active(self, request: HttpRequest, users: QuerySet[User], *, active: bool) -> None:
        number = User.objects.filter(pk__in=users.values("pk")).update(is_active=active)
        if active:
            text = ngettext("%(number)d user activated.", "%(number)d users activated.", number)
        else:
            text = ngettext("%(number)d user suspended.", "%(number)d users suspended.", number)
        self.message_user(request, text % {"number": number}, messages.SUCCESS)

    @action(
        description=gettext_lazy("Import accounts"),
        url_path="import",
        icon="upload_file",
        permissions=["accounts.add_user", "accounts.add_mailbox"],
    )
    def import_accounts(self, request: HttpRequest) -> HttpResponseBase:
        return transfer.import_page(self, request)

    @action(
        description=gettext_lazy("Export accounts"),
        url_path="export",
        icon="download",
        variant=ActionVariant.DEFAULT,
        permissions=["accounts.view_user", "accounts.view_mailbox"],
    )
    def export_accounts(self, request: HttpRequest) -> HttpResponseBase:
        return transfer.export_file()

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change and obj.add_default_mailbox() is None:
            text = _("There is no default domain yet, so this user has no mailbox.")
            self.message_user(request, text, messages.WARNING)

    def get_deleted_objects(self, objs: Iterable[User], request: HttpRequest) -> Preview:
        users = list(objs)
        owned = Mailbox.objects.filter(user__in=[user.pk for user in users])
        found = preview(users, request, owned)
        found.model_count[str(User._meta.verbose_name_plural)] = len(users)
        if not self.has_delete_permission(request):
            found.perms_needed.add(str(User._meta.verbose_name))
        return found
