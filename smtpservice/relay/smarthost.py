"""How a smarthost is written in the settings. Imports nothing of the relay: every command checks its settings."""

#: What RELAY_SMARTHOST_TLS can be, and the port that goes with it.
SMARTHOST_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def split_host(text: str) -> tuple[str, int]:
    """HOST or HOST:PORT, an IPv6 address in brackets; port 0: none was said. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare) != (bare != host) or (port and not (port.isascii() and port.isdigit())):
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return bare, int(port or 0)
