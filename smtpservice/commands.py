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


class RefusedError(Exception):
    """A command is answered with an error reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Address:
    """A path's mailbox; the domain is empty for <postmaster> alone. The local part has its quotes taken off."""

    local_part: str
    domain: str

    @property
    def full(self) -> str:
        """With its @, also where there is no domain."""
        return f"{self.local_part}@{self.domain}"

    def __str__(self) -> str:
        return self.full if self.domain else self.local_part


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL: the reverse-path as it was written, without < and > ("" is the null path), and the declared size, or 0."""

    sender: str
    size: int


def client_name(argument: str) -> str:
    """The name of EHLO, HELO and LHLO."""
    name = argument.partition(" ")[0]
    if not _CLIENT_NAME.fullmatch(name):
        raise RefusedError(replies.BAD_NAME)
    return name


def mail(argument: str, *, extended: bool, max_octets: int) -> Mail:
    """The argument of MAIL: FROM:<path> [parameters] (RFC 5321, 4.1.1.2; SIZE: RFC 1870; BODY: RFC 6152)."""
    path, rest = _keyword_and_path(argument, "FROM:", replies.BAD_SENDER_PATH)
    sender = ""
    if path != "<>":
        match = _path(path, replies.BAD_SENDER_PATH)
        if match["domain"] is None:
            raise RefusedError(replies.BAD_SENDER_PATH)
        sender = f"{match['local']}@{match['domain']}"
    parameters = _parameters(rest)
    if parameters and not extended:
        raise RefusedError(replies.UNKNOWN_PARAMETER)
    size = 0
    for name, value in parameters.items():
        if name == "SIZE":
            size = _size(value, max_octets)
        elif name != "BODY":
            raise RefusedError(replies.UNKNOWN_PARAMETER)
        elif value.upper() not in {"7BIT", "8BITMIME"}:
            raise RefusedError(replies.BAD_PARAMETER)
    return Mail(sender, size)


def recipient(argument: str) -> Address:
    """The argument of RCPT: TO:<path> (RFC 5321, 4.1.1.3); a path without a domain is <postmaster> alone."""
    path, rest = _keyword_and_path(argument, "TO:", replies.BAD_PATH)
    match = _path(path, replies.BAD_PATH)
    if _parameters(rest):
        raise RefusedError(replies.UNKNOWN_PARAMETER)
    local_part: str = match["local"]
    if local_part.startswith('"'):
        local_part = _QUOTED_PAIR.sub(r"\1", local_part[1:-1])
    if match["domain"] is None and local_part.lower() != "postmaster":
        raise RefusedError(replies.BAD_PATH)
    return Address(local_part, match["domain"] or "")


def _keyword_and_path(argument: str, keyword: str, bad: Reply) -> tuple[str, str]:
    """Take `FROM:` or `TO:` off, and split the path from the parameters behind it."""
    if not argument.isascii():
        raise RefusedError(replies.NOT_ASCII)
    if argument[: len(keyword)].upper() != keyword:
        raise RefusedError(bad)
    text = argument[len(keyword) :].lstrip(" ")  # many clients put a blank there
    end = _path_end(text)
    if end > PATH_OCTETS:
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


def _path(path: str, bad: Reply) -> "re.Match[str]":
    match = _PATH.fullmatch(path)
    if match is None:
        raise RefusedError(bad)
    return match


def _parameters(rest: str) -> dict[str, str]:
    """The esmtp-params behind a path: each once, with a blank before it."""
    if rest and not rest.startswith(" "):
        raise RefusedError(replies.BAD_PARAMETER)
    parameters: dict[str, str] = {}
    for word in rest.split():
        name, _, value = word.partition("=")
        if name.upper() in parameters:
            raise RefusedError(replies.BAD_PARAMETER)
        parameters[name.upper()] = value
    return parameters


def _size(value: str, max_octets: int) -> int:
    if not _DIGITS.fullmatch(value):
        raise RefusedError(replies.BAD_PARAMETER)
    if int(value) > max_octets:
        raise RefusedError(replies.TOO_LARGE)
    return int(value)
