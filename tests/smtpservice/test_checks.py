"""Settings of the relay that cannot work are said before anything starts."""

import pytest
from pytest_django import Settings

from smtpservice.checks import check_relay


def ids() -> list[str]:
    return [str(message.id) for message in check_relay()]


def test_the_defaults_are_right() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("servers", "found"),
    [
        (["192.0.2.53", "2001:db8::53", "127.0.0.1#5353"], []),
        (["dns.example"], ["mailplatform.E020"]),
        (["127.0.0.1#dns"], ["mailplatform.E020"]),
    ],
)
def test_name_servers_are_addresses(settings: Settings, servers: list[str], found: list[str]) -> None:
    settings.RELAY_NAME_SERVERS = servers
    assert ids() == found


@pytest.mark.parametrize(
    ("host", "tls", "user", "found"),
    [
        ("smtp.example.net", "starttls", "us", []),
        ("smtp.example.net:465", "tls", "us", []),
        ("smtp.example.net", "none", "", []),
        ("127.0.0.1:2525", "none", "us", []),
        ("localhost", "none", "us", []),
        ("smtp.example.net", "none", "us", ["mailplatform.E023"]),
        ("smtp.example.net", "yes", "us", ["mailplatform.E022"]),
        ("smtp.example.net:smtp", "starttls", "", ["mailplatform.E021"]),
    ],
)
def test_a_smarthost_gets_no_password_in_the_clear(
    settings: Settings, host: str, tls: str, user: str, found: list[str]
) -> None:
    settings.RELAY_SMARTHOST, settings.RELAY_SMARTHOST_TLS, settings.RELAY_SMARTHOST_USER = host, tls, user
    assert ids() == found
