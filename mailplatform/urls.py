"""The pages of the web: Django admin, for now."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

admin.autodiscover()

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),  # the language switch of the admin
]

handler403 = "mailplatform.missing.not_allowed"
handler404 = "mailplatform.missing.not_found"
