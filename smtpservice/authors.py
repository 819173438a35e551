"""Whom mail is from, as its header says: the addresses in From (RFC 5322, 3.6.2), however odd they are. Pure."""

import re
from collections.abc import Sequence
from email.utils import getaddresses

_FROM = re.compile(rb"^From[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.IGNORECASE | re.MULTILINE)
# Looked for where a word begins alone: at each of its signs it would take the square of them.
_LIKE_AN_ADDRESS = re.compile(r"(?<![^\s<>()@,;:\"])[^\s<>()@,;:\"]+@[^\s<>()@,;:\"]+")
#: Signs of a field that Python's parser is asked about: it takes the square of those of a group.
PARSED_SIGNS = 16 * 1024


def from_fields(header: bytes) -> list[str]:
    """The value of each From of a header, unfolded; there must be one alone, and others are seen by some program."""
    return [found.decode("utf-8", "replace").replace("\r\n", "") for found in _FROM.findall(header)]


def addresses_in(fields: Sequence[str]) -> list[str]:
    """The addresses in fields, each by itself: a comment that is open at the end of one hides nothing of the next."""
    return [address for value in fields for address in _addresses(value)]


def _addresses(value: str) -> list[str]:
    """Those of one field; where Python's parser finds none, whatever looks like one: somebody's program shows it."""
    found = _parsed(value) if len(value) <= PARSED_SIGNS else []
    return found if any(found) else _LIKE_AN_ADDRESS.findall(value) or found


def _parsed(value: str) -> list[str]:
    try:
        return [address for _name, address in getaddresses([value])]
    except RecursionError:  # comments or groups that are nested as nobody does who wants to be understood
        return []
