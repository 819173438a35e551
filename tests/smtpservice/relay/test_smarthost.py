"""RELAY_SMARTHOST as it is written."""

import pytest

from smtpservice.relay.smarthost import split_host


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
