"""The table of accounts: cells that no spreadsheet carries out, in as many queries as there are pages of users."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.importing import _cell
from accounts.models import Mailbox, User
from mailplatform.admin import exporting
from mailplatform.admin.exporting import COLUMNS, safe_cell, table
from tests.mailplatform.admin.people import make_many


@pytest.mark.parametrize(
    "formula",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")', "=cmd|' /C calc'!A0", "'=1", "''+1"],
)
def test_a_formula_is_text_in_the_file_and_itself_again_after(formula: str) -> None:
    cell = safe_cell(formula)
    assert cell == f"'{formula}"
    assert _cell("first_name", cell) == formula


@pytest.mark.parametrize("text", ["", "Anna", "d'Arc", "'quoted'", "1-1", "a=b", " =1", "o'-", "12"])
def test_other_text_is_left_alone(text: str) -> None:
    assert safe_cell(text) == text


@given(st.text("=+-@\t\r' a1", max_size=8))
def test_no_cell_begins_as_a_formula_and_each_is_read_back(text: str) -> None:
    cell = safe_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert _cell("first_name", cell) == text.strip() or text != text.strip()


def test_names_and_addresses_are_made_safe_in_the_table(mailbox: Mailbox) -> None:
    User.objects.filter(pk=mailbox.user_id).update(username="-anna", first_name="=1+1", last_name="@x", email="+y@z")
    Mailbox.objects.filter(pk=mailbox.pk).update(address="=cmd|x@maison.mrs")
    header, row = csv.reader(table())
    assert tuple(header) == COLUMNS
    assert [row[header.index(name)] for name in ("username", "address", "first_name", "last_name", "email")] == [
        "'-anna", "'=cmd|x@maison.mrs", "'=1+1", "'@x", "'+y@z",
    ]  # fmt: skip


def test_a_user_without_a_mailbox_has_a_row(mailbox: Mailbox) -> None:
    Mailbox.objects.all().delete()
    assert [row[:3] for row in csv.reader(table())][1:] == [["anna", "", "yes"]]


def test_the_table_is_made_page_by_page(
    db: None, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_many(25)
    monkeypatch.setattr(exporting, "_AT_ONCE", 10)
    with django_assert_num_queries(3 * 2 + 1):
        names = [row.partition(",")[0] for row in table()][1:]
    assert names == [f"many{10_000 + number}" for number in range(25)]
