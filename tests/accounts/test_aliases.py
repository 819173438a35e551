"""Aliases: how a list of addresses is written and kept, what a wildcard stands for, and what cannot be an alias."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from accounts.aliases import (
    MAX_TARGETS,
    best_pattern,
    normal_targets,
    targets_of,
    validate_pattern,
    validate_targets,
    what_it_stands_for,
)
from accounts.models import Alias, Domain
from accounts.services import create_account, create_alias, create_domain, create_mailbox


def test_a_list_is_kept_an_address_a_line() -> None:
    assert normal_targets(" Anna@X.org, bert@y.org;\r\nAnna@x.ORG\n\n") == "Anna@x.org\nbert@y.org"
    assert targets_of("a@x.org\nb@y.org") == ["a@x.org", "b@y.org"]
    assert normal_targets(" \n") == ""


@pytest.mark.parametrize("text", ["anna", "anna@", "@x.org", "a b@x.org", "a@x..org", "a@b@x.org", "a@x.org\n|/bin/sh"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ValidationError):
        validate_targets(text)


def test_a_list_has_an_end() -> None:
    many = [f"a{number}@x.org" for number in range(MAX_TARGETS)]
    validate_targets("\n".join(many))
    with pytest.raises(ValidationError):
        validate_targets("\n".join([*many, "b@x.org"]))


@pytest.mark.parametrize("value", ["info", "*", "info-*", "*-bounces", "a*z", "info.*", "*.info"])
def test_patterns(value: str) -> None:
    validate_pattern(value)


@pytest.mark.parametrize("value", ["", "**", "*a*", "a b", "a@b", "é b", ".a", "x" * 65])
def test_what_is_no_pattern(value: str) -> None:
    with pytest.raises(ValidationError):
        validate_pattern(value)


NAMES = st.text(alphabet="ab.-", max_size=8)


@given(before=NAMES, between=NAMES, after=NAMES)
def test_a_wildcard_stands_for_what_is_between(before: str, between: str, after: str) -> None:
    assert what_it_stands_for(f"{before}*{after}", f"{before}{between}{after}") == between


def test_what_does_not_fit() -> None:
    assert what_it_stands_for("aa*aa", "aaa") is None
    assert what_it_stands_for("info-*", "inf-x") is None


def test_the_pattern_that_says_most_is_taken() -> None:
    patterns = ["*", "info-*", "info-x*", "*-end"]
    assert best_pattern(patterns, "info-xyz") == "info-x*"
    assert best_pattern(patterns, "info-abc") == "info-*"
    assert best_pattern(patterns, "abc") == "*"
    assert best_pattern(["info-*"], "abc") is None


@pytest.fixture
def domain(db: None) -> Domain:
    return create_domain(name="maison.mrs")


def test_an_alias_is_stored_in_one_spelling(domain: Domain) -> None:
    alias = create_alias(domain=domain, local_part="Info", targets="A@X.org\nb@y.org", note="the front desk")
    alias.refresh_from_db()
    assert (alias.address, alias.targets, alias.is_wildcard) == ("info@maison.mrs", "A@x.org\nb@y.org", False)
    assert create_alias(domain=domain, local_part="*", targets="a@x.org").is_wildcard


def test_an_address_is_a_mailbox_or_an_alias(domain: Domain) -> None:
    user = create_account(username="anna", password="x")
    create_alias(domain=domain, local_part="info", targets="anna@maison.mrs")
    with pytest.raises(ValidationError, match="There is a mailbox"):
        create_alias(domain=domain, local_part="ANNA", targets="bert@x.org")
    with pytest.raises(ValidationError, match="There is an alias"):
        create_mailbox(user=user, domain=domain, local_part="info")
    with pytest.raises(ValidationError):
        create_alias(domain=domain, local_part="info", targets="bert@x.org")


def test_what_leads_nowhere_is_refused(domain: Domain) -> None:
    for targets in ("", " \n"):
        with pytest.raises(ValidationError):
            create_alias(domain=domain, local_part="info", targets=targets)
    with pytest.raises(IntegrityError, match="accounts_alias_leads_somewhere"), transaction.atomic():
        Alias.objects.create(domain=domain, local_part="info", targets="")


def test_a_wildcard_among_the_targets_stands_for_something(domain: Domain) -> None:
    create_alias(domain=domain, local_part="*", targets="*@x.org")
    with pytest.raises(ValidationError, match="could stand for"):
        create_alias(domain=domain, local_part="info", targets="*@x.org")
