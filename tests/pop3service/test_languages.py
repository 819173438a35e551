"""pop3service.languages and the catalogs: every text of the server is there in every language, and fits."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from django.conf import settings
from django.test import override_settings

from accounts import sasl
from pop3service.languages import spoken
from pop3service.words import MAX_REPLY, Text, Words
from tests.markdown import ROOT

APPS = sorted(path.parent.name for path in ROOT.glob("*/locale"))
SOURCES = [*sorted((ROOT / "pop3service").glob("*.py")), Path(sasl.__file__)]
#: What a text may be given at most: a name of a host, an example of a command, numbers of 20 digits.
LONGEST = {"hostname": "h" * 255, "usage": "u" * 60, "verb": "LANG", "tag": "fr", "mechanism": "SCRAM-SHA-256"}
PARAMETER = re.compile(r"%(?:\((\w+)\))?[sd]")


def texts() -> Iterator[str]:
    """The texts that are marked in the modules of the server."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                (text,) = node.args
                assert isinstance(text, ast.Constant), (
                    f"{path.name}:{node.lineno}: a text is written out where it is marked"
                )
                yield text.value


TEXTS = sorted(set(texts()))


def catalog(app: str) -> Catalog:
    with (ROOT / app / "locale/fr/LC_MESSAGES/django.po").open("rb") as file:
        return read_po(file, locale="fr")


def test_they_are_found() -> None:
    assert len(TEXTS) > 60
    assert {"now send PASS", "authentication cancelled", "%d octets"} <= set(TEXTS)


@pytest.mark.parametrize("text", TEXTS)
def test_rfc_6856_3_every_text_of_the_server_is_there_in_french(text: str) -> None:
    found = [message for app in ("pop3service", "accounts") if (message := catalog(app).get(text))]
    assert found, "make messages, and translate it"
    for message in found:
        assert message.string
        assert not message.fuzzy
        assert sorted(PARAMETER.findall(str(message.string))) == sorted(PARAMETER.findall(text))


@pytest.mark.parametrize("text", TEXTS)
def test_rfc_2449_4_a_first_line_is_short_in_every_language(text: str) -> None:
    values = {name: LONGEST.get(name, 10**20) for name in PARAMETER.findall(text)}
    for words in spoken():
        said = words._catalog.gettext(text) % (values if "" not in values else 10**20)
        assert len(f"-ERR [SYS/TEMP] {said}\r\n".encode()) <= MAX_REPLY
        assert "\n" not in said
        assert "\r" not in said


def test_no_text_is_said_without_being_marked() -> None:
    """A reply's octets hold words only where they come from pop3service.words; mypy holds Refusals."""
    words = re.compile(rb"^(?:\+OK|-ERR)(?=.*[A-Za-z]{3})")
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
                assert not words.search(node.value), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("app", APPS)
def test_what_is_compiled_is_what_was_written(app: str) -> None:
    """`make messages` was run; so nobody who runs the server needs gettext's tools."""
    with (ROOT / app / "locale/fr/LC_MESSAGES/django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for message in catalog(app):
        if isinstance(message.id, tuple):
            assert [compiled.ngettext(*message.id, number) for number in (1, 2)] == list(message.string)
        elif message.id and message.string:
            assert compiled.gettext(message.id) == message.string
    assert all(message.string and not message.fuzzy for message in catalog(app) if message.id)


def test_the_language_of_the_project_comes_first() -> None:
    assert [(words.tag, words.name) for words in spoken()] == settings.LANGUAGES
    with override_settings(LANGUAGE_CODE="fr"):
        french, english = spoken()
    assert (french.tag, english.tag) == ("fr", "en")
    assert said(english) == b"+OK message 1 deleted\r\n"
    assert said(french) == "+OK message 1 effacé\r\n".encode()


@pytest.mark.parametrize(
    ("seconds", "french"), [(1, "1 seconde"), (90, "90 secondes"), (600, "10 minutes"), (7200, "2 heures")]
)
def test_a_time_is_said_in_the_language_of_the_session(seconds: float, french: str) -> None:
    _english, words = spoken()
    assert words.ok(Text("%(lasts)s"), lasts=seconds) == f"+OK {french}\r\n".encode()


def said(words: Words) -> bytes:
    return words.deleted % 1
