"""Groups of staff and what they may do, in the looks of the other pages.

Only a superuser changes one, as with members of staff themselves: whoever may change a group that they belong to could
otherwise give themselves every right.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from mailplatform.admin.lists import ListAdmin
from mailplatform.admin.rights import PermissionsField

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ListAdmin):
    """Django's page for groups, with the permissions that mean something here."""

    search_help_text = gettext_lazy("Search by name")
    filter_horizontal = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        return db_field.formfield(form_class=PermissionsField)
