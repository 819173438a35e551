"""Names of mailboxes and domains: their normal form and what is allowed. Pure functions."""

import re

import idna
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from precis_i18n import get_profile

# RFC 5321, 4.5.3.1: a local part has at most 64 octets, a domain 255.
LOCAL_PART_OCTETS = 64
DOMAIN_OCTETS = 255
#: What is kept of a login name that somebody typed.
LOGIN_SIGNS = 255

# RFC 5321, 4.1.2 and RFC 6531, 3.3: Dot-string of atext, in any script, without '%', which stands for '@' in login
# names, and without the quoted form, which clients and admins do not expect.
_ATOM = r"[a-z0-9!#$&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(\.{_ATOM})*")
# What others may call their mailboxes: a Dot-string, or a Quoted-string.
_ANY_ATOM = r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
_WRITTEN = re.compile(rf'{_ANY_ATOM}(?:\.{_ANY_ATOM})*|"(?:[^"\\]|\\.)*"')
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_USERNAME = get_profile("UsernameCaseMapped")


def validate_local_part(value: str) -> None:
    """Raise ValidationError unless `value` can stand before the @ of an address (RFC 8265, 3.3 in other scripts)."""
    normal = _mapped(value)
    if normal is None or len(normal.encode()) > LOCAL_PART_OCTETS or not _LOCAL_PART.fullmatch(normal):
        raise ValidationError(
            _("“%(value)s” cannot be the name of a mailbox: letters, digits and . _ - + are safe."),
            params={"value": value},
            code="local_part",
        )


def validate_domain_name(value: str) -> None:
    """Raise ValidationError unless `value` is a host name (RFC 1123, 2.1), or one in another script (RFC 5890)."""
    labels = _a_labels(value)
    if labels is None or len(labels) > DOMAIN_OCTETS or not _DOMAIN.fullmatch(labels):
        raise ValidationError(
            _("“%(value)s” is not a domain name, such as example.org."),
            params={"value": value},
            code="domain",
        )


def normal_local_part(value: str) -> str:
    """The one spelling of what stands before an @: lower case, signs composed. What is no such name is let be."""
    return _mapped(value) or value.lower()


def normal_domain(value: str) -> str:
    """The one spelling of a domain name: lower case, and A-labels in other scripts, which every mail server reads."""
    return _a_labels(value) or value.lower()


def shown_domain(name: str) -> str:
    """A domain name as people read it: U-labels."""
    try:
        return idna.decode(name) if "xn--" in name else name
    except UnicodeError:
        return name


def normal_address(local_part: str, domain: str) -> str:
    """The one spelling under which an address is stored and looked up."""
    return f"{normal_local_part(local_part)}@{normal_domain(domain)}"


def normal_spelling(address: str) -> str:
    """The same of an address as a whole."""
    if address.isascii():
        return address.lower()
    local_part, at, domain = address.rpartition("@")
    return normal_address(local_part, domain) if at else normal_local_part(address)


def written_address(local_part: str, domain: str) -> str:
    """As it stands between < and > (RFC 5321, 4.1.2): a local part that has no quotes gets those that it needs."""
    if _WRITTEN.fullmatch(local_part):
        return f"{local_part}@{domain}"
    quoted = local_part.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"@{domain}'


def normal_login(login: str) -> str:
    """A POP3 or SMTP login name as it is looked up: an address or a name, `name%domain` read as `name@domain`."""
    login = login.strip()
    if "@" not in login:
        head, percent, tail = login.rpartition("%")
        if percent:
            login = f"{head}@{tail}"
    return normal_spelling(login)


def full_login(login: str, default_domain: str) -> str:
    """The same with the default domain behind a bare name; "" is no domain. All spellings of a login are one here."""
    login = normal_login(login)
    return f"{login}@{default_domain}" if login and default_domain and "@" not in login else login


def _mapped(value: str) -> str | None:
    """RFC 8265, 3.3: in lower case, narrow, composed; None: signs that no name has."""
    if value.isascii():
        return value.lower()
    try:
        return str(_USERNAME.enforce(value))
    except UnicodeEncodeError:
        return None


def _a_labels(value: str) -> str | None:
    """RFC 5891, after the mapping of UTS 46; None: no domain name."""
    if value.isascii():
        return value.lower()
    try:
        return idna.encode(value, uts46=True).decode()
    except UnicodeError:
        return None


def kept_login(login: str) -> str:
    """A login name, whatever it is, as it may be kept and shown: not too long, and of signs that can be seen."""
    login = login[:LOGIN_SIGNS]
    return login if login.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in login)
