"""The pages that say to an admin that there is no such page, or that it is for others; both lead back.

Who has not logged in gets Django's own, of a few octets: programs that look for holes ask for thousands.
"""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views import defaults


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not admin.site.has_permission(request):
        return defaults.page_not_found(request, exception)
    return _page(request, _("There is no such page, or what it showed is gone."), 404)


def not_allowed(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not admin.site.has_permission(request):
        return defaults.permission_denied(request, exception)
    return _page(request, _("This page is not open to you. Ask a superuser for the permission."), 403)


def _page(request: HttpRequest, said: str, status: int) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": said, "said": said}
    return render(request, "mailplatform/no_page.html", context, status=status)
