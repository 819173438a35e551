"""A POP3 account as commands name it: pop3s://LOGIN@HOST[:PORT] with TLS, pop3://LOGIN@HOST[:PORT] with STLS.

The password is no part of it: a command line is everybody's to read.
"""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

#: Scheme -> port (RFC 1939, 3; RFC 8314, 7.2).
PORTS = {"pop3s": 995, "pop3": 110}


@dataclass(frozen=True, slots=True)
class Pop3Url:
    """Where an account is. `tls`: from the first octet, else STLS."""

    login: str
    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{self.login} at {self.host}"


def is_pop3_url(text: str) -> bool:
    return text.partition("://")[0].lower() in PORTS


def parse_pop3_url(text: str) -> Pop3Url:
    """Raises ValueError, in words. A login may hold an @; what is special in it is percent-encoded."""
    parts = urlsplit(text)
    login, _, where = parts.netloc.rpartition("@")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{where}: no such port") from error
    if parts.scheme not in PORTS or not login or not host or parts.path not in ("", "/") or parts.query:
        raise ValueError("an account is pop3s://LOGIN@HOST or pop3s://LOGIN@HOST:PORT, or pop3:// with STLS")
    if ":" in login:
        raise ValueError("a password does not belong on the command line; give it by --password-stdin, or type it")
    login = unquote(login)
    if not login.isprintable():
        raise ValueError("a login has no line ends and no control characters")
    return Pop3Url(login, host, PORTS[parts.scheme] if port is None else port, parts.scheme == "pop3s")
