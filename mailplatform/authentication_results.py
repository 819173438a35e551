"""The field Authentication-Results (RFC 8601): what others wrote in our name is taken out of what comes. Pure."""

import re

_FIELD = re.compile(
    rb"^Authentication-Results[ \t]*:([^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)", re.IGNORECASE | re.MULTILINE
)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)', re.DOTALL)
_TOKEN = re.compile(rb"[^\s;()]*")


def without_forged(header: bytes, hostname: str) -> bytes:
    """A header without the Authentication-Results that name this host: nobody but we may say what we found."""
    ours = hostname.lower().encode()
    return _FIELD.sub(lambda match: b"" if _host(match[1]).lower() == ours else match[0], header)


def _host(value: bytes) -> bytes:
    """Whose results these are: the authserv-id (RFC 8601, 2.2), behind blanks and comments."""
    said = value[_end_of_comments(value) :]
    if (quoted := _QUOTED.match(said)) is not None:
        return re.sub(rb"\\(.)", rb"\1", quoted[1], flags=re.DOTALL)
    found = _TOKEN.match(said)
    return found[0] if found else b""


def _end_of_comments(value: bytes) -> int:
    """Where something else than blanks and comments begins (RFC 5322, 3.2.2: they nest)."""
    depth = 0
    for part in re.finditer(rb"\\.|.", value, re.DOTALL):
        if part[0] == b"(":
            depth += 1
        elif part[0] == b")" and depth:
            depth -= 1
        elif not depth and not part[0].isspace():
            return part.start()
    return len(value)
