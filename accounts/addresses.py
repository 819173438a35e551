"""Names of mailboxes and domains: their normal form and what is allowed. Pure functions."""

import re

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

# RFC 5321, 4.5.3.1: a local part has at most 64 octets, a domain 255.
LOCAL_PART_OCTETS = 64
DOMAIN_OCTETS = 255
#: What is kept of a login name that somebody typed.
LOGIN_SIGNS = 255

# RFC 5321, 4.1.2: Dot-string of atext, without '%', which stands for '@' in login names, and without
# the quoted form, which clients and admins do not expect.
_ATOM = r"[a-z0-9!#$&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def validate_local_part(value: str) -> None:
    """Raise ValidationError unless `value` can stand before the @ of an address."""
    if len(value) > LOCAL_PART_OCTETS or not _LOCAL_PART.fullmatch(value.lower()):
        raise ValidationError(
            _("“%(value)s” cannot be the name of a mailbox: letters, digits and . _ - + are safe."),
            params={"value": value},
            code="local_part",
        )


def validate_domain_name(value: str) -> None:
    """Raise ValidationError unless `value` is a host name (RFC 1123, 2.1)."""
    if len(value) > DOMAIN_OCTETS or not _DOMAIN.fullmatch(value.lower()):
        raise ValidationError(
            _("“%(value)s” is not a domain name, such as example.org."),
            params={"value": value},
            code="domain",
        )


def normal_address(local_part: str, domain: str) -> str:
    """The one spelling under which an address is stored and looked up: lower case."""
    return f"{local_part}@{domain}".lower()


def normal_login(login: str) -> str:
    """A POP3 or SMTP login name as it is looked up: lower case, `name%domain` read as `name@domain`."""
    login = login.strip().lower()
    if "@" not in login:
        head, percent, tail = login.rpartition("%")
        if percent:
            return f"{head}@{tail}"
    return login


def kept_login(login: str) -> str:
    """A login name, whatever it is, as it may be kept and shown: not too long, and of signs that can be seen."""
    login = login[:LOGIN_SIGNS]
    return login if login.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in login)
