"""What all lists of the admin share: fifty rows a page, and nothing counted that nobody asked for."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.views import ChangeList


class List(ChangeList):
    """A list that offers to show all rows where it does not show them already."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.get_filters_params():
            self.full_result_count = self.result_count


class ListAdmin(ModelAdmin):
    """The admin of a model of which there may be many thousands."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return List
