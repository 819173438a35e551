"""What a message says of itself, for lists: subject, sender, date, message-id, as readable text.

Mail is full of broken headers, so nothing here raises: a field that cannot be made out is empty. What comes out fits
the columns of mailstore.models.Message and holds no NUL, no control character and no lone surrogate.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header

from mailstore.charsets import decode
from mailstore.dates import read_date

#: Characters kept of each text.
FIELD_CHARACTERS = 255

#: Of a field longer than this only so much is decoded.
_FIELD_OCTETS = 4096

_FIELDS = {
    name: re.compile(rb"^" + name + rb"[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.IGNORECASE | re.MULTILINE)
    for name in (b"subject", b"from", b"date", b"message-id")
}
#: Encoded words (RFC 2047, 2) of one charset or several, with nothing but blanks between them.
_WORD = r"=\?[^?\s]+\?[bq]\?[^?]*\?="
_WORDS = re.compile(rf"{_WORD}(?:\s+{_WORD})*", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\ud800-\udfff\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class EnvelopeFields:
    """The four fields by which a person finds a message."""

    subject: str
    sender: str
    dated_at: datetime | None
    message_id: str


def read_envelope(header: bytes) -> EnvelopeFields:
    """The envelope of a message whose `header`, with CRLF line ends, may be cut short or no header at all."""
    return EnvelopeFields(
        subject=_text(_field(header, b"subject")),
        sender=_text(_field(header, b"from")),
        dated_at=read_date(_field(header, b"date").decode("latin-1")),
        message_id=_text(_field(header, b"message-id")),
    )


def _field(header: bytes, name: bytes) -> bytes:
    found = _FIELDS[name].search(header)
    return found[1][:_FIELD_OCTETS] if found else b""


def decode_words(text: str) -> str:
    """`text` with its encoded words (RFC 2047) read; those that cannot be read stay as they are."""
    return _WORDS.sub(lambda words: _read_words(words[0]), text)


def _read_words(words: str) -> str:
    # Python's decoder is given encoded words alone: it would spoil raw 8-bit text beside them.
    try:
        return "".join(
            part if isinstance(part, str) else decode(part, charset or "latin-1")
            for part, charset in decode_header(words)
        )
    except (HeaderParseError, LookupError, ValueError):  # not base64, a charset nobody knows
        return words


def _text(value: bytes) -> str:
    """Encoded words and raw octets as one line of text."""
    text = decode_words(_decoded(value).replace("\r\n", ""))
    return _UNPRINTABLE.sub(" ", text).strip()[:FIELD_CHARACTERS]


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
