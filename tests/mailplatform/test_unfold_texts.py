"""mailplatform.unfold_texts: the texts are django-unfold's, as it is now, and French pages have none in English."""

import re
from pathlib import Path

import pytest
import unfold
from django.test import Client
from django.utils.translation import gettext, ngettext, override

from mailplatform.unfold_texts import NUMBERED, TEXTS
from tests.mailplatform.admin.people import browser_of, make_mailbox, superuser

#: In French it is the same word, or it stands in pages as a value that nobody sees.
SHARED = {"Action", "True", "False"}


def test_unfold_has_these_texts() -> None:
    folder = Path(unfold.__file__).parent
    sources = "".join(path.read_text() for kind in ("*.py", "*.html") for path in sorted(folder.rglob(kind)))
    assert [text for text in TEXTS if f'"{text}"' not in sources and f"'{text}'" not in sources] == []


def test_each_is_there_in_french() -> None:
    with override("fr"):
        assert {text for text in TEXTS if gettext(text) == text} == {"Action"}
        assert ngettext("entry", "entries", 2) == "entrées"
        assert str(NUMBERED[0] % {"counter": 2}) == "2 résultats"


@pytest.mark.django_db
def test_no_page_in_french_shows_one_in_english() -> None:
    make_mailbox("anna")
    browser: Client = browser_of(superuser("root"))
    french = {"headers": {"accept-language": "fr"}}
    for url in (
        "/admin/accounts/user/",
        "/admin/accounts/user/add/",
        "/admin/accounts/mailbox/?q=nobody",
        "/admin/accounts/alias/",
        "/admin/accounts/loginrecord/",
        "/admin/smtpservice/queuedrecipient/",
    ):
        page = browser.get(url, **french).content.decode()
        shown = {
            text.strip()
            for text in re.findall(r'>([^<>]+)<|(?:label|placeholder|title)="([^"]*)"', page)
            for text in text
        }
        assert shown & (set(TEXTS) - SHARED) == set(), url
    login = Client().get("/admin/login/", **french).content.decode()
    assert "Welcome back to" not in login
    assert "Bienvenue sur" in login
