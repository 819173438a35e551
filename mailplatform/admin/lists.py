"""What all lists of the admin share: fifty rows a page, nothing counted that nobody asked for, no filter by secrets."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from accounts.addresses import normal_domain, normal_spelling


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

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """No filter tells what no page shows: a verifier of a password could be found out sign by sign."""
        filters = self.get_list_filter(request)
        offered = {each[0] if isinstance(each, tuple) else each for each in filters}
        unseen = {field.name for field in self.opts.fields if not field.editable} - offered
        allowed: bool = super().lookup_allowed(lookup, value, request)
        return allowed and lookup.split("__")[0] not in unseen

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return List

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Addresses and domains are found as people spell them, and not only as they are stored."""
        first, *others = spellings(search_term)
        found, several = super().get_search_results(request, queryset, first)
        for other in others:
            more, more_than_once = super().get_search_results(request, queryset, other)
            found, several = found | more, several or more_than_once
        return found, several


def spellings(term: str) -> list[str]:
    """What is searched for, and how its words are stored where they are of addresses, if that is something else.

    The database looks for letters of ASCII whatever their case; SQLite for no others.
    """
    plain = " ".join(term.split())
    found = {plain.lower() if plain.isascii() else plain: term}
    for stored in (normal_spelling, _as_domain):
        other = " ".join(map(stored, plain.split()))
        found.setdefault(other, other)
    return list(found.values())


def _as_domain(word: str) -> str:
    return normal_spelling(word) if "@" in word else normal_domain(word)
