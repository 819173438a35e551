"""The relay is what the settings say."""

import pytest
from pytest_django import Settings

from smtpservice.relay import configured
from smtpservice.relay.configured import make_destination, split_host
from smtpservice.relay.destinations import Login, MailExchanges, Smarthost


def test_by_default_mail_goes_to_the_hosts_of_each_domain() -> None:
    assert isinstance(make_destination(), MailExchanges)


@pytest.mark.parametrize(
    ("text", "tls", "port"),
    [("relay.example", "starttls", 587), ("relay.example", "tls", 465), ("relay.example:2525", "none", 2525)],
)
def test_a_smarthost_with_its_port_and_login(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, text: str, tls: str, port: int
) -> None:
    given: dict[str, object] = {}

    class Noted(Smarthost):
        def __init__(self, router: object, **options: object) -> None:
            given.update(options)

    monkeypatch.setattr(configured, "Smarthost", Noted)
    settings.RELAY_SMARTHOST, settings.RELAY_SMARTHOST_TLS = text, tls
    settings.RELAY_SMARTHOST_USER, settings.RELAY_SMARTHOST_PASSWORD = "us", "secret"
    assert make_destination().together
    assert (given["host"], given["port"], given["tls"]) == ("relay.example", port, tls)
    assert given["login"] == Login("us", "secret")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("relay.example", ("relay.example", 0)),
        ("relay.example:587", ("relay.example", 587)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("[2001:db8::1]:587", ("2001:db8::1", 587)),
    ],
)
def test_hosts_with_and_without_port(text: str, found: tuple[str, int]) -> None:
    assert split_host(text) == found


@pytest.mark.parametrize("text", ["", ":25", "2001:db8::1", "relay.example:smtp", "[]:25"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError):
        split_host(text)
