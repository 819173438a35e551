"""Lists whose pages follow one another without being counted, so that a million rows cost what fifty do.

The next page begins behind the last row of this one. Where that is, a list says of its rows.
"""

from collections.abc import Mapping
from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.views import ChangeList

#: In the address of a page: the place of the row before its first.
BEFORE = "before"


class PagedList(ChangeList):
    """A list of which a page is looked at, newer or older ones being a link."""

    shows_actions = False

    def behind(self, rows: QuerySet[Any], place: str) -> QuerySet[Any]:
        """The rows behind a place; all where that is none."""
        raise NotImplementedError

    def place_of(self, row: Any) -> str:
        """What `behind` understands."""
        raise NotImplementedError

    def get_filters_params(self, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        kept: dict[str, Any] = super().get_filters_params(params)
        kept.pop(BEFORE, None)
        return kept

    def get_results(self, request: HttpRequest) -> None:
        rows = self.behind(self.queryset, request.GET.get(BEFORE, ""))
        found = list(rows[: self.list_per_page + 1])
        self.result_list = found[: self.list_per_page]
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count, self.show_admin_actions = False, self.shows_actions
        self.can_show_all, self.multi_page = True, False
        self.paginator = Paginator(self.result_list, self.list_per_page)
        is_more = len(found) > self.list_per_page
        self.older_url = self._page(request, self.place_of(self.result_list[-1])) if is_more else None
        self.newest_url = self._page(request, None) if BEFORE in request.GET else None

    def _page(self, request: HttpRequest, before: str | None) -> str:
        query = request.GET.copy()
        query.pop(BEFORE, None)
        if before is not None:
            query[BEFORE] = before
        return f"?{query.urlencode()}"
