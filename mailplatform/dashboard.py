"""The start page of the admin: totals and plots."""

from typing import Any

from django.http import HttpRequest


def start_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the context of admin's start page (django-unfold calls it)."""
    return context
