"""Sizes in and out: what people write is read exactly, and what is shown is read back as the same number."""

import contextlib

import pytest
from django import forms
from django.utils.translation import override
from hypothesis import given
from hypothesis import strategies as st

from mailplatform.admin.octets import OctetsField, exact, human, messages_and_size, parse


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("0", 0),
        ("500", 500),
        ("1 KB", 1024),
        ("1k", 1024),
        ("500 MB", 500 * 1024**2),
        ("  2 GB ", 2 * 1024**3),
        ("2 Go", 2 * 1024**3),
        ("2GiB", 2 * 1024**3),
        ("1.5 G", 3 * 1024**3 // 2),
        ("1,5 Mo", 3 * 1024**2 // 2),
        ("3 TB", 3 * 1024**4),
        ("7 B", 7),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, octets: int) -> None:
    assert parse(text) == octets


@pytest.mark.parametrize(
    "text",
    ["", "-1", "much", "1 2", "1e3", "MB", "1.2.3 MB", "9223372036854775808", "9999999 TB", "٣", "5 PB", "1.", "nan"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@given(st.integers(0, 2**63 - 1) | st.builds(lambda n, p: n * 1024**p, st.integers(0, 1000), st.integers(0, 4)))
def test_the_exact_text_is_read_back_as_it_was(octets: int) -> None:
    assert parse(exact(octets)) == octets


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= parse(text) < 2**63


def test_a_form_shows_a_quota_as_it_is_written() -> None:
    assert exact(500 * 1024**2) == "500 MB"
    assert exact(40_000) == "40000"
    assert exact(0) == "0"


class _Form(forms.Form):
    quota = OctetsField(label="Quota", required=False)


def test_the_field_takes_a_size_and_says_what_it_wants() -> None:
    form = _Form({"quota": "1,5 Go"})
    assert form.is_valid()
    assert form.cleaned_data["quota"] == 3 * 1024**3 // 2
    empty = _Form({"quota": ""})
    assert empty.is_valid()
    assert empty.cleaned_data["quota"] == 0
    wrong = _Form({"quota": "a lot"})
    assert wrong.errors == {"quota": ["Write a size such as 500 MB or 2 GB."]}
    assert "a lot" in str(wrong["quota"])


@pytest.mark.parametrize(
    ("initial", "written", "changed"),
    [
        (1024**2, "1 MB", False),
        (1024**2, "1024 KB", False),
        (1024**2, "2 MB", True),
        (1024**2, "x", True),
        (0, "", False),
    ],
)
def test_another_way_to_write_the_same_size_is_no_change(initial: int, written: str, *, changed: bool) -> None:
    assert OctetsField().has_changed(initial, written) is changed


def test_sizes_are_shown_in_the_readers_language() -> None:
    assert human(1536) == "1.5\xa0KB"
    assert messages_and_size(1, 0) == "1 message (0\xa0bytes)"
    with override("fr"):
        assert human(1536) == "1,5\xa0Kio"
