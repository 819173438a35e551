"""mailstore.ascii_fields: each kind of header field in ASCII (RFC 6857, 3)."""

import email
import email.policy
import time
from email.header import decode_header, make_header

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.ascii_fields import ascii_field
from mailstore.envelope import decode_words


@pytest.mark.parametrize(
    ("field", "said"),
    [
        pytest.param("Subject: Re: café noir", "Subject: Re: =?utf-8?q?caf=C3=A9?= noir", id="3.1.1 unstructured"),
        pytest.param("Subject:é", "Subject: =?utf-8?q?=C3=A9?=", id="3.1.1 without a blank"),
        pytest.param("X-Anything: é ü a", "X-Anything: =?utf-8?b?w6kgw7w=?= a", id="3.2 a field that nobody knows"),
        pytest.param("Keywords: a, é b", "Keywords: a, =?utf-8?q?=C3=A9_b?=", id="3.1.2 words"),
        pytest.param("Date: Mon (é)", "Date: Mon (=?utf-8?q?=C3=A9?=)", id="3.1.3 comments"),
        pytest.param("Date: Mon (a (é) b)", "Date: Mon (a =?utf-8?b?KMOpKQ==?= b)", id="3.1.3 a comment in one"),
        pytest.param(
            'Content-Disposition: attachment; filename="é \\"a\\".pdf"; size=3',
            "Content-Disposition: attachment; filename*=utf-8''%C3%A9%20%22a%22.pdf;\r\n size=3",
            id="3.1.4 parameters",
        ),
        pytest.param("Content-Type: text/é; é", "Content-Type: text/%C3%A9; %C3%A9", id="3.1.4 none at all"),
        pytest.param("Content-Type: a/b; x*=é", "Content-Type: a/b; x*=%C3%A9", id="3.1.4 half encoded"),
        pytest.param(
            'From: "Zoë, Z." <zoe@maison.mrs> (é)',
            "From: =?utf-8?b?Wm/DqywgWi4=?= <zoe@maison.mrs> (=?utf-8?q?=C3=A9?=)",
            id="3.1.5 display name",
        ),
        pytest.param("To: Amis é: a@b, c@d;", "To: =?utf-8?q?Amis_=C3=A9?=: a@b, c@d;", id="3.1.6 name of a group"),
        pytest.param("To: A: zoë@b, c@d;, e@f", "To: A =?utf-8?b?IHpvw6tAYiwgY0Bk?= :;, e@f", id="3.1.6 group"),
        pytest.param("To: A: zoë@b", "To: A =?utf-8?q?_zo=C3=AB=40b?= :;", id="3.1.6 group without end"),
        pytest.param(
            "From: Zoë <zoë@maison.mrs>, a@b",
            "From: =?utf-8?q?Zo=C3=AB?= =?utf-8?q?_zo=C3=AB=40maison=2Emrs?= :;, a@b",
            id="3.1.7 mailbox",
        ),
        pytest.param("Return-Path: <zoë@x>", "Return-Path: =?utf-8?q?zo=C3=AB=40x?= :;", id="3.1.7 path"),
        pytest.param("To: jules@münchen.example", "To: jules@xn--mnchen-3ya.example", id="3.1.7 domain"),
        pytest.param("To: a@\u200b\u0301.x", "To: =?utf-8?b?YUDigIvMgS54?= :;", id="3.1.7 domain that is none"),
        pytest.param("Message-ID: <é@x>", "Downgraded-Message-ID: =?utf-8?b?PMOpQHg+?=", id="3.1.10 message-id"),
        pytest.param("References: <a@x> (é)", "References: <a@x> (=?utf-8?q?=C3=A9?=)", id="3.2 comment of a message-id"),
        pytest.param(
            "Received: from münchen.example by b for <zoë@x>; Mon (é)",
            "Received: from xn--mnchen-3ya.example by b; Mon (=?utf-8?q?=C3=A9?=)",
            id="3.2 Received",
        ),
        pytest.param("no field é at all", "no field =?utf-8?q?=C3=A9?= at all", id="no field"),
        pytest.param("é: a", "=?utf-8?b?w6k6?= a", id="no name of a field"),
        pytest.param("To: <é", "To: =?utf-8?q?=C3=A9?= :;", id="no address"),
        pytest.param("X: =?utf-8?q?a?= é =?utf-8?q?b?=", "X: =?utf-8?q?a?= =?utf-8?q?_=C3=A9_?= =?utf-8?q?b?=", id="between encoded words"),
    ],
)  # fmt: skip
def test_rfc_6857_3_each_kind_of_field(field: str, said: str) -> None:
    assert ascii_field(field) == said


@pytest.mark.parametrize("name", ["Résumé, naïve.pdf", "日本語の長い名前" * 10 + ".txt", "é" * 200])
def test_rfc_2231_pythons_own_parser_reads_the_parameters(name: str) -> None:
    field = ascii_field(f'Content-Disposition: attachment; filename="{name}"')
    parsed = email.message_from_string(field + "\n\n", policy=email.policy.default)
    assert parsed.get_filename() == name
    assert max(map(len, field.split("\r\n"))) <= 76


text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


@settings(max_examples=200, deadline=None)
@given(text)
def test_rfc_2047_free_text_can_be_read_again(value: str) -> None:
    said = ascii_field(f"Subject: {value}é")
    assert said.isascii()
    if "=?" not in value:
        unfolded = said.replace("\r\n", "").removeprefix("Subject: ")
        shown = decode_words(unfolded)
        assert shown.split() == f"{value}é".split()
    for line in said.split("\r\n"):
        assert all(len(word) <= 75 for word in line.split() if word.startswith("=?utf-8?"))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["From", "To", "Received", "Content-Type", "Message-ID", "Keywords", "Date", "X"]), text)
def test_any_field_becomes_one_field_in_ascii(name: str, value: str) -> None:
    said = ascii_field(f"{name}: {value}é")
    assert said.isascii()
    assert said.removeprefix("Downgraded-").startswith(f"{name}:")
    first, *more = said.split("\r\n")
    assert all(line[:1] in (" ", "\t") and line.strip(" \t") for line in more)
    assert "\r" not in first


@settings(max_examples=100, deadline=None)
@given(st.text('a"(),:;<>@[]\\é. ='))
def test_any_structure_becomes_ascii(value: str) -> None:
    for name in ("From", "Received", "Content-Type", "Keywords", "Date"):
        assert ascii_field(f"{name}: é {value}").isascii()


def test_a_name_is_shown_as_it_was() -> None:
    said = ascii_field("From: Zoë Müller <zoe@maison.mrs>")
    encoded = said.removeprefix("From: ").partition(" <")[0]
    assert str(make_header(decode_header(encoded))) == "Zoë Müller"


@pytest.mark.parametrize(
    "unit", ["(", '"', "<", "\\", " ", " \t", " é", "a@b,", " for", " for ", " for <", " for\t<é", "=?"]
)
@pytest.mark.parametrize("name", ["To", "Received", "Content-Type", "Subject", "Keywords", "References"])
def test_a_large_field_takes_no_time(name: str, unit: str) -> None:
    """A message may bring many, and whoever stores or sends it waits."""
    value = unit * (60_000 // len(unit.encode()))
    began = time.process_time()
    assert ascii_field(f"{name}: é{value}é").isascii()
    assert time.process_time() - began < 2
