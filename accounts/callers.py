"""Who stands at the door: over which protocol, from where, and how well the connection is kept from others."""

import enum
from typing import NamedTuple


class Protocol(enum.StrEnum):
    """What a login is for."""

    POP3 = "pop3"
    SMTP = "smtp"
    #: Pages for people; no app password opens them.
    WEB = "web"

    #: Enum's own is a function of Python, which costs more than the rest of a look into a dictionary.
    __hash__ = str.__hash__


class Caller(NamedTuple):
    """One connection. `address` is an IP address as text; `tls` is empty or a version, such as TLSv1.3."""

    protocol: Protocol
    address: str
    tls: str = ""
