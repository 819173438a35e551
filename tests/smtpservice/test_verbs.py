"""The table of commands: each row has a function that says what it does, and is known where it is served."""

import inspect

import pytest

from smtpservice.requests import Service
from smtpservice.verbs import VERBS
from tests.smtpservice.driving import Talk


@pytest.mark.parametrize("service", Service)
def test_help_names_what_is_served_there(service: Service) -> None:
    (line,) = Talk(service).say(b"HELP\r\n")
    named = line.removeprefix("214 2.0.0 Commands: ").split()
    assert named == [name for name, verb in VERBS.items() if service in verb.services]
    assert ("AUTH" in named) is (service is Service.SUBMISSION)
    assert ("LHLO" in named) is (service is Service.LMTP)


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("service", Service)
def test_what_is_not_served_is_unknown(service: Service, name: str) -> None:
    if service in VERBS[name].services:
        assert inspect.isfunction(VERBS[name].run)
    else:
        assert Talk(service).codes(name.encode() + b"\r\n") == ["500 5.5.1"]
