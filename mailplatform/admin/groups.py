"""Groups of staff and what they may do, in the looks of the other pages."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group

from mailplatform.admin.lists import ListAdmin

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ListAdmin):
    """Django's page for groups."""
