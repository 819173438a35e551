"""One header field whose UTF-8 (RFC 6532) is said in ASCII, as RFC 6857, 3 says for each kind of field. Pure.

What can be said is: texts, names and comments as encoded words (RFC 2047), parameters of MIME in the form of RFC 2231,
domains as A-labels. An address whose local part is not ASCII cannot: it becomes the name of an empty group, to be read
by people and answered by nobody. The same field always makes the same octets: how many is stored (mailstore.models).
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from urllib.parse import quote

import idna

#: Characters of a line before it is folded (RFC 2047, 2), and of what an encoded word may hold: with its frame it fits
#: in the line behind the usual names of fields.
_LINE = 76
_WORD = 48

#: Tokens of a structured field (RFC 5322, 3.2) but comments, which nest.
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"?|<[^<>]*>?|\[[^\]]*\]?|[ \t]+|[^"<\[( \t,:;]+|.', re.DOTALL)
_BLANK_AND_TEXT = re.compile(r"([ \t]*)([^ \t]+)|[ \t]+$")
_ENCODED_WORD = re.compile(r"=\?[^?]+\?[bqBQ]\?[^?]*\?=")
_PARENTHESIS = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
#: What a Received field says of its recipient. Looked for where a run of blanks begins, and not at each of them.
_FOR = re.compile(r"(?<![ \t])[ \t]+for[ \t]+(?:<[^<>]*>|[^ \t;(<]+)", re.IGNORECASE)
#: Signs that stand for themselves in the encoded words of any kind of field (RFC 2047, 5, (3)).
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")


def ascii_field(field: str) -> str:
    """The field, folded as it may be, without its last line end, in ASCII and newly folded."""
    text = field.replace("\r\n", "")
    name, colon, value = text.partition(":")
    if not colon or not name.isascii():
        return _folded(_unstructured(text))
    kind = name.strip().lower()
    said = _KINDS.get(kind, _unstructured)(value)
    if not said.isascii():
        said = _unstructured(value)
        if kind in _ENCAPSULATED:
            name = f"Downgraded-{name}"  # RFC 6857, 3.1.10: no message-id could hold an encoded word
    return _folded(f"{name}:{said}" if said[:1] in (" ", "\t") else f"{name}: {said}")


def _folded(text: str) -> str:
    """Line ends put before blanks, so that lines are short where they can be."""
    lines, length = [], 0
    for found in _BLANK_AND_TEXT.finditer(text):
        part = found[0]
        if length and found[1] and length + len(part) > _LINE:
            lines.append("\r\n")
            length = 0
        lines.append(part)
        length += len(part)
    return "".join(lines)


# --- Encoded words (RFC 2047) ----------------------------------------------------------------------------------


def _encoded(text: str) -> str:
    """`text` as encoded words with blanks between, which are not part of it; in the shorter of the two encodings."""
    quoted = [sign if sign in _PLAIN else "_" if sign == " " else _q(sign) for sign in text]
    if sum(map(len, quoted)) <= 4 * len(text.encode()) // 3 + 4:
        return " ".join(f"=?utf-8?q?{part}?=" for part in _parts(quoted, quoted, _WORD))
    signs = [sign.encode() for sign in text]
    octets = _parts(text, signs, _WORD // 4 * 3)
    return " ".join(f"=?utf-8?b?{b64encode(part.encode()).decode()}?=" for part in octets)


def _q(sign: str) -> str:
    return "".join(f"={octet:02X}" for octet in sign.encode())


def _parts(signs: "str | list[str]", measured: "list[str] | list[bytes]", most: int) -> Iterator[str]:
    """The signs in parts whose measure is not above `most`; no sign is cut."""
    part: list[str] = []
    length = 0
    for sign, measure in zip(signs, measured, strict=True):
        if length + len(measure) > most:
            yield "".join(part)
            part, length = [], 0
        part.append(sign)
        length += len(measure)
    yield "".join(part)


def _unstructured(text: str) -> str:
    """Free text (RFC 6857, 3.1.1): neighbouring words that are not ASCII are encoded together, others left alone."""
    said: list[str] = []
    blank, run, behind_word = "", "", False
    for found in _BLANK_AND_TEXT.finditer(text):
        before, word = found[1], found[2]
        if word is not None and not word.isascii():
            blank, run = (blank, run + found[0]) if run else (before, word)
            continue
        is_word = word is not None and _ENCODED_WORD.fullmatch(word) is not None
        if run:
            said.append(_between(blank, run, behind_word, is_word))
            run = ""
        said.append(found[0])
        behind_word = is_word
    if run:
        said.append(_between(blank, run, behind_word, False))
    return "".join(said)


def _between(blank: str, run: str, behind_word: bool, before_word: bool) -> str:
    """A run encoded; blanks between two encoded words are not shown, so those beside one go into it."""
    inner = f"{blank if behind_word else ''}{run}{' ' if before_word else ''}"
    return f"{blank}{_encoded(inner)}"


# --- Structured fields -----------------------------------------------------------------------------------------


def _tokens(text: str) -> Iterator[str]:
    """Comments, quoted strings, what is in <>, blanks, signs that separate, and the words between."""
    at = 0
    while at < len(text):
        if text[at] == "(":
            end = _comment_end(text, at)
        else:
            found = _TOKEN.match(text, at)
            end = found.end() if found else len(text)
        yield text[at:end]
        at = end


def _comment_end(text: str, at: int) -> int:
    depth = 0
    for found in _PARENTHESIS.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return found.end()
    return len(text)


def _comment(token: str) -> str:
    """RFC 6857, 3.1.3."""
    if not token.startswith("(") or token.isascii():
        return token
    return f"({_unstructured(token[1:].removesuffix(')'))})"


def _comments(text: str) -> str:
    return "".join(map(_comment, _tokens(text)))


def _phrase(tokens: list[str]) -> str:
    """A name before an address or a keyword (RFC 6857, 3.1.2 and 3.1.5), without blanks around."""
    text = "".join(tokens).strip()
    if text.isascii():
        return text
    return _encoded("".join(_unquoted(token) for token in tokens).strip())


def _unquoted(token: str) -> str:
    return _ESCAPED.sub(r"\1", token[1:].removesuffix('"')) if token.startswith('"') else token


def _keywords(text: str) -> str:
    """Phrases with commas between (RFC 5322, 3.6.5)."""
    return ",".join(f" {_phrase(list(_tokens(part)))}" for part in text.split(","))


def _received(text: str) -> str:
    """RFC 6857, 3.2: a recipient that cannot be said is left out."""
    text = _FOR.sub(lambda found: found[0] if found[0].isascii() else "", text)
    return "".join(
        _a_labels(token) or token if not token.startswith("(") else _comment(token) for token in _tokens(text)
    )


# --- Addresses -------------------------------------------------------------------------------------------------


def _a_labels(domain: str) -> str | None:
    """A domain name in ASCII; None where it has no such form."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except UnicodeError:
        return None


def _address(address: str) -> str | None:
    """An addr-spec in ASCII; None: its local part has no such form."""
    local_part, at, domain = address.rpartition("@")
    if not local_part.isascii() or not at:
        return address if address.isascii() else None
    labels = _a_labels(domain)
    return None if labels is None else f"{local_part}@{labels}"


def _mailbox(tokens: list[str]) -> tuple[str, bool]:
    """One mailbox (RFC 6857, 3.1.7), and whether it is one still: else an empty group."""
    if "".join(tokens).isascii():
        return "".join(tokens).strip(), True
    comments = "".join(f" {_comment(token)}" for token in tokens if token.startswith("("))
    tokens = [token for token in tokens if not token.startswith("(")]
    angle = next((at for at, token in enumerate(tokens) if token.startswith("<")), None)
    if angle is None:
        name, address = "", "".join(tokens).strip()
    else:
        name, address = _phrase(tokens[:angle]), tokens[angle][1:].removesuffix(">").strip()
    said = _address(address)
    if said is None:
        encoded = _encoded(f" {address}" if name.endswith("?=") else address)
        return f"{name} {encoded} :;{comments}".strip(), False
    return (said if angle is None else f"{name} <{said}>".strip()) + comments, True


def _addresses(text: str) -> str:
    """Mailboxes and groups (RFC 5322, 3.4)."""
    said: list[str] = []
    element: list[str] = []
    group: list[str] | None = None  # tokens of the name
    members: list[list[str]] = []
    for sign in [*_tokens(text), ","]:
        if sign == ":" and group is None:
            group, element = element, []
        elif sign == "," and group is None:
            said.append(_mailbox(element)[0])
            element = []
        elif sign in (",", ";") and group is not None:
            members.append(element)
            element = []
            if sign == ";":
                said.append(_group(group, members))
                group, members = None, []
        else:
            element.append(sign)
    if group is not None:  # its end is missing
        said.append(_group(group, members))
    return " " + ", ".join(part for part in said if part)


def _group(name: list[str], members: list[list[str]]) -> str:
    """A group (RFC 6857, 3.1.6): where one member cannot be said, none is left, and all can be read."""
    mailboxes = [_mailbox(member) for member in members]
    title = _phrase(name)
    if all(is_mailbox for _, is_mailbox in mailboxes):
        return f"{title}: {', '.join(mailbox for mailbox, _ in mailboxes if mailbox)};"
    all_members = ",".join("".join(member) for member in members)
    return f"{title} {_encoded(f' {all_members.strip()}')} :;"


# --- MIME's parameters (RFC 2231) --------------------------------------------------------------------------------


def _parameters(text: str) -> str:
    """A value and its parameters (RFC 6857, 3.1.4)."""
    parts: list[str] = []
    part = ""
    for sign in [*_tokens(text), ";"]:
        if sign == ";":
            parts.append(part if part.isascii() else _parameter(part) if parts else _percent(_comments(part)))
            part = ""
        else:
            part += sign
    return ";".join(parts)


def _parameter(text: str) -> str:
    text = _comments(text)
    name, equals, value = text.partition("=")
    if text.isascii() or not equals or not name.isascii() or "*" in name:
        return _percent(text)
    name, value = name.strip(), value.strip()
    encoded = [quote(sign, safe="") for sign in _unquoted(value)]
    sections = list(_parts(encoded, encoded, _WORD))
    if len(sections) == 1:
        return f" {name}*=utf-8''{sections[0]}"
    sections[0] = f"utf-8''{sections[0]}"
    return " " + "; ".join(f"{name}*{number}*={section}" for number, section in enumerate(sections))


def _percent(text: str) -> str:
    return "".join(sign if sign.isascii() else quote(sign) for sign in text)


# --- Which field is of which kind (RFC 6857, 3.2) ----------------------------------------------------------------

_KINDS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(
        (
            "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-sender", "resent-reply-to",
            "resent-to", "resent-cc", "resent-bcc", "return-path", "delivered-to", "disposition-notification-to",
            "errors-to", "return-receipt-to", "mail-followup-to", "mail-reply-to", "x-original-to",
        ),
        _addresses,
    ),
    **dict.fromkeys(("content-type", "content-disposition"), _parameters),
    **dict.fromkeys(
        (
            "date", "resent-date", "message-id", "resent-message-id", "in-reply-to", "references", "mime-version",
            "content-id", "content-transfer-encoding", "content-language", "original-recipient",
        ),
        _comments,
    ),
    "received": _received,
    "keywords": _keywords,
}  # fmt: skip
_ENCAPSULATED = frozenset(("message-id", "resent-message-id", "in-reply-to", "references", "original-recipient"))
