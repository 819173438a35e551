"""Settings of the relay that cannot work, or that are not safe; see mailplatform.checks."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from smtpservice.relay.smarthost import SMARTHOST_PORTS, split_host


def check_relay(**kwargs: Any) -> list[CheckMessage]:
    """All that is wrong with the settings of the relay."""
    return [*_name_servers(), *(_smarthost() if settings.RELAY_SMARTHOST else ())]


def _name_servers() -> Iterator[CheckMessage]:
    for text in settings.RELAY_NAME_SERVERS:
        address, _, port = text.partition("#")
        try:
            ipaddress.ip_address(address)
            int(port or 53)
        except ValueError:
            yield Error(
                f"RELAY_NAME_SERVERS: {text!r} is not an address.",
                hint="Write 192.0.2.53, 2001:db8::53 or 127.0.0.1#5353; a name would have to be looked up first.",
                id="mailplatform.E020",
            )


def _smarthost() -> Iterator[CheckMessage]:
    try:
        host, _ = split_host(settings.RELAY_SMARTHOST)
    except ValueError as error:
        yield Error(
            f"RELAY_SMARTHOST: {error}.", hint="Write smtp.example.net or smtp.example.net:587.", id="mailplatform.E021"
        )
        return
    if settings.RELAY_SMARTHOST_TLS not in SMARTHOST_PORTS:
        yield Error(
            f"RELAY_SMARTHOST_TLS: {settings.RELAY_SMARTHOST_TLS!r} is not known.",
            hint=f"Choose among {', '.join(SMARTHOST_PORTS)}.",
            id="mailplatform.E022",
        )
    elif settings.RELAY_SMARTHOST_TLS == "none" and settings.RELAY_SMARTHOST_USER and not _is_loopback(host):
        yield Error(
            "RELAY_SMARTHOST_TLS is none, and a password would cross the network in the clear.",
            hint="Set starttls or tls, or take RELAY_SMARTHOST_USER away.",
            id="mailplatform.E023",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
