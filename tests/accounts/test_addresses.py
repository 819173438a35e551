"""Which names mailboxes and domains may have, and how they are spelt."""

import pytest
from django.core.exceptions import ValidationError

from accounts.addresses import (
    normal_address,
    normal_domain,
    normal_login,
    normal_spelling,
    shown_domain,
    validate_domain_name,
    validate_local_part,
    written_address,
)


@pytest.mark.parametrize(
    "name", ["jules", "a.b", "A+tag", "o'neil", "x" * 64, "zoë", "Zoë.Müller+x", "用户", "παράδειγμα", "é" * 32]
)
def test_a_dot_string_is_a_local_part(name: str) -> None:
    validate_local_part(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".a",
        "a.",
        "a..b",
        "a b",
        "a@b",
        "a%b",
        '"a"',
        "a\n",
        "é" * 33,
        "x" * 65,
        "é@a",
        "é a",
        "é%a",
        "ﬁn",
        "\u00a0",
        "é\u200b",
        "é..a",
    ],
)
def test_anything_else_is_not(name: str) -> None:
    with pytest.raises(ValidationError):
        validate_local_part(name)


@pytest.mark.parametrize(
    "name", ["a", "maison.mrs", "Jules.MAISON.mrs", "xn--caf-dma.fr", "a-b.c", "münchen.example", "例え.jp", "ΕΛ.gr"]
)
def test_a_host_name_is_a_domain(name: str) -> None:
    validate_domain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a.b",
        "a-.b",
        "a..b",
        ".a",
        "a.",
        "a_b",
        "a b",
        "a\n",
        "x" * 64,
        "a." * 130,
        "é" * 63,
        "-é.a",
        "\u0301a.b",
        "é é",
    ],
)
def test_what_is_no_host_name_is_no_domain(name: str) -> None:
    with pytest.raises(ValidationError):
        validate_domain_name(name)


def test_addresses_have_one_spelling() -> None:
    assert normal_address("Jules", "Maison.MRS") == "jules@maison.mrs"


@pytest.mark.parametrize(
    ("login", "normal"),
    [
        ("Jules", "jules"),
        (" jules@maison.mrs ", "jules@maison.mrs"),
        ("jules%maison.mrs", "jules@maison.mrs"),
        ("a%b%c", "a%b@c"),
        ("a%b@c", "a%b@c"),
    ],
)
def test_a_percent_stands_for_the_at_sign(login: str, normal: str) -> None:
    assert normal_login(login) == normal


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Zoë@Maison.MRS", "zoë@maison.mrs"),
        ("zoe\u0308@maison.mrs", "zoë@maison.mrs"),
        ("jules@MÜNCHEN.example", "jules@xn--mnchen-3ya.example"),
        ("jules@mu\u0308nchen。example", "jules@xn--mnchen-3ya.example"),
        ("jules@xn--MNCHEN-3ya.example", "jules@xn--mnchen-3ya.example"),
        ("\uff2aules@maison.mrs", "jules@maison.mrs"),
        ("ΣΊΣΥΦΟΣ@ελ.gr", "σίσυφος@xn--qxam.gr"),
        ("\u200b\u0301@\u200b\u0301", "\u200b\u0301@\u200b\u0301"),
        ("zoë", "zoë"),
    ],
)
def test_rfc_6531_addresses_have_one_spelling_however_they_are_typed(written: str, normal: str) -> None:
    assert normal_spelling(written) == normal_login(written) == normal
    assert normal_spelling(normal) == normal
    assert normal_login(written.replace("@", "%")) == normal


def test_rfc_5890_a_domain_is_kept_in_a_labels_and_shown_in_u_labels() -> None:
    assert normal_domain("München.example") == "xn--mnchen-3ya.example"
    assert shown_domain("xn--mnchen-3ya.example") == "münchen.example"
    assert shown_domain("maison.mrs") == "maison.mrs"
    assert shown_domain("xn--\x7f.example") == "xn--\x7f.example"


@pytest.mark.parametrize(
    ("local_part", "written"),
    [
        ("jules", "jules"),
        ("julés.x", "julés.x"),
        ("a b", '"a b"'),
        ('a"\\', '"a\\"\\\\"'),
        ("a..b", '"a..b"'),
        ("", '""'),
        ("x@y.example> z", '"x@y.example> z"'),
        ('"a b"', '"a b"'),
        ('"a" b"', '"\\"a\\" b\\""'),
        ('"\\"', '"\\"\\\\\\""'),
    ],
)
def test_rfc_5321_4_1_2_an_address_is_written_with_the_quotes_that_it_needs(local_part: str, written: str) -> None:
    assert written_address(local_part, "x.org") == f"{written}@x.org"
