"""Admin pages of users, with their mailboxes, and the accounts file in and out.

Only a superuser changes a member of staff, or makes one: whoever may set any password could otherwise take over an
account that may do more.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.forms.models import ModelForm
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods
from unfold.admin import TabularInline
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import PaginationInlineFormSet
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts import services
from accounts.models import Mailbox, User
from mailplatform.admin import transfer
from mailplatform.admin.app_passwords import app_passwords_cell, app_passwords_page, app_passwords_url
from mailplatform.admin.deletion import Preview, preview
from mailplatform.admin.display import badge, last_login, mark_open, moment_cell, size_of, state
from mailplatform.admin.rights import PermissionsField
from mailplatform.admin.switching import SwitchedAdmin
from mailplatform.admin.user_forms import NewMailboxForm, NewUserForm, OwnedForm, PasswordForm, UserForm
from mailstore.removal import remove_mailboxes

#: Mailboxes of others that are named on a user's page.
_ENTRUSTED = 20
_RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


class OwnedFormSet(PaginationInlineFormSet):
    """The mailboxes that a user has, of each of which is known whether it is open."""

    def get_queryset(self) -> QuerySet[Mailbox]:
        queryset: QuerySet[Mailbox] = super().get_queryset()
        if not hasattr(self, "_marked"):
            self._marked = True
            mark_open(list(queryset))
        return queryset


class OwnedInline(TabularInline):
    """The user's mailboxes. An address is changed, and a mailbox deleted, on its own page."""

    model = Mailbox
    form = OwnedForm
    formset = OwnedFormSet
    fields = ["address_link", "quota_octets", "is_active", "size", "last_login", "state_of"]
    readonly_fields = ["address_link", "size", "last_login", "state_of"]
    extra = 0
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mailbox]:
        queryset: QuerySet[Mailbox] = super().get_queryset(request)
        return queryset.select_related("user", "domain", "maildrop")

    @admin.display(description=gettext_lazy("address"))
    def address_link(self, mailbox: Mailbox) -> SafeString:
        url = reverse("admin:accounts_mailbox_change", args=[mailbox.pk])
        return format_html('<a class="mp-link" href="{}">{}</a>', url, mailbox.address)

    @admin.display(description=gettext_lazy("stored"))
    def size(self, mailbox: Mailbox) -> SafeString:
        url = reverse("admin:accounts_mailbox_messages", args=[mailbox.pk])
        return format_html('<a class="mp-link" href="{}">{}</a>', url, size_of(mailbox))

    @admin.display(description=gettext_lazy("last login"))
    def last_login(self, mailbox: Mailbox) -> SafeString:
        return last_login(mailbox)

    @admin.display(description=gettext_lazy("state"))
    def state_of(self, mailbox: Mailbox) -> SafeString:
        return state(mailbox)


class NewMailboxInline(TabularInline):
    """Lines for further mailboxes; those there are stand above."""

    model = Mailbox
    form = NewMailboxForm
    verbose_name_plural = gettext_lazy("Further mailboxes")
    fields = ["local_part", "domain", "quota_octets"]
    autocomplete_fields = ["domain"]
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mailbox]:
        queryset: QuerySet[Mailbox] = super().get_queryset(request)
        return queryset.none()

    def has_view_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return bool(self.has_add_permission(request, obj))

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(DjangoUserAdmin, SwitchedAdmin):
    """Users. A new one gets a mailbox in the default domain, as on every other way to make one."""

    form = UserForm
    add_form = NewUserForm
    change_password_form = PasswordForm
    list_display = ["username", "full_name", "mailbox_count", "state", "role", "password_link"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    list_filter_submit = True
    search_fields = ["username", "first_name", "last_name", "email", "mailboxes__address"]
    search_help_text = gettext_lazy("Search by name or address")
    ordering = ["username"]
    inlines = [OwnedInline, NewMailboxInline]
    actions = ["activate", "suspend"]
    actions_list = ["import_accounts", "export_accounts"]
    actions_detail = ["app_passwords", "set_password"]
    warn_unsaved_form = True
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("username", "is_active"),
                    "password_state",
                    ("app_password_state", "two_factor"),
                    "combined",
                    "entrusted",
                )
            },
        ),
        (gettext_lazy("Personal info"), {"classes": ["tab"], "fields": (("first_name", "last_name"), "email")}),
        (gettext_lazy("Admin rights"), {"classes": ["tab"], "fields": _RIGHTS}),
        (gettext_lazy("Dates"), {"classes": ["tab"], "fields": (("web_login", "joined"),)}),
    )
    add_fieldsets = ((None, {"fields": ("username", ("first_name", "last_name"), "password1", "password2")}),)
    readonly_fields = ["password_state", "app_password_state", "entrusted", "web_login", "joined"]
    filter_horizontal = ()

    # --- Who may do what ----------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and _may_change(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_change(request, obj)

    # Tests of their own: unfold would look a permission's name up in the database before there are tables.
    def has_import_accounts_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms(["accounts.add_user", "accounts.add_mailbox"])

    def has_export_accounts_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms(["accounts.view_user", "accounts.view_mailbox"])

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """The way to a new password is for those to whom its page is open."""
        may = self.has_change_permission(request)
        return [name for name in self.list_display if may or name != "password_link"]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        rights = [] if request.user.is_superuser else _RIGHTS
        return [*self.readonly_fields, *rights]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user_permissions":
            return db_field.formfield(form_class=PermissionsField)
        if db_field.name == "groups":
            kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    # --- The list -----------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Counts mailboxes in a subquery, which the database answers for the rows of one page alone."""
        owned = Mailbox.objects.filter(user=OuterRef("pk")).order_by().values("user").annotate(number=Count("pk"))
        queryset: QuerySet[User] = super().get_queryset(request)
        return queryset.annotate(mailbox_number=Subquery(owned.values("number")))

    @admin.display(description=gettext_lazy("name"), ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name() or "-"

    @admin.display(description=gettext_lazy("mailboxes"))
    def mailbox_count(self, user: Any) -> SafeString:
        url = reverse("admin:accounts_mailbox_changelist")
        return format_html(
            '<a class="mp-link" href="{}?user__id__exact={}">{}</a>', url, user.pk, user.mailbox_number or 0
        )

    @admin.display(description=gettext_lazy("state"), ordering="is_active")
    def state(self, user: User) -> SafeString:
        return badge(_("active"), "success") if user.is_active else badge(_("suspended"), "danger")

    @admin.display(description=gettext_lazy("role"), ordering="is_staff")
    def role(self, user: User) -> SafeString | str:
        if user.is_superuser:
            return badge(_("superuser"), "primary")
        return badge(_("staff"), "info") if user.is_staff else ""

    @admin.display(description=gettext_lazy("last login to the web pages"))
    def web_login(self, user: User) -> SafeString:
        return moment_cell(user.last_login)

    @admin.display(description=gettext_lazy("created"))
    def joined(self, user: User) -> SafeString:
        return moment_cell(user.date_joined)

    @admin.display(description=gettext_lazy("password"))
    def password_state(self, user: User) -> SafeString:
        """Whether there is one; nobody can see it, nor needs its hash."""
        known = badge(_("set"), "success") if user.has_usable_password() else badge(_("none: nobody logs in"), "danger")
        url = _password_url(user.pk)
        return format_html('{} <a class="mp-link" href="{}">{}</a>', known, url, _("Set another one"))

    @admin.display(description=gettext_lazy("app passwords"))
    def app_password_state(self, user: User) -> SafeString:
        return app_passwords_cell(user)

    @admin.display(description=gettext_lazy("also opens"))
    def entrusted(self, user: User) -> SafeString | str:
        """The mailboxes of others that this user may open."""
        some = list(user.delegated_mailboxes.order_by("address")[:_ENTRUSTED])
        urls = ((reverse("admin:accounts_mailbox_change", args=[mailbox.pk]), mailbox.address) for mailbox in some)
        links = format_html_join(", ", '<a class="mp-link" href="{}">{}</a>', urls)
        return links or format_html('<span class="mp-quiet">{}</span>', _("no mailbox of others"))

    @admin.display(description=gettext_lazy("password"))
    def password_link(self, user: User) -> SafeString:
        return format_html('<a class="mp-link" href="{}">{}</a>', _password_url(user.pk), _("Set password"))

    def get_urls(self) -> list[URLPattern]:
        view = require_http_methods(["GET", "POST"])(partial(app_passwords_page, self))
        page = path("<int:user_id>/app-passwords/", self.admin_site.admin_view(view), name="accounts_user_apppasswords")
        return [page, *super().get_urls()]

    @action(
        description=gettext_lazy("App passwords"),
        url_path="manage-app-passwords",
        icon="phonelink_lock",
        permissions=["view"],
    )
    def app_passwords(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return HttpResponseRedirect(app_passwords_url(object_id))

    @action(description=gettext_lazy("Set password"), url_path="set-password", icon="key", permissions=["change"])
    def set_password(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        return HttpResponseRedirect(_password_url(object_id))

    def switchable(self, request: HttpRequest, chosen: QuerySet[User], *, active: bool) -> QuerySet[User]:
        """Suspended users open no mailbox and no page; an admin cannot shut the door on themselves."""
        return _changeable(request, chosen if active else chosen.exclude(pk=request.user.pk or 0))

    def set_active(self, wanted: QuerySet[User], *, active: bool) -> None:
        services.set_users_active(users=wanted, active=active)

    def said_of(self, number: int, *, active: bool) -> str:
        activated = ngettext("%(number)d user activated.", "%(number)d users activated.", number)
        suspended = ngettext("%(number)d user suspended.", "%(number)d users suspended.", number)
        return (activated if active else suspended) % {"number": number}

    # --- Accounts in and out ------------------------------------------------------------------------------

    @action(
        description=gettext_lazy("Import accounts"),
        url_path="import",
        icon="upload_file",
        permissions=["import_accounts"],
    )
    def import_accounts(self, request: HttpRequest) -> HttpResponseBase:
        return transfer.import_page(self, request)

    @action(
        description=gettext_lazy("Export accounts"),
        url_path="export",
        icon="download",
        variant=ActionVariant.DEFAULT,
        permissions=["export_accounts"],
    )
    def export_accounts(self, request: HttpRequest) -> HttpResponseBase:
        return transfer.export_file(request)

    # --- Saving and deleting ------------------------------------------------------------------------------

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[type[TabularInline]]:
        return list(self.inlines) if obj else []

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change and obj.add_default_mailbox() is None:
            text = _("There is no default domain yet, so this user has no mailbox.")
            self.message_user(request, text, messages.WARNING)

    def get_deleted_objects(self, objs: Iterable[User], request: HttpRequest) -> Preview:
        users = list(objs)
        owned = Mailbox.objects.filter(user__in=[user.pk for user in users])
        found = preview(users, request, owned)
        found.model_count[str(User._meta.verbose_name_plural)] = len(users)
        if not all(self.has_delete_permission(request, user) for user in users):
            found.perms_needed.add(str(User._meta.verbose_name))
        if any(user.pk == request.user.pk for user in users):
            found.protected.append(_("your own account"))
        # With them would go what they have done, looks into other people's mail among it.
        for user in User.objects.filter(pk__in=[user.pk for user in users], logentry__isnull=False).distinct():
            found.protected.append(_("%(user)s has lines in the history: suspend the user instead") % {"user": user})
        return found

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: User) -> None:
        remove_mailboxes(mailbox_ids=list(obj.mailboxes.order_by().values_list("pk", flat=True)))
        obj.delete()

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        users = User.objects.filter(pk__in=list(queryset.order_by().values_list("pk", flat=True)))
        owned = Mailbox.objects.filter(user__in=users.values("pk")).order_by()
        remove_mailboxes(mailbox_ids=list(owned.values_list("pk", flat=True)))
        users.delete()


def _may_change(request: HttpRequest, user: Any) -> bool:
    """Whether the one who asks may change `user`; a page without one is no question. Own passwords have their page."""
    if not isinstance(user, User) or request.user.is_superuser:
        return True
    return not (user.is_staff or user.is_superuser)


def _changeable(request: HttpRequest, users: QuerySet[User]) -> QuerySet[User]:
    """Those of the users that the one who asks may change."""
    return users if request.user.is_superuser else users.filter(is_staff=False, is_superuser=False)


def _password_url(user_pk: Any) -> str:
    return reverse("admin:auth_user_password_change", args=[user_pk])
