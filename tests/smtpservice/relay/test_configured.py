"""The relay is what the settings say."""

import pytest
from pytest_django import Settings

from smtpservice.relay import configured
from smtpservice.relay.configured import make_destination
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
