"""mailstore.charsets: what a message names as its charset is looked up only if it is one."""

import encodings
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstore.charsets import decode
from mailstore.envelope import read_envelope


@pytest.fixture
def remembered() -> dict[str, object]:
    """The names that Python has been asked for."""
    cache: dict[str, object] = vars(encodings)["_cache"]
    return cache


@pytest.mark.parametrize(
    "charset",
    ["utf-8", "UTF-8", "utf_8", "us-ascii", "ISO-8859-1", "iso-8859-15", "latin1", "windows-1252", "cp1252", "koi8-r",
     "KOI8-U", "gb2312", "gb18030", "big5", "shift_jis", "iso-2022-jp", "euc-kr", "ks_c_5601-1987", "macintosh",
     "windows-1258", "cp874", "tis-620", "ansi_x3.4-1968", "utf-7", "utf-16le", "hz-gb-2312"],
)  # fmt: skip
def test_charsets_of_mail_are_known_however_they_are_written(charset: str) -> None:
    assert decode(b"abcd", charset) == b"abcd".decode(charset, "replace")


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "unicode-escape", "base64", "rot13", "zlib", "nobody-knows", ""]
)
def test_what_is_no_charset_is_not_looked_up(charset: str) -> None:
    with pytest.raises(LookupError):
        decode(b"a-b", charset)


@given(st.text(), st.binary())
def test_any_name_is_a_charset_or_none(charset: str, octets: bytes) -> None:
    with suppress(LookupError):
        assert isinstance(decode(octets, charset), str)


def test_names_that_nobody_knows_leave_nothing_in_memory(remembered: dict[str, object]) -> None:
    """Else a sender fills the memory of a worker, with hundreds of names in each subject."""
    read_envelope(b"Subject: =?utf-8?q?a?=\r\n")
    before = len(remembered)
    words = b"\r\n ".join(b"=?unknown-%d?q?a?= b =?utf%s8?q?a?=" % (number, b"-" * number) for number in range(1, 50))
    read_envelope(b"Subject: " + words + b"\r\n")
    assert len(remembered) == before
