"""Admin pages of the queue: what is on its way to other servers, how far it has come, and what can be done about it.

No page counts its rows (mailplatform.admin.pages).
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.contrib.filters.admin import DropdownFilter
from unfold.views import ChangeList

from accounts.addresses import normal_domain
from mailplatform.admin.confirming import asks
from mailplatform.admin.deletion import Preview
from mailplatform.admin.display import badge, moment_cell
from mailplatform.admin.lists import ListAdmin
from mailplatform.admin.log import log_many
from mailplatform.admin.octets import human
from mailplatform.admin.pages import PagedList
from mailplatform.admin.records import two_lines
from smtpservice import care
from smtpservice.models import QueuedRecipient

_KINDS = {"waiting": "info", "held": "warning", "sent": "success", "failed": "danger", "dropped": ""}
#: Digits of the greatest key.
_DIGITS = 18


class QueueList(PagedList):
    """A list whose pages follow one another by key, the newest first."""

    shows_actions = True

    def behind(self, rows: QuerySet[QueuedRecipient], place: str) -> QuerySet[QueuedRecipient]:
        is_key = place.isascii() and place.isdigit() and len(place) <= _DIGITS
        return rows.filter(pk__lt=int(place)) if is_key else rows

    def place_of(self, row: QueuedRecipient) -> str:
        return str(row.pk)


class StateFilter(DropdownFilter):
    """Recipients in one state."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(QueuedRecipient.State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[QueuedRecipient]) -> QuerySet[QueuedRecipient]:
        return queryset.filter(state=self.value()) if self.value() in QueuedRecipient.State.values else queryset


@admin.register(QueuedRecipient)
class QueuedRecipientAdmin(ListAdmin):
    """A row for each recipient that a message still has to reach, and for those that others of it wait for."""

    ordering = ("-pk",)
    list_display = ["who", "origin", "state_of", "tried", "next_try", "said"]
    list_filter = [StateFilter]
    list_filter_submit = True
    list_select_related = ["message"]
    search_fields = ["domain"]
    search_help_text = gettext_lazy("An address, a domain, or what the log calls the message")
    change_list_template = "mailplatform/queue.html"
    sortable_by = ()
    actions = ["retry", "hold", "release", "return_to_sender", "drop"]
    fields = [
        ("who", "state_of"),
        ("origin", "size"),
        ("queued", "gives_up"),
        ("tried", "last_try"),
        ("next_try", "last_peer"),
        "said",
        ("identity", "message_id_of"),
    ]
    readonly_fields = [name for names in fields for name in ((names,) if isinstance(names, str) else names)]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return QueueList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[QueuedRecipient], search_term: str
    ) -> tuple[QuerySet[QueuedRecipient], bool]:
        term = search_term.replace("\0", "").strip()
        if not term:
            return queryset, False
        if "@" in term.strip("<>"):
            address = term.strip("<>")
            return queryset.filter(Q(address__iexact=address) | Q(message__sender__iexact=address)), False
        return queryset.filter(Q(domain=normal_domain(term)) | Q(message__identity=term)), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Without Django's own deletion, which would leave a message without recipients."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """There is nothing to save here."""
        hidden = {"show_save": False, "show_save_and_continue": False}
        return super().change_view(request, object_id, form_url, {**hidden, **(extra_context or {})})

    def get_deleted_objects(self, objs: Iterable[QueuedRecipient], request: HttpRequest) -> Preview:
        """A row that is deleted is dropped without a word."""
        unsaid = _("Its sender is not told. Giving up and telling is an action of the list.")
        needed = set() if self.has_delete_permission(request) else {str(QueuedRecipient._meta.verbose_name)}
        rows = [str(each) for each in objs]
        return Preview([*rows, unsaid], {str(QueuedRecipient._meta.verbose_name_plural): len(rows)}, needed, [])

    def delete_model(self, request: HttpRequest, obj: QueuedRecipient) -> None:
        """Give it up: a row that is deleted would leave its message behind."""
        care.drop(recipient_ids=[obj.pk], tell=False)

    @admin.display(description=gettext_lazy("recipient"))
    def who(self, row: QueuedRecipient) -> str:
        return row.address

    @admin.display(description=gettext_lazy("from"))
    def origin(self, row: QueuedRecipient) -> SafeString:
        return two_lines(row.message.sender or _("a notice"), human(row.message.octets))

    @admin.display(description=gettext_lazy("state"))
    def state_of(self, row: QueuedRecipient) -> SafeString:
        if row.claimed_by is not None:
            return badge(_("being sent"), "primary")
        return badge(str(row.get_state_display()), _KINDS[row.state])

    @admin.display(description=gettext_lazy("attempts"))
    def tried(self, row: QueuedRecipient) -> int:
        return row.attempts

    @admin.display(description=gettext_lazy("next attempt"))
    def next_try(self, row: QueuedRecipient) -> SafeString:
        return moment_cell(row.next_attempt_at if row.state == QueuedRecipient.State.WAITING else None)

    @admin.display(description=gettext_lazy("last reply"))
    def said(self, row: QueuedRecipient) -> SafeString | str:
        return two_lines(row.last_reply, row.last_peer) if row.last_reply else "-"

    @admin.display(description=gettext_lazy("size"))
    def size(self, row: QueuedRecipient) -> str:
        return human(row.message.octets)

    @admin.display(description=gettext_lazy("queued"))
    def queued(self, row: QueuedRecipient) -> SafeString:
        return moment_cell(row.message.queued_at)

    @admin.display(description=gettext_lazy("given up at"))
    def gives_up(self, row: QueuedRecipient) -> SafeString:
        return moment_cell(row.message.expires_at)

    @admin.display(description=gettext_lazy("last attempt"))
    def last_try(self, row: QueuedRecipient) -> SafeString:
        return moment_cell(row.last_attempt_at)

    @admin.display(description=gettext_lazy("called in the log"))
    def identity(self, row: QueuedRecipient) -> str:
        return row.message.identity

    @admin.display(description=gettext_lazy("message-id"))
    def message_id_of(self, row: QueuedRecipient) -> str:
        return row.message.message_id or "-"

    @admin.action(description=gettext_lazy("Try again now"), permissions=["change"])
    def retry(self, request: HttpRequest, queryset: QuerySet[QueuedRecipient]) -> None:
        number = self._do(request, queryset, "Tried again now.", care.retry_now)
        self._say(request, ngettext("%(number)d is due now.", "%(number)d are due now.", number), number)

    @admin.action(description=gettext_lazy("Hold"), permissions=["change"])
    def hold(self, request: HttpRequest, queryset: QuerySet[QueuedRecipient]) -> None:
        number = self._do(request, queryset, "Held.", care.hold)
        self._say(request, ngettext("%(number)d is held.", "%(number)d are held.", number), number)

    @admin.action(description=gettext_lazy("Release"), permissions=["change"])
    def release(self, request: HttpRequest, queryset: QuerySet[QueuedRecipient]) -> None:
        number = self._do(request, queryset, "Released.", care.release)
        self._say(request, ngettext("%(number)d waits again.", "%(number)d wait again.", number), number)

    @admin.action(description=gettext_lazy("Give up and tell the sender"), permissions=["delete"])
    def return_to_sender(self, request: HttpRequest, queryset: QuerySet[QueuedRecipient]) -> HttpResponse | None:
        question = _("Give these up, and tell their senders that they failed?")
        if page := asks(self, request, queryset, action="return_to_sender", question=question):
            return page
        number = self._do(request, queryset, "Given up, the sender was told.", care.drop, tell=True)
        self._say(request, ngettext("%(number)d is given up.", "%(number)d are given up.", number), number)
        return None

    @admin.action(description=gettext_lazy("Drop without a word"), permissions=["delete"])
    def drop(self, request: HttpRequest, queryset: QuerySet[QueuedRecipient]) -> HttpResponse | None:
        question = _("Drop these without a word? Their senders will think that they arrived.")
        if page := asks(self, request, queryset, action="drop", question=question):
            return page
        number = self._do(request, queryset, "Dropped, nobody was told.", care.drop, tell=False)
        self._say(request, ngettext("%(number)d is dropped.", "%(number)d are dropped.", number), number)
        return None

    def _do(
        self, request: HttpRequest, chosen: QuerySet[QueuedRecipient], text: str, what: Callable[..., int], **how: bool
    ) -> int:
        rows = list(chosen)
        number = what(recipient_ids=[row.pk for row in rows], **how)
        log_many(request, rows, text)
        return number

    def _say(self, request: HttpRequest, text: str, number: int) -> None:
        level = messages.SUCCESS if number else messages.WARNING
        self.message_user(request, text % {"number": number}, level)
