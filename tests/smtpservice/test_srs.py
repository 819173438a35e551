"""Reverse-paths of forwarded mail: rewritten, restored, forged, grown old, and rewritten by others before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpservice.srs import ADDRESS_OCTETS, VALID_DAYS, Srs

SRS = Srs(b"a key")
DAY = 20_000


def local_part_of(address: str) -> str:
    local_part, _, domain = address.rpartition("@")
    assert domain == "maison.mrs"
    return local_part


def test_a_sender_is_rewritten_and_restored() -> None:
    made = SRS.rewrite("Anna.B@Example.org", domain="maison.mrs", day=DAY)
    assert made.startswith("SRS0=")
    assert made.endswith("=Example.org=Anna.B@maison.mrs")
    assert SRS.restore(local_part_of(made), day=DAY) == "Anna.B@Example.org"


def test_rfc_5321_4_5_3_1_3_what_would_be_too_long_stays() -> None:
    longest = f"{'a' * 64}@{'b' * (ADDRESS_OCTETS - 64 - len('SRS0=12345678=12==@maison.mrs'))}"
    made = SRS.rewrite(longest, domain="maison.mrs", day=DAY)
    assert len(made) == ADDRESS_OCTETS
    assert SRS.restore(local_part_of(made), day=DAY) == longest
    for sender in (f"a{longest}", f"é{longest[1:]}"):
        assert SRS.rewrite(sender, domain="maison.mrs", day=DAY) == sender


def test_rfc_5321_4_5_5_the_null_path_stays() -> None:
    assert SRS.rewrite("", domain="maison.mrs", day=DAY) == ""


@given(
    local_part=st.from_regex(r"[a-z0-9=+.!#$%&'*/?^_`{|}~-]{1,30}", fullmatch=True),
    host=st.from_regex(r"[a-z0-9-]{1,9}\.[a-z]{2,5}", fullmatch=True),
    age=st.integers(0, VALID_DAYS),
    day=st.integers(0, 100_000),
)
def test_any_sender_comes_back(local_part: str, host: str, age: int, day: int) -> None:
    made = SRS.rewrite(f"{local_part}@{host}", domain="maison.mrs", day=day)
    assert SRS.restore(local_part_of(made), day=day + age) == f"{local_part}@{host}"


def test_the_case_of_a_local_part_may_change_on_the_way() -> None:
    made = local_part_of(SRS.rewrite("anna@example.org", domain="maison.mrs", day=DAY))
    assert SRS.restore(made.upper(), day=DAY) == "ANNA@EXAMPLE.ORG"
    assert SRS.restore(made.lower(), day=DAY) == "anna@example.org"


def test_it_can_be_answered_for_three_weeks() -> None:
    made = local_part_of(SRS.rewrite("anna@example.org", domain="maison.mrs", day=DAY))
    assert SRS.restore(made, day=DAY + VALID_DAYS) is not None
    assert SRS.restore(made, day=DAY + VALID_DAYS + 1) is None
    assert SRS.restore(made, day=DAY - 1) is None  # of days to come


def test_what_we_did_not_make_leads_nowhere() -> None:
    made = local_part_of(SRS.rewrite("anna@example.org", domain="maison.mrs", day=DAY))
    assert Srs(b"another key").restore(made, day=DAY) is None
    forged = [
        made.replace("anna", "victim"),
        made.replace("example.org", "victim.org"),
        made.replace("SRS0", "SRS1"),
        "SRS0=aaaaaaaa=aa=example.org=anna",
        "SRS0==aa=example.org=anna",
        "SRS0=é=aa=example.org=anna",
        "SRS0=aaaaaaaa=éé=example.org=anna",
        "SRS1=aaaaaaaa=example.org==x=yy=other.org=anna",
        "SRS0",
        "SRS0=",
        "SRS1=",
        "anna",
        "",
    ]
    assert [SRS.restore(each, day=DAY) for each in forged] == [None] * len(forged)


@pytest.mark.parametrize("separator", ["=", "+", "-"])
def test_a_sender_that_others_rewrote_before_keeps_their_address_in_it(separator: str) -> None:
    first = f"SRS0{separator}HHHH=TT=example.org=anna@first.example"
    second = SRS.rewrite(first, domain="maison.mrs", day=DAY)
    assert second.startswith("SRS1=")
    assert SRS.restore(local_part_of(second), day=DAY) == first
    # The third forwarder does not make it any longer: SRS1 always names the first.
    third = Srs(b"theirs").rewrite(second.replace("maison.mrs", "second.example"), domain="maison.mrs", day=DAY)
    assert len(third) == len(second)
    assert Srs(b"theirs").restore(local_part_of(third), day=DAY) == first
