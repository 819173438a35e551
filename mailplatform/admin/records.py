"""What the lists of records share: read only, newest first, and as cheap to turn over at a million rows as at ten.

No page counts its rows, and the next one is found by an index (mailplatform.admin.pages). A search looks for
an address or a mailbox, which have indexes too, or for a part of a name among the newest records alone.
"""

import ipaddress
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db.models import Max, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.timezone import make_aware
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.utils import parse_date_str
from unfold.views import ChangeList

from accounts.lookup import find_credentials
from accounts.models import Mailbox
from mailplatform.admin.lists import ListAdmin
from mailplatform.admin.pages import PagedList

#: Records among which a part of a name is looked for.
SEARCHED = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RecordList(PagedList):
    """A list whose pages follow one another by moment and key."""

    def behind(self, rows: QuerySet[Any], place: str) -> QuerySet[Any]:
        before = position(place)
        if before is None:
            return rows
        column, (moment, pk) = self.model_admin.moment_column, before
        return rows.filter(Q(**{f"{column}__lt": moment}) | Q(pk__lt=pk), **{f"{column}__lte": moment})

    def place_of(self, row: Any) -> str:
        return written(getattr(row, self.model_admin.moment_column), row.pk)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.model_admin.prepare(self.result_list, request)


class DayFilter(RangeDateFilter):
    """Records of some days, by the clock of the one who looks."""

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        first, last = (self._day(end) for end in ("from", "to"))
        if first is not None:
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": first})
        if last is not None:
            queryset = queryset.filter(**{f"{self.parameter_name}__lt": last + timedelta(days=1)})
        return queryset

    def _day(self, end: str) -> datetime | None:
        given = self.used_parameters.get(f"{self.parameter_name}_{end}")
        day = parse_date_str(given) if given else None
        return make_aware(datetime.combine(day, time())) if day else None


class RecordAdmin(ListAdmin):
    """The admin of records, which nobody edits. Each has a moment, a mailbox, a login and an address."""

    moment_column: str
    list_display_links: Any = None
    list_filter_submit = True
    search_fields = ("login",)
    search_help_text = gettext_lazy("An address, a mailbox, or a part of a login name")
    change_list_template = "mailplatform/records.html"
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RecordList

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        term = search_term.replace("\0", "").strip()
        if not term:
            return queryset, False
        if (address := _address(term)) is not None:
            return queryset.filter(address=address), False
        (credential,) = find_credentials([term])
        if credential is not None:
            return queryset.filter(mailbox_id=credential.mailbox_id), False
        newest = self.model._default_manager.aggregate(newest=Max("pk"))["newest"] or 0
        return queryset.filter(login__icontains=term, pk__gt=newest - SEARCHED), False

    def prepare(self, records: list[Any], request: HttpRequest) -> None:
        """Give each record the `box` it is about, with one statement; None where that is gone."""
        boxes = Mailbox.objects.in_bulk({record.mailbox_id for record in records if record.mailbox_id is not None})
        may_see = request.user.has_perm("accounts.view_mailbox")
        for record in records:
            record.box = boxes.get(record.mailbox_id)
            record.box_url = reverse("admin:accounts_mailbox_change", args=[record.mailbox_id]) if may_see else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def box_cell(record: Any) -> SafeString:
    """The mailbox of a prepared record; what the client said where it names none, or names it otherwise."""
    said = record.login or "-"
    if record.box is None:
        return format_html('<span class="mp-cell" title="{}">{}</span>', said, said)
    name = record.box.address
    linked = format_html('<a class="mp-link" href="{}">{}</a>', record.box_url, name) if record.box_url else name
    return two_lines(linked, "" if said == name else _("as %(login)s") % {"login": said}, record.app_password)


def origin_cell(record: Any, url: str) -> SafeString | str:
    """From where, with a link to what else came from there, and how well it was kept from others."""
    if not record.address:
        return "-"
    link = format_html('<a class="mp-link" href="{}?{}">{}</a>', url, urlencode({"q": record.address}), record.address)
    return two_lines(link, record.tls or _("not encrypted"))


def two_lines(first: Any, *rest: str) -> SafeString:
    """A cell with something in small letters below."""
    below = " · ".join(part for part in rest if part)
    return format_html('<span class="mp-lines">{}<small class="mp-quiet">{}</small></span>', first, below)


def _address(term: str) -> str | None:
    try:
        return str(ipaddress.ip_address(term))
    except ValueError:
        return None


def written(moment: Any, pk: int) -> str:
    """A moment and a key for a query."""
    return f"{(moment - _EPOCH) // timedelta(microseconds=1)}-{pk}"


def position(text: str) -> tuple[datetime, int] | None:
    """The moment and key out of a query; None for what is none."""
    microseconds, _dash, pk = text.partition("-")
    if not (text.isascii() and microseconds.isdigit() and pk.isdigit() and len(microseconds) < 18 and len(pk) < 19):
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(microseconds)), int(pk)
    except OverflowError:
        return None
