"""Lists of what is active or not, and the actions that make the chosen rows so."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from mailplatform.admin.lists import ListAdmin
from mailplatform.admin.log import log_many


class SwitchedAdmin(ListAdmin):
    """The admin of a model with `is_active`. Of its actions it names `activate`, and `suspend` or `deactivate`."""

    #: What the log says of a row that is no longer active.
    logged_off = "Suspended."

    def set_active(self, wanted: QuerySet[Any], *, active: bool) -> None:
        """Write it down for these rows."""
        raise NotImplementedError

    def said_of(self, number: int, *, active: bool) -> str:
        """What is said of so many rows that were changed."""
        raise NotImplementedError

    def switchable(self, request: HttpRequest, chosen: QuerySet[Any], *, active: bool) -> QuerySet[Any]:
        """Those of the rows that this admin may change so."""
        return chosen

    @admin.action(description=gettext_lazy("Activate"), permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, active=True)

    @admin.action(description=gettext_lazy("Suspend"), permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, active=False)

    @admin.action(description=gettext_lazy("Deactivate"), permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, active=False)

    def _switch(self, request: HttpRequest, rows: QuerySet[Any], *, active: bool) -> None:
        """Change and log those that are not so yet; what the list has joined in is not wanted for that."""
        chosen = self.switchable(request, rows, active=active)
        with transaction.atomic():
            wanted = chosen.model._default_manager.filter(pk__in=chosen.order_by().values("pk"))
            changed = list(wanted.exclude(is_active=active))
            self.set_active(wanted, active=active)
            log_many(request, changed, "Activated." if active else self.logged_off)
        self.message_user(request, self.said_of(len(changed), active=active), messages.SUCCESS)
