"""Settings of collecting that cannot work, or that are not safe; see mailplatform.checks."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

#: Characters of a key: what `openssl rand -base64 32` prints has 44.
LEAST_KEY = 32


def check_collecting(**kwargs: Any) -> list[CheckMessage]:
    """All that is wrong with the settings of collecting."""
    return list(_keys())


def _keys() -> Iterator[CheckMessage]:
    if any(len(key) < LEAST_KEY for key in settings.COLLECT_KEYS if key != settings.SECRET_KEY):
        yield Error(
            f"COLLECT_KEYS: a key has fewer than {LEAST_KEY} characters.",
            hint="Make one with: openssl rand -base64 32",
            id="mailplatform.E040",
        )
