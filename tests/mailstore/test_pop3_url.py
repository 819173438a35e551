"""Accounts on a command line."""

import pytest

from mailstore.pop3_url import Pop3Url, is_pop3_url, parse_pop3_url


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("pop3s://charles@pop.example.org", Pop3Url("charles", "pop.example.org", 995, True)),
        (
            "POP3://charles@example.org@Pop.Example.org:1110/",
            Pop3Url("charles@example.org", "pop.example.org", 1110, False),
        ),
        ("pop3://a%3Ab%40c@[2001:db8::1]", Pop3Url("a:b@c", "2001:db8::1", 110, False)),
    ],
)
def test_what_they_say(text: str, account: Pop3Url) -> None:
    assert is_pop3_url(text)
    assert parse_pop3_url(text) == account


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pop3s://pop.example.org", "LOGIN@HOST"),
        ("pop3s://charles@", "LOGIN@HOST"),
        ("imap://charles@x", "LOGIN@HOST"),
        ("pop3s://charles@x/folder", "LOGIN@HOST"),
        ("pop3s://charles:secret@x", "command line"),
        ("pop3s://charles@x:99999", "port"),
        ("pop3s://a%0D%0ADELE@x", "line ends"),
    ],
)
def test_what_they_are_not(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        parse_pop3_url(text)
    assert "secret" not in str(error.value)


def test_a_path_is_none() -> None:
    assert not is_pop3_url("pop3s.mbox")
    assert not is_pop3_url("/var/mail/x")
