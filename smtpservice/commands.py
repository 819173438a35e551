"""The arguments of commands: paths and parameters (RFC 5321, 4.1.2). Pure functions.

Each raises RefusedError with the reply that says what is wrong.
"""

import re
from dataclasses import dataclass

from smtpservice import replies
from smtpservice.replies import Reply

#: RFC 5321, 4.5.3.1.3: octets of a path, with its punctuation.
PATH_OCTETS = 256

_LOCAL = r'(?P<local>"(?:[^"\\]|\\.)*"|[^"@<>\s\\,:]+)'
_DOMAIN = r"(?P<domain>\[[^\[\]<>\s]+\]|[^@<>\s\[\]\\,:]+)"
# A source route is accepted and forgotten (RFC 5321, 4.1.2 and appendix C).
_PATH = re.compile(rf"<(?:@[^:<>\s]+:)?{_LOCAL}(?:@{_DOMAIN})?>")
_QUOTED_PAIR = re.compile(r"\\(.)")
# RFC 5321, 4.1.1.1, widened by what clients really say: an underscore, a bare IPv6 address.
_CLIENT_NAME = re.compile(r"[A-Za-z0-9._:-]{1,255}|\[[A-Za-z0-9.:-]{1,253}\]")
_DIGITS = re.compile(r"[0-9]{1,20}")
_CHUNK = re.compile(r"([0-9]{1,20})( +LAST)?", re.IGNORECASE)
# RFC 3461, 4: printable ASCII but + and =, which are written +2B and +3D.
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_ENVID = re.compile(rf"(?=.{{1,100}}\Z){_XTEXT}+")
_ORCPT = re.compile(rf"(?=.{{1,500}}\Z)[A-Za-z0-9-]+;{_XTEXT}+")
#: RFC 3461, 4.1: keywords of NOTIFY; NEVER stands alone.
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})


class RefusedError(Exception):
    """A command is answered with an error reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Address:
    """A path's mailbox; the domain is empty for <postmaster> alone. The local part has its quotes taken off.

    `notify` and `original` are NOTIFY, in capitals, and ORCPT as it was written (RFC 3461, 4.1 and 4.2), or empty.
    """

    local_part: str
    domain: str
    notify: str = ""
    original: str = ""

    @property
    def full(self) -> str:
        """With its @, also where there is no domain."""
        return f"{self.local_part}@{self.domain}"

    def __str__(self) -> str:
        return self.full if self.domain else self.local_part


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL: the reverse-path as it was written, without < and > ("" is the null path), and the declared size, or 0.

    `returned` and `envelope_id` are RET and ENVID (RFC 3461, 4.3 and 4.4), or empty.
    """

    sender: str
    size: int
    smtputf8: bool = False
    returned: str = ""
    envelope_id: str = ""


def client_name(argument: str) -> str:
    """The name of EHLO, HELO and LHLO."""
    name = argument.partition(" ")[0]
    if not _CLIENT_NAME.fullmatch(name):
        raise RefusedError(replies.BAD_NAME)
    return name


def mail(argument: str, *, extended: bool, max_octets: int, authenticates: bool = False) -> Mail:
    """The argument of MAIL: FROM:<path> [parameters] (RFC 5321, 4.1.1.2).

    SIZE: RFC 1870; BODY: RFC 6152; SMTPUTF8: RFC 6531; RET and ENVID: RFC 3461. AUTH (RFC 4954, 5) is read and
    forgotten where the server `authenticates`: nobody's word for another is taken.
    """
    path, rest = _keyword_and_path(argument, "FROM:", replies.BAD_SENDER_PATH)
    parameters = _parameters(rest, extended=extended)
    utf8 = parameters.pop("SMTPUTF8", None)
    if utf8:
        raise RefusedError(replies.BAD_PARAMETER)
    sender = _sender(path, utf8=utf8 is not None)
    size = _size(parameters.pop("SIZE", "0"), max_octets)
    _one_of(parameters.pop("BODY", "7BIT"), {"7BIT", "8BITMIME"})
    returned = _one_of(parameters.pop("RET", ""), {"", "FULL", "HDRS"})
    envelope_id = parameters.pop("ENVID", "")
    if envelope_id and not _ENVID.fullmatch(envelope_id):
        raise RefusedError(replies.BAD_PARAMETER)
    if authenticates:
        parameters.pop("AUTH", None)
    if parameters:
        raise RefusedError(replies.UNKNOWN_PARAMETER)
    return Mail(sender, size, utf8 is not None, returned, envelope_id)


def recipient(argument: str, *, extended: bool = True, utf8: bool = False) -> Address:
    """The argument of RCPT: TO:<path> [parameters] (RFC 5321, 4.1.1.3; NOTIFY and ORCPT: RFC 3461).

    A path without a domain is <postmaster> alone.
    """
    path, rest = _keyword_and_path(argument, "TO:", replies.BAD_PATH)
    match = _path(path, replies.BAD_PATH, utf8=utf8)
    parameters = _parameters(rest, extended=extended)
    notify, original = _notify(parameters.pop("NOTIFY", "")), parameters.pop("ORCPT", "")
    if original and not _ORCPT.fullmatch(original):
        raise RefusedError(replies.BAD_PARAMETER)
    if parameters:
        raise RefusedError(replies.UNKNOWN_PARAMETER)
    local_part: str = match["local"]
    if local_part.startswith('"'):
        local_part = _QUOTED_PAIR.sub(r"\1", local_part[1:-1])
    if match["domain"] is None and local_part.lower() != "postmaster":
        raise RefusedError(replies.BAD_PATH)
    return Address(local_part, match["domain"] or "", notify, original)


def chunk(argument: str) -> tuple[int, bool]:
    """The argument of BDAT: how many octets follow, and whether they are the last (RFC 3030, 2)."""
    match = _CHUNK.fullmatch(argument)
    if match is None:
        raise RefusedError(replies.BAD_CHUNK)
    return int(match[1]), bool(match[2])


def _sender(path: str, *, utf8: bool) -> str:
    if path == "<>":
        return ""
    match = _path(path, replies.BAD_SENDER_PATH, utf8=utf8)
    if match["domain"] is None:
        raise RefusedError(replies.BAD_SENDER_PATH)
    return f"{match['local']}@{match['domain']}"


def _keyword_and_path(argument: str, keyword: str, bad: Reply) -> tuple[str, str]:
    """Take `FROM:` or `TO:` off, and split the path from the parameters behind it."""
    if argument[: len(keyword)].upper() != keyword:
        raise RefusedError(bad if argument.isascii() else replies.NOT_ASCII)
    text = argument[len(keyword) :].lstrip(" ")  # many clients put a blank there
    end = _path_end(text)
    if not end:
        raise RefusedError(bad if argument.isascii() else replies.NOT_ASCII)
    if len(text[:end].encode("utf-8", "surrogateescape")) > PATH_OCTETS:
        raise RefusedError(replies.PATH_TOO_LONG)
    return text[:end], text[end:]


def _path_end(text: str) -> int:
    """Where the path's > is behind us, quoted ones apart; 0 where there is none."""
    quoted = escaped = False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == ">" and not quoted:
            return index + 1
    return 0


def _path(path: str, bad: Reply, *, utf8: bool) -> "re.Match[str]":
    """The parts of a path. Octets that are no UTF-8 came as surrogates, which cannot be printed."""
    if not path.isascii() and not utf8:
        raise RefusedError(replies.NOT_ASCII)
    match = _PATH.fullmatch(path)
    if match is None or not (path.isascii() or path.isprintable()):
        raise RefusedError(bad)
    return match


def _parameters(rest: str, *, extended: bool) -> dict[str, str]:
    """The esmtp-params behind a path: each once, with a blank before it."""
    if (rest and not rest.startswith(" ")) or not rest.isascii():
        raise RefusedError(replies.BAD_PARAMETER)
    parameters: dict[str, str] = {}
    for word in rest.split():
        name, _, value = word.partition("=")
        if name.upper() in parameters:
            raise RefusedError(replies.BAD_PARAMETER)
        parameters[name.upper()] = value
    if parameters and not extended:
        raise RefusedError(replies.UNKNOWN_PARAMETER)
    return parameters


def _one_of(value: str, allowed: set[str]) -> str:
    if value.upper() not in allowed:
        raise RefusedError(replies.BAD_PARAMETER)
    return value.upper()


def _notify(value: str) -> str:
    words = value.upper().split(",") if value else []
    if words not in ([], ["NEVER"]) and (set(words) - _NOTIFY or len(set(words)) < len(words)):
        raise RefusedError(replies.BAD_PARAMETER)
    return ",".join(words)


def _size(value: str, max_octets: int) -> int:
    if not _DIGITS.fullmatch(value):
        raise RefusedError(replies.BAD_PARAMETER)
    if int(value) > max_octets:
        raise RefusedError(replies.too_large(max_octets))
    return int(value)
