"""A header on every page of the web that bounds what a page may load and do, should markup ever get into one."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

#: Everything comes from here, and nothing goes elsewhere. The admin's scripts (Alpine, in django-unfold) are written
#: in attributes and compiled in the browser, hence the two unsafe words; they let no page of another host in.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class ContentSecurityPolicy:
    """Middleware: the policy, unless a view has set a stricter one of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response
