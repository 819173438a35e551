"""What members of staff may do, as a list of boxes to tick: only what the admin's pages ask for, in plain words."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

_DEEDS: dict[str, str | Promise] = {
    "view": gettext_lazy("see"),
    "add": gettext_lazy("add"),
    "change": gettext_lazy("change"),
    "delete": gettext_lazy("delete"),
    "read_mail": gettext_lazy("read the messages in them"),
    "end_session": gettext_lazy("end those that are open"),
}
#: Of history and records there is nothing to do but to see them; groups are changed by superusers, who may do all.
_ONLY_SEEN = ("logentry", "loginrecord", "sessionrecord", "group")
#: What gets into the queue does so by being sent.
_NEVER_ADDED = Q(codename="add_queuedrecipient")
_UNSEEN = Q(codename__startswith="add_") | Q(codename__startswith="change_") | Q(codename__startswith="delete_")


def meaningful_permissions() -> QuerySet[Permission]:
    """The permissions of models that have pages here."""
    kinds = ContentType.objects.get_for_models(*admin.site._registry).values()
    found = Permission.objects.filter(content_type__in=list(kinds)).select_related("content_type")
    useless = Q(content_type__model__in=_ONLY_SEEN) & _UNSEEN
    return found.exclude(useless | _NEVER_ADDED).order_by("content_type__model", "pk")


class PermissionsField(forms.ModelMultipleChoiceField):
    """Permissions as boxes: "mailboxes: see"."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def __init__(self, **kwargs: Any) -> None:
        # Model fields hand over what their own form field would take.
        kept = {key: kwargs[key] for key in ("label", "initial", "required") if key in kwargs}
        super().__init__(meaningful_permissions(), **kept)

    def label_from_instance(self, permission: Permission) -> str:
        model = permission.content_type.model_class()
        deed = _DEEDS.get(permission.codename) or _DEEDS.get(permission.codename.split("_")[0]) or permission.name
        return f"{model._meta.verbose_name_plural}: {deed}" if model else permission.name
