"""A stored message as plain text for a page: never HTML, never more than a bounded part, never an exception.

What it returns is untrusted text; templates escape it. It holds no control character, and in fields and names nothing
that turns the order of what is read beside it. Whoever wants more downloads the message.
"""

import email
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import Message
from email.policy import Compat32
from typing import Any

from mailstore.charsets import decode
from mailstore.envelope import decode_words

#: Octets of a message that are parsed for a page.
READ_OCTETS = 512 * 1024
#: What is shown of one header field, in characters, and of attachments, in number.
SHOWN_CHARACTERS = 2000
SHOWN_ATTACHMENTS = 100
#: Characters of a field that are looked at, encoded as it is: Python takes parameters apart in a time that grows with
#: the square.
_FIELD_CHARACTERS = 4 * SHOWN_CHARACTERS
#: So deep parts are looked for within parts: each level costs the parser time for each line below it.
_LEVELS = 20
#: Header fields that a page shows; the download has all of them.
SHOWN = ("From", "To", "Cc", "Subject", "Date", "Reply-To", "Return-Path", "Delivered-To", "Message-ID")

#: What a terminal would carry out and no page may hold; a text keeps its tabs and line ends.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?")
#: The same in one line of text, and the characters that reverse it: "exe.jpg" is not to be read as "gpj.exe".
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


@dataclass
class Readable:
    """The header fields worth showing, the text, and what else there is."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    #: The text is HTML source: the message has no plain one.
    is_markup: bool = False
    attachments: list[str] = field(default_factory=list)
    #: The message has more than what is here.
    is_cut: bool = False


class _Part(Message):
    """A message, or a part of one, that has no parts of its own where it lies too deep."""

    depth = 0

    def attach(self, payload: Any) -> None:
        payload.depth = self.depth + 1
        super().attach(payload)

    def get_content_maintype(self) -> str:
        return super().get_content_maintype() if self.depth < _LEVELS else ""


class _Policy(Compat32):
    """What the parser goes by."""

    message_factory = _Part

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:_FIELD_CHARACTERS]


def read(chunks: Iterable[bytes]) -> Readable:
    """Parse the beginning of a message given in chunks of any size."""
    raw, is_cut = _beginning(chunks)
    found = Readable(is_cut=is_cut)
    try:
        message = email.message_from_bytes(raw, policy=_Policy())
        raw_fields = [(name.lower(), value) for name, value in message.raw_items()]
        found.fields = [(name, _decoded(value)) for name in SHOWN for key, value in raw_fields if key == name.lower()]
        _add_parts(found, message)
    except Exception:
        # The parser has failed on hostile input before. The bytes themselves can always be shown.
        found.text = _lines(raw.decode("utf-8", "replace"))
    return found


def one_line(text: str) -> str:
    """What a field or a name says, on one line and in the order in which it is written."""
    return _UNPRINTABLE.sub(" ", text).strip()


def _beginning(chunks: Iterable[bytes]) -> tuple[bytes, bool]:
    raw = bytearray()
    for chunk in chunks:
        raw += chunk
        if len(raw) > READ_OCTETS:
            return bytes(raw[:READ_OCTETS]), True
    return bytes(raw), False


def _add_parts(found: Readable, message: Message) -> None:
    """The first plain text part is the text; an HTML one stands in for it; the rest are attachments."""
    markup = None
    plain = None
    for part in message.walk():
        if part.is_multipart():
            continue
        kind = part.get_content_type()
        is_attached = part.get_content_disposition() == "attachment" or part.get_filename() is not None
        if kind == "text/plain" and not is_attached and plain is None:
            plain = _text(part)
        elif kind == "text/html" and not is_attached and markup is None:
            markup = _text(part)
        elif len(found.attachments) == SHOWN_ATTACHMENTS:
            found.is_cut = True
        else:
            found.attachments.append(one_line(f"{_decoded(part.get_filename() or '') or '-'} ({kind})"))
    found.is_markup = plain is None and markup is not None
    found.text = (markup or "") if plain is None else plain


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    try:
        text = decode(octets, part.get_content_charset() or "utf-8")
    except (LookupError, ValueError):  # a character set nobody knows
        text = octets.decode("utf-8", "replace")
    return _lines(text)


def _lines(text: str) -> str:
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _LINE_ENDS.sub("\n", text))


def _decoded(value: object) -> str:
    """A header field as a reader sees it; what cannot be decoded is shown as it is."""
    # The parser keeps octets above 127 as lone surrogates; such fields are nearly always UTF-8 (RFC 6532).
    text = str(value)[:_FIELD_CHARACTERS].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return one_line(decode_words(" ".join(text.split())))[:SHOWN_CHARACTERS]
