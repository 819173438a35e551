"""A date that mail writes is a moment in UTC, or none; never an error."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.dates import names_date, read_date, read_timestamp

NINE = datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 23 Nov 2026 10:00:05 +0100",
        "  Mon, 23 Nov 2026 10:00:05 +0100 (CET) ",
        "23 Nov 2026 09:00:05 GMT",
        "23 Nov 2026 04:00:05 EST",
        "23 Nov 2026 09:00:05 -0000",
        "Mon Nov 23 09:00:05 2026",
        "Monday, 23-Nov-26 09:00:05 UT",
    ],
)
def test_every_form_that_mail_has_had_is_read(text: str) -> None:
    assert read_date(text) == NINE


def test_a_date_without_a_zone_or_seconds_is_read_as_far_as_it_goes() -> None:
    assert read_date("23 Nov 2026 09:00") == NINE.replace(second=0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Mon, 99 Nov 2026",
        "1 Jan 99999 00:00:00 +2300",
        "1 Jan 2026 25:00:00",
        "1 Jan 2026 1:0:0 +9999",
    ],
)
def test_what_names_no_moment_is_none(text: str) -> None:
    assert read_date(text) is None


@pytest.mark.parametrize(
    "text", ["Wed Dec 31 19:00:00 1969", "Mon Nov 23 24:00:60 2026", "Mon, 99 Nov 2026 1:2:3 +9999"]
)
def test_what_is_written_as_a_date_is_told_from_text(text: str) -> None:
    assert names_date(text)
    assert read_date(text) is None
    assert not names_date("Mon Nov 23 at nine we meet")


def test_what_no_mail_can_be_as_old_as_is_none() -> None:
    assert read_date("1 Jan 1970 00:00:00 +0000") == datetime(1970, 1, 1, tzinfo=UTC)
    assert read_date("1 Jan 1970 00:00:00 +0100") is None
    assert read_date("1 Jan 1904 00:00:00 +0000") is None


def test_a_moment_that_some_time_zone_could_not_show_is_none() -> None:
    """It would break every page that shows it."""
    for text in ("31 Dec 9999 23:59:59 -0100", "31 Dec 9999 23:59:59 +0000", "1 Jan 9999 00:00:00 +0000"):
        assert read_date(text) is None
    assert read_date("31 Dec 9998 23:59:59 +0000") == datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert read_timestamp(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) is None
    assert read_timestamp(-1e10) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["Mon,", "23", "Nov", "2026", "10:00:05", "+0100", "-9999", "(", ")", ":", "é", "\0", "9" * 30])
    )
    .map(" ".join)
    .flatmap(lambda text: st.just(text) | st.text().map(lambda more: text + more))
)
def test_no_text_is_an_error(text: str) -> None:
    date = read_date(text)
    assert date is None or (date.tzinfo is UTC and date.year >= 1970 and names_date(text))


def test_a_timestamp_is_a_moment_where_it_is_in_reach() -> None:
    assert read_timestamp(NINE.timestamp() + 0.25) == NINE.replace(microsecond=250_000)
    assert read_timestamp(1e30) is None
    assert read_timestamp(float("inf")) is None
    assert read_timestamp(float("nan")) is None
