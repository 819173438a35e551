"""The field Authentication-Results (RFC 8601): what others wrote in our name is taken out of what comes. Pure."""

import re

_FIELD = re.compile(
    rb"^Authentication-Results[ \t]*:([^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)", re.IGNORECASE | re.MULTILINE
)
_COMMENT = re.compile(rb"\([^()]*\)")


def without_forged(header: bytes, hostname: str) -> bytes:
    """A header without the Authentication-Results that name this host: nobody but we may say what we found."""

    def kept(match: "re.Match[bytes]") -> bytes:
        said = _COMMENT.sub(b" ", match[1]).split(b";")[0].split()
        name = said[0].strip(b'"').lower() if said else b""
        return b"" if name == hostname.lower().encode() else match[0]

    return _FIELD.sub(kept, header)
