"""Whom mail is from, however oddly that is written."""

import time

import pytest

from smtpservice import authors
from smtpservice.authors import addresses_in, from_fields


def test_each_from_counts_and_is_unfolded() -> None:
    header = b"From: Anna\r\n <anna@x.example>\r\nTo: b@y.example\r\nFROM : c@z.example\r\nFrom-x: d@z.example\r\n\r\n"
    assert from_fields(header) == [" Anna <anna@x.example>", " c@z.example"]
    assert addresses_in(from_fields(header)) == ["anna@x.example", "c@z.example"]


@pytest.mark.parametrize("odd", ["(" * 2000 + ")" * 2000, "a:" * 2000])
def test_what_is_nested_too_deep_still_names_somebody(odd: str) -> None:
    assert "anna@x.example" in addresses_in([f'{odd} "Anna" <anna@x.example>, (b@y.example)'])


def test_where_there_is_no_address_what_looks_like_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses_in(['"a@x.example" <>', "<>", "undisclosed"]) == [
        "a@x.example",
        "",
        "undisclosed",
    ]
    # So does Python from 3.11.10 on answer what it is not sure of.
    monkeypatch.setattr(authors, "getaddresses", lambda fields: [("", "")])
    assert addresses_in(["a@x.example (", "Bert <b@x.example>, ("]) == ["a@x.example", "b@x.example"]


@pytest.mark.parametrize(
    "open_end", ["a@x.example (", '"a', "<a@x.example", "a:", "[", "a@x.example,", "(" * 5000, "\\"]
)
def test_what_is_left_open_in_one_field_hides_nothing_of_the_next(open_end: str) -> None:
    assert addresses_in([open_end, "c@z.example"])[-1] == "c@z.example"


@pytest.mark.parametrize("long", ["a" * 64_000, "\\" * 64_000, "a:" + "b," * 32_000, "a:" * 300 + "<" * 64_000])
def test_what_is_as_long_as_a_header_may_be_is_read_in_a_moment(long: str) -> None:
    begun = time.process_time()
    assert addresses_in([f"{long}, anna@x.example"])[-1] == "anna@x.example"
    assert time.process_time() - begun < 1
