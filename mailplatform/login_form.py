"""The form of the admin's login page, which guesses at passwords do not get through (accounts.web_logins).

Not in mailplatform.admin: the site imports it while it is being made, before anything can be registered with it.
"""

import time
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import ngettext
from unfold.forms import AuthenticationForm

from accounts import web_logins
from accounts.callers import Caller, Protocol


class ThrottledLoginForm(AuthenticationForm):
    """Django's, but that it counts: too many failures, here or over a mail protocol, make the next try wait."""

    request: HttpRequest

    def clean(self) -> dict[str, Any]:
        began = time.perf_counter()
        login, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not login or not password:
            cleaned: dict[str, Any] = super().clean()
            return cleaned
        caller = find_caller(self.request)
        if seconds := web_logins.seconds_to_wait(caller, login):
            raise ValidationError(
                ngettext(
                    "Too many failed logins. Try again in %(seconds)d second.",
                    "Too many failed logins. Try again in %(seconds)d seconds.",
                    seconds,
                )
                % {"seconds": seconds},
                code="throttled",
            )
        try:
            cleaned = super().clean()
        except ValidationError:
            web_logins.refused(caller, login, began=began)
            raise
        web_logins.admitted(caller, login, began=began)
        return cleaned


def find_caller(request: HttpRequest) -> Caller:
    """Who asks for a page. Behind a proxy the last address that it saw is the one that it saw itself."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        address = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or address
    return Caller(Protocol.WEB, address, "HTTPS" if request.is_secure() else "")
