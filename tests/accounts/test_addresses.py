"""Which names mailboxes and domains may have, and how they are spelt."""

import pytest
from django.core.exceptions import ValidationError

from accounts.addresses import normal_address, normal_login, validate_domain_name, validate_local_part


@pytest.mark.parametrize("name", ["jules", "a.b", "A+tag", "o'neil", "x" * 64])
def test_a_dot_string_is_a_local_part(name: str) -> None:
    validate_local_part(name)


@pytest.mark.parametrize("name", ["", ".a", "a.", "a..b", "a b", "a@b", "a%b", '"a"', "a\n", "é", "x" * 65])
def test_anything_else_is_not(name: str) -> None:
    with pytest.raises(ValidationError):
        validate_local_part(name)


@pytest.mark.parametrize("name", ["a", "maison.mrs", "Jules.MAISON.mrs", "xn--caf-dma.fr", "a-b.c"])
def test_a_host_name_is_a_domain(name: str) -> None:
    validate_domain_name(name)


@pytest.mark.parametrize("name", ["", "-a.b", "a-.b", "a..b", ".a", "a.", "a_b", "a b", "a\n", "x" * 64, "a." * 130])
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
