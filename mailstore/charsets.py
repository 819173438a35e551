"""Octets in the charset that a message names, as text.

The name is a stranger's. Python keeps every name that it was ever asked for, known or not, and each spelling of one:
it is asked for those alone that it has, in one spelling. Some of its own codecs are no charsets, and take many seconds
for half a megabyte (punycode).
"""

import encodings
import pkgutil
from encodings.aliases import aliases

#: Python's documentation, codecs, "Python Specific Encodings": of no message.
_OF_PYTHON = {"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
_KNOWN = frozenset(aliases) | {module.name for module in pkgutil.iter_modules(encodings.__path__)} - _OF_PYTHON


def decode(octets: bytes, charset: str) -> str:
    """A REPLACEMENT CHARACTER stands for what is not of this charset. Raises LookupError where it is none."""
    name = encodings.normalize_encoding(charset).lower()
    if name not in _KNOWN:
        raise LookupError(f"no such charset: {charset}")
    return octets.decode(name, "replace")
