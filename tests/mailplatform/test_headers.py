"""Every page says what a browser may load for it: nothing from another host."""

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client

from mailplatform.headers import POLICY, ContentSecurityPolicy


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/", "/admin/", "/admin/login/", "/nowhere/"])
def test_pages_of_every_kind_have_the_policy(client: Client, url: str) -> None:
    response = client.get(url)
    assert response["Content-Security-Policy"] == POLICY
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_it_lets_nothing_out_and_nothing_in() -> None:
    directives = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert directives["default-src"] == "'self'"
    assert {directives["object-src"], directives["base-uri"], directives["frame-ancestors"]} == {"'none'"}
    assert directives["form-action"] == "'self'"
    for sources in directives.values():
        assert set(sources.split()) <= {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:"}


def test_a_stricter_policy_of_a_view_stays() -> None:
    own = "sandbox; default-src 'none'"
    middleware = ContentSecurityPolicy(lambda request: HttpResponse(headers={"Content-Security-Policy": own}))
    assert middleware(HttpRequest())["Content-Security-Policy"] == own
