"""Every text of the admin and of the models is there in French, as those of the protocols are."""

import ast
import io
import re
from collections.abc import Iterator

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.pofile import read_po
from django.test import Client
from django.utils.translation.template import templatize

from tests.mailplatform.admin.people import browser_of, make_mailbox, superuser, text_of
from tests.markdown import ROOT

APPS = sorted(path.parent.name for path in ROOT.glob("*/locale"))
KEYWORDS = DEFAULT_KEYWORDS | {"gettext_lazy": None, "ngettext_lazy": (1, 2)}
#: What templatize makes of a text in a template.
IN_TEMPLATE = re.compile(r"""gettext\(("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
PARAMETER = re.compile(r"%\(\w+\)\.?\d*[sdf]")


def marked(app: str) -> Iterator[tuple[str, str]]:
    """The texts of an app that are marked in its modules and templates, with the file of each."""
    for path in sorted((ROOT / app).rglob("*.py")):
        for _line, text, _comments, _context in extract("python", io.BytesIO(path.read_bytes()), KEYWORDS):
            yield (text if isinstance(text, str) else text[0]), path.name
    for path in sorted((ROOT / app).rglob("*.html")):
        for found in IN_TEMPLATE.finditer(templatize(path.read_text(encoding="utf-8"))):
            yield ast.literal_eval(found[1]), path.name


def catalog(app: str) -> Catalog:
    with (ROOT / app / "locale/fr/LC_MESSAGES/django.po").open("rb") as file:
        return read_po(file, locale="fr")


def test_all_apps_with_texts_have_a_catalog() -> None:
    assert {"accounts", "collecting", "mailplatform", "mailstore", "pop3service", "smtpservice"} <= set(APPS)


@pytest.mark.parametrize("app", APPS)
def test_every_text_that_is_marked_is_there(app: str) -> None:
    """`make messages` collects them; then each wants its French."""
    french = catalog(app)
    texts = dict(marked(app))
    assert texts
    assert [f"{file}: {text}" for text, file in texts.items() if not french.get(text)] == []


@pytest.mark.parametrize("app", APPS)
def test_the_same_values_are_put_into_it(app: str) -> None:
    for message in catalog(app):
        said = [message.string] if isinstance(message.string, str) else list(message.string)
        english = message.id if isinstance(message.id, str) else message.id[1]
        for each in said:
            assert set(PARAMETER.findall(each)) == set(PARAMETER.findall(english)), english


@pytest.mark.django_db
def test_the_pages_are_in_the_language_that_the_browser_asks_for() -> None:
    make_mailbox("anna")
    browser: Client = browser_of(superuser("root"))
    french = {"HTTP_ACCEPT_LANGUAGE": "fr-FR,fr;q=0.9,en;q=0.5"}
    for url, said in [
        ("/admin/", "Ce qui a été fait en dernier"),
        ("/admin/accounts/mailbox/", "Quota utilisé"),
        ("/admin/accounts/user/", "Définir le mot de passe"),
        ("/admin/pop3service/sessionrecord/", "Ouvertes"),
    ]:
        assert said in text_of(browser.get(url, **french).content)
        assert said not in text_of(browser.get(url).content)
