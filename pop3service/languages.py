"""The languages that the POP3 server speaks, from Django's catalogs (RFC 6856, 3)."""

from django.conf import settings
from django.utils.translation.trans_real import translation

from pop3service.words import Words


def spoken() -> tuple[Words, ...]:
    """Those of LANGUAGES, each with its name in itself; that of LANGUAGE_CODE first, which `LANG *` means."""
    tags = sorted(settings.LANGUAGES, key=lambda language: language[0] != settings.LANGUAGE_CODE)
    return tuple(Words(tag, name, translation(tag)) for tag, name in tags)
