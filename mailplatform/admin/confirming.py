"""A page that asks, before an action of a list does what cannot be undone."""

from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin


def asks(
    admin: ModelAdmin, request: HttpRequest, chosen: QuerySet, *, action: str, question: str
) -> TemplateResponse | None:
    """The page with the question about the chosen rows, for an action to answer with; None where it was answered."""
    if request.POST.get("post"):
        return None
    context = {
        **admin.admin_site.each_context(request),
        "title": question,
        "opts": admin.model._meta,
        "question": question,
        "rows": list(chosen),
        "action": action,
        "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "media": admin.media,
    }
    return TemplateResponse(request, "mailplatform/confirm.html", context)
