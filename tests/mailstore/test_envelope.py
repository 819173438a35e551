"""The envelope of any header, however broken, is text that a table can hold."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.envelope import FIELD_CHARACTERS, EnvelopeFields, read_envelope


def test_the_four_fields_are_read_decoded_and_unfolded() -> None:
    header = (
        b"Received: from somewhere\r\n\tSubject: not this one\r\n"
        b"SUBJECT: =?utf-8?q?Caf=C3=A9?=\r\n =?utf-8?q?_cr=C3=A8me?=\r\n"
        b"From: Jules <jules@maison.mrs>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0100\r\n"
        b"Message-ID:\r\n <1@maison.mrs>\r\n\r\nSubject: in the body\r\n"
    )
    assert read_envelope(header) == EnvelopeFields(
        subject="Café crème",
        sender="Jules <jules@maison.mrs>",
        dated_at=datetime(2026, 11, 23, 9, tzinfo=UTC),
        message_id="<1@maison.mrs>",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Café".encode(), "Café"),
        ("Café".encode("latin-1"), "Café"),
        (b"=?nobody-knows?q?a?=", "=?nobody-knows?q?a?="),
        (b"=?utf-8?b?x?=", "=?utf-8?b?x?="),
        (b"=?utf-8?q?a=00b?=", "a b"),
        (b"a\0b", "a b"),
        ("=?utf-8?q?Caf=C3=A9?= 日本 \N{HORIZONTAL ELLIPSIS}".encode(), "Café 日本 \N{HORIZONTAL ELLIPSIS}"),
        (b"=?utf-8?q?a?= \\u0041", "a \\u0041"),
        (b"=?utf-8?q?a_?=\r\n =?UTF-8?B?YsOp?= c", "a bé c"),
        (b"x" * 9000, "x" * FIELD_CHARACTERS),
    ],
)
def test_a_subject_becomes_one_line_of_text(value: bytes, text: str) -> None:
    assert read_envelope(b"Subject: " + value + b"\r\n").subject == text


@pytest.mark.parametrize("value", [b"", b"yesterday", b"Mon, 99 Nov 2026", b"1 Jan 99999 00:00:00 +2300", b"\xff"])
def test_a_date_that_is_none_is_left_out(value: bytes) -> None:
    assert read_envelope(b"Date: " + value + b"\r\n").dated_at is None


def test_a_date_without_a_zone_is_in_utc() -> None:
    header = b"Date: 23 Nov 2026 10:00:00 -0000\r\n"
    assert read_envelope(header).dated_at == datetime(2026, 11, 23, 10, tzinfo=UTC)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"Subject", b"From", b"Date", b"Message-ID"]),
    st.lists(st.sampled_from([b"=?", b"?=", b"?q?", b"?b?", b"utf-8", b"\r\n ", b"\0", b"\xff", b"a", b"12", b":"])),
    st.binary(max_size=50),
)
def test_nothing_in_a_header_raises_or_leaves_what_a_column_cannot_hold(
    name: bytes, parts: list[bytes], rest: bytes
) -> None:
    fields = read_envelope(name + b": " + b"".join(parts) + rest)
    for text in (fields.subject, fields.sender, fields.message_id):
        assert len(text) <= FIELD_CHARACTERS
        assert "\0" not in text
        text.encode("utf-8")
