"""A stored message as text: whatever it is made of, something readable, bounded, and never an exception."""

import random
import time
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailplatform.admin.reading import READ_OCTETS, SHOWN_ATTACHMENTS, SHOWN_CHARACTERS, Readable, read
from tests.messages import all_messages


def read_whole(message: bytes) -> Readable:
    return read([message])


def is_one_line(text: str) -> bool:
    """Whether a page and a terminal show it on one line, in the order in which it is written."""
    turning = ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI")
    return not any(
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(letter) in turning
        for letter in text
    )


def fields_of(message: bytes) -> dict[str, str]:
    return dict(read_whole(message).fields)


def test_text_and_fields_are_decoded() -> None:
    found = read_whole(
        b"Subject: =?utf-8?q?D=C3=A9jeuner?= =?iso-8859-1?q?_=E0_midi?=\r\nFrom: Jules <jules@maison.mrs>\r\nTo: a@b\r\n"
        b"X-Other: no\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n\xc0 =E9t=E9\r\n"
    )
    assert found.fields == [("From", "Jules <jules@maison.mrs>"), ("To", "a@b"), ("Subject", "Déjeuner à midi")]
    assert found.text.split() == ["À", "été"]
    assert (found.is_markup, found.is_cut, found.attachments) == (False, False, [])


def test_the_plain_text_is_shown_where_there_is_one_too() -> None:
    found = read_whole(
        b'Content-Type: multipart/alternative; boundary="x"\r\n\r\n'
        b"--x\r\nContent-Type: text/html\r\n\r\n<b>marked up</b>\r\n"
        b"--x\r\nContent-Type: text/plain\r\n\r\nplain\r\n--x--\r\n"
    )
    assert (found.text.strip(), found.is_markup) == ("plain", False)


def test_html_alone_is_shown_as_its_source() -> None:
    found = read_whole(b"Content-Type: text/html\r\n\r\n<script>alert(1)</script>\r\n")
    assert (found.text.strip(), found.is_markup) == ("<script>alert(1)</script>", True)


def test_attachments_are_named_with_their_kind() -> None:
    found = read_whole(
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n'
        b"--x\r\n\r\nhello\r\n"
        b"--x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=notes.txt\r\n\r\nno text\r\n"
        b"--x\r\nContent-Type: text/csv; name*=utf-8''%C3%A9t%C3%A9.csv\r\n\r\n1,2\r\n"
        b"--x\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--x--\r\n"
    )
    assert found.text.strip() == "hello"
    assert found.attachments == ["notes.txt (text/plain)", "été.csv (text/csv)", "- (application/pdf)"]


@pytest.mark.parametrize(
    "charset",
    [b"klingon", b"utf-16", b"\xff", b"x" * 500, b"idna", b"base64", b"rot13", b"unicode_escape", b"undefined"],
)
def test_a_character_set_that_is_none_does_no_harm(charset: bytes) -> None:
    found = read_whole(b"Content-Type: text/plain; charset=" + charset + b"\r\n\r\nodd\xff\r\n")
    assert isinstance(found.text, str)
    found.text.encode()


def test_what_is_repeated_is_shown_each_time_as_received() -> None:
    assert read_whole(b"From: a\r\nFrom: b\r\n\r\n").fields == [("From", "a"), ("From", "b")]


def test_no_control_character_reaches_a_field_and_no_bidi_override_hides_a_name() -> None:
    fields = fields_of(b"Subject: a\0b\x07c\x1b[31md\r\nFrom: =?utf-8?b?4oCuZ3Bq?= \xc2\x9b<x@y>\r\n\r\n")
    assert is_one_line(fields["Subject"])
    assert is_one_line(fields["From"])
    assert "gpj" in fields["From"]


def test_text_keeps_its_lines_and_loses_what_no_page_may_hold() -> None:
    text = read_whole(b"Subject: x\r\n\r\none\r\n\ttwo\x00\x08\x1b[2J\r\n").text
    assert text.splitlines()[0] == "one"
    assert not {"\0", "\x08", "\x1b"} & set(text)
    assert "\ttwo" in text


def test_a_name_may_join_letters() -> None:
    family = "\N{MAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
    assert fields_of(f"Subject: {family}\r\n\r\n".encode())["Subject"] == family


def test_a_name_of_an_attachment_is_one_printable_line() -> None:
    (shown,) = read_whole(
        b'Content-Type: application/pdf; name="a\x00\x1b\xe2\x80\xaefdp.exe"\r\n\r\nx\r\n'
    ).attachments
    assert is_one_line(shown)


def test_eight_bits_in_a_field_are_taken_for_utf8() -> None:
    assert fields_of("Subject: Déjeuner\r\n\r\n".encode())["Subject"] == "Déjeuner"
    assert fields_of(b"Subject: D\xe9jeuner\r\n\r\n")["Subject"] == "D\N{REPLACEMENT CHARACTER}jeuner"


def test_only_the_beginning_is_read() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b"Subject: long\r\n\r\n"
        while True:
            taken += 1
            yield b"x" * 65_536

    found = read(endless())
    assert found.is_cut
    assert len(found.text) <= READ_OCTETS
    assert taken <= READ_OCTETS // 65_536 + 1


def test_a_field_and_a_list_of_attachments_have_an_end() -> None:
    part = b"--x\r\nContent-Type: image/png\r\n\r\n\r\n"
    found = read_whole(
        b"Subject: "
        + b"long " * 50_000
        + b'\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n'
        + part * 1000
        + b"--x--\r\n"
    )
    assert len(dict(found.fields)["Subject"]) <= SHOWN_CHARACTERS
    assert len(found.attachments) == SHOWN_ATTACHMENTS
    assert found.is_cut


@pytest.mark.parametrize("name", sorted(all_messages()))
def test_every_message_of_the_tests_is_shown(name: str) -> None:
    found = read_whole(all_messages()[name])
    found.text.encode()
    assert all(key and is_one_line(value) for key, value in found.fields)
    assert all(is_one_line(shown) for shown in found.attachments)


def test_nesting_without_end_is_no_error() -> None:
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(2000))
    assert isinstance(read_whole(deep + b"\r\nthe end\r\n").text, str)


def nested(levels: int, inside: bytes) -> bytes:
    """`inside` in so many parts of parts."""
    heads = [
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(levels)
    ]
    return b"".join(heads) + inside


def test_parts_of_parts_are_looked_for_as_deep_as_any_mail_program_makes_them() -> None:
    part = b"Content-Type: text/plain\r\n\r\nhere\r\n"
    assert read_whole(nested(10, part)).text == "here"
    deeper = read_whole(nested(100, part))
    assert (deeper.text, deeper.attachments) == ("", ["- (multipart/mixed)"])


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(nested(900, b"\r\n" * 200_000), id="parts of parts"),
        pytest.param(b"Content-Type: message/rfc822\r\n\r\n" * 300 + b"\r\n" * 200_000, id="messages in messages"),
        pytest.param(b'Content-Type: text/plain; a="' + b";" * 400_000, id="a parameter"),
        pytest.param(b"Content-Type: text/plain; a=" + b'\\";' * 130_000, id="many parameters"),
        pytest.param(b"Content-Type: text/plain; charset=punycode\r\n\r\n-" + b"a" * 400_000, id="a charset"),
        pytest.param(b"Subject: " + b"=?utf-8?q?a?= " * 30_000, id="encoded words"),
    ],
)
def test_a_message_made_to_take_long_does_not(message: bytes) -> None:
    began = time.process_time()
    read_whole(message)
    assert time.process_time() - began < 10


_TOKENS = [
    b"Content-Type: ", b"multipart/mixed; boundary=x", b"text/plain", b"text/html; charset=", b"message/rfc822", b"--x", b"--x--",
    b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"x-uuencode", b"begin 644 a\r\n", b"=?utf-8?b?", b"?=",
    b"Content-Disposition: attachment; filename*0*=", b"\r\n", b"\r\n", b"\r\n\r\n", b"\0", b"\xff", b"=", b"\"", b"From: ",
    b"Subject: ", b"Message-ID: ", b"utf-7", b"hz", b"<", b">", b"[", b" ",
]  # fmt: skip


@given(st.lists(st.sampled_from(_TOKENS) | st.binary(max_size=8), max_size=40))
def test_nothing_that_arrives_is_an_exception(parts: list[bytes]) -> None:
    found = read_whole(b"".join(parts))
    found.text.encode()
    assert all(is_one_line(value) for _name, value in found.fields)
    assert all(is_one_line(shown) for shown in found.attachments)


def test_a_large_message_of_noise_is_shown_at_once() -> None:
    noise = random.Random(1).randbytes(READ_OCTETS)
    assert read([b"Subject: x\r\n\r\n", noise]).text
