"""What the server says, in one language or another (RFC 6856, 3).

The texts stand in English where they are said, marked by `_`. Words says them: in English as they are, in another
language by its catalog (pop3service/locale). What is no text for people, response codes above all, is not translated.
"""

import gettext
from collections.abc import Sequence
from typing import Any, NewType, Protocol

#: Octets of the first line of a reply with its line end (RFC 2449, 4).
MAX_REPLY = 512


#: A text in English with parameters such as %(number)d, which the catalogs have in other languages.
Text = NewType("Text", str)

#: Marks a text that is to be translated; `make messages` collects them.
_ = Text


class Catalog(Protocol):
    """Where translations come from: of Python's or of Django's gettext."""

    def gettext(self, message: str) -> str: ...
    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str: ...


class Words:
    """One language: its tag (RFC 5646), its name in itself, and what is said in it."""

    __slots__ = ("_catalog", "_encoding", "_lines", "deleted", "name", "retrieved", "tag")

    def __init__(self, tag: str, name: str, catalog: Catalog) -> None:
        self.tag = tag
        self.name = name
        self._catalog = catalog
        # What is said before LANG is ASCII (RFC 1939, 3), whatever script a parameter is in.
        self._encoding = "ascii" if tag == "en" else "utf-8"
        self._lines: dict[tuple[str, Text], bytes] = {}  # those without parameters that were said before
        # The replies to RETR and DELE, but for the number in them: looked up once.
        octets, deleted = catalog.gettext(_("%d octets")), catalog.gettext(_("message %d deleted"))
        self.retrieved = f"+OK {octets}\r\n".encode()
        self.deleted = f"+OK {deleted}\r\n".encode()

    def ok(self, text: Text, **parameters: Any) -> bytes:
        """A positive reply, or its first line. `messages` is a number, and said as "1 message" or "2 messages";
        `lasts` are seconds, and said as "5 minutes"."""
        return self._formatted("+OK", text, parameters) if parameters else self._plain("+OK", text)

    def error(self, text: Text, code: str | None = None, **parameters: Any) -> bytes:
        """A negative reply, with a response code (RFC 2449, 8)."""
        status = f"-ERR [{code}]" if code else "-ERR"
        return self._formatted(status, text, parameters) if parameters else self._plain(status, text)

    def _plain(self, status: str, text: Text) -> bytes:
        line = self._lines.get((status, text))
        if line is None:
            line = self._lines[status, text] = self._formatted(status, text, {})
        return line

    def _formatted(self, status: str, text: Text, parameters: dict[str, Any]) -> bytes:
        if "messages" in parameters:
            count = parameters["messages"]
            parameters["messages"] = self._catalog.ngettext("%d message", "%d messages", count) % count
        if "lasts" in parameters:
            parameters["lasts"] = self._duration(parameters["lasts"])
        line = f"{status} {self._catalog.gettext(text) % parameters}".encode(self._encoding, "replace")
        if len(line) > MAX_REPLY - 2:
            line = line[: MAX_REPLY - 2].decode(errors="ignore").encode()
        return line + b"\r\n"

    def _duration(self, seconds: float) -> str:
        """For people: in the largest unit of which there are several."""
        whole = int(max(seconds, 1))
        if (hours := whole // 3600) > 1:
            return self._catalog.ngettext("%d hour", "%d hours", hours) % hours
        if (minutes := whole // 60) > 1:
            return self._catalog.ngettext("%d minute", "%d minutes", minutes) % minutes
        return self._catalog.ngettext("%d second", "%d seconds", whole) % whole


ENGLISH = Words("en", "English", gettext.NullTranslations())


def matching(asked: str, languages: Sequence[Words]) -> Words | None:
    """The language that a language range means (RFC 4647, 2.1): the first for "*", else by lookup (3.4).

    So "fr-CA" is served in French where there is no French of Canada; None: there is none at all.
    """
    if asked == "*":
        return languages[0]
    subtags = asked.lower().split("-")
    while subtags and all(subtag.isalnum() and subtag.isascii() and len(subtag) <= 8 for subtag in subtags):
        tag = "-".join(subtags)
        for words in languages:
            if words.tag.lower() == tag:
                return words
        subtags.pop()
        while subtags and len(subtags[-1]) == 1:  # a singleton says nothing without what follows it
            subtags.pop()
    return None
