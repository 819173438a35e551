"""Accounts in from a file and out to one, on the admin's page: a check that changes nothing, all rows or none."""

import csv
import io
import logging
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import importing
from accounts.models import Domain, Mailbox, User
from accounts.services import create_alias, create_domain
from mailplatform.admin import transfer
from tests.mailplatform.admin.people import browser_of, make_mailbox, staff, text_of

IMPORT, EXPORT = "/admin/accounts/user/import/", "/admin/accounts/user/export/"
SECRET = "korrekt pferd 17"
GOOD = f"username,password,domains,quota_octets\nbert,{SECRET},,\ncarl,,second.org sales@second.org,5000\n"
TO_IMPORT = ("accounts.add_user", "accounts.add_mailbox")
TO_EXPORT = ("accounts.view_user", "accounts.view_mailbox")


@pytest.fixture
def second(domain: Domain) -> Domain:
    return create_domain(name="second.org")


def send(browser: Client, content: str | bytes, *, button: str = "check", name: str = "list.csv") -> HttpResponse:
    data = content.encode() if isinstance(content, str) else content
    return browser.post(IMPORT, {"file": SimpleUploadedFile(name, data, "text/csv"), button: "1"})


def usernames() -> set[str]:
    return set(User.objects.values_list("username", flat=True))


# --- In -----------------------------------------------------------------------------------------------------


def test_a_check_says_what_the_file_would_do_and_does_nothing(browser: Client, second: Domain) -> None:
    shown = text_of(send(browser, GOOD).content)
    assert "The file is good: 2 accounts." in shown
    assert "bert bert@maison.mrs given" in shown
    assert "carl carl@second.org, sales@second.org none: no login until one is set" in shown
    assert SECRET not in shown
    assert usernames() == {"root"}
    assert not LogEntry.objects.exists()


def test_an_import_makes_the_accounts_and_says_so(
    browser: Client, second: Domain, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = send(browser, GOOD, button="import")
    assert (response.status_code, response["Location"]) == (302, "/admin/accounts/user/")
    assert "2 accounts imported." in text_of(browser.get(response["Location"]).content)
    bert, carl = User.objects.get(username="bert"), User.objects.get(username="carl")
    assert bert.check_password(SECRET)
    assert not carl.has_usable_password()
    assert list(Mailbox.objects.filter(user=carl).values_list("address", "quota_octets")) == [
        ("carl@second.org", 5000),
        ("sales@second.org", 5000),
    ]
    assert {(entry.object_repr, entry.get_change_message()) for entry in LogEntry.objects.all()} == {
        ("bert", "Imported from a file."),
        ("carl", "Imported from a file."),
    }
    assert SECRET not in caplog.text


def test_each_bad_line_is_named_with_its_fault_and_nothing_is_imported(browser: Client, second: Domain) -> None:
    make_mailbox("anna")
    content = (
        "username,password,domains,quota_octets,active\n"  # line 1
        "good,,,,\n"
        "anna,,second.org,,\n"
        "a b,,,,\n"
        "dora,,nowhere.example,,\n"
        "emil,short,,,\n"
        "fred,,,many,perhaps\n"
        '"gert",,,,\n'
        "good,other,second.org,,\n"
        "\n"
        "hans,,anna@maison.mrs,,\n"
    )
    for button in ("check", "import"):
        shown = text_of(send(browser, content, button=button).content)
        for expected in (
            "Line 3 The user “anna” exists.",
            "Line 4 “a b” cannot be the name of a mailbox",
            "Line 5 There is no domain “nowhere.example” here.",
            "Line 6 This password is too short.",
            "Line 7 A quota is a whole number, 0 for no limit, not “many”.",
            "Line 9 “good” has a row above; its password stands there.",
            "Line 11 The address anna@maison.mrs is taken.",
            "Nothing will be imported while there are errors",
        ):
            assert expected in shown, shown
        assert shown.count("Line 4") == 1  # not once for the user and once for the mailbox
        assert "Line 2 " not in shown
        assert "Line 8 " not in shown
        assert usernames() == {"root", "anna"}
        assert 'name="import"' not in shown


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "The submitted file is empty."),
        (b"\n", "The first line names the columns"),
        (b"name,password\nx,y\n", "one of them is “username”"),
        (b"username,shoe size\nx,43\n", "Unknown or repeated columns: shoe size."),
        (b"username,username\nx,y\n", "Unknown or repeated columns: username."),
        (b"username\n\xff\xfe\n", "This is not a CSV file in UTF-8."),
        (b"username\na\0b\n", "This is not a CSV file in UTF-8."),
        (b'username\n"open\n', "This is not a CSV file in UTF-8."),
        (b"PK\x03\x04\x14\x00 not a table", "This is not a CSV file in UTF-8."),
        (b"username\n<script>alert(1)</script>\n", "cannot be the name of a mailbox"),
    ],
)
def test_what_is_no_list_of_accounts_is_said_plainly(
    browser: Client, second: Domain, content: bytes, fault: str
) -> None:
    response = send(browser, content, button="import")
    assert response.status_code == 200
    assert fault in text_of(response.content)
    assert b"<script>alert" not in response.content
    assert usernames() == {"root"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("username,address\nbert,info@maison.mrs\n", "Line 2 The address info@maison.mrs is taken."),
        ("username\nINFO\n", "Line 2 The address info@maison.mrs is taken."),
        (f"username,password\nbert,correct,{SECRET}\n", "Line 2 There are more cells than columns"),
        (f"username,quota_octets\nbert,{'9' * 5000}\n", "Line 2 A quota is a whole number"),
        (f"username,email\nbert,{'a' * 60}@{'.'.join(['b' * 60] * 4)}.org\n", "Line 2 Ensure this value has at most"),
    ],
    ids=["alias", "alias by name", "cells", "digits", "email"],
)
def test_what_no_other_page_would_take_no_file_brings(
    browser: Client, mailbox: Mailbox, content: str, fault: str
) -> None:
    create_alias(domain=mailbox.domain, local_part="info", targets=mailbox.address)
    response = send(browser, content, button="import")
    assert response.status_code == 200
    assert fault in text_of(response.content)
    assert SECRET not in text_of(response.content)
    assert usernames() == {"root", "anna"}


def test_empty_cells_behind_the_last_column_are_a_spreadsheets(browser: Client, domain: Domain) -> None:
    assert send(browser, "username,first_name\nbert,Bert,, ,\n", button="import").status_code == 302
    assert usernames() == {"root", "bert"}


def test_a_file_that_is_missing_or_too_large_is_said(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "This field is required." in text_of(browser.post(IMPORT, {"check": "1"}).content)
    monkeypatch.setattr(transfer, "MAX_OCTETS", 10)
    assert "larger than 4 MB" in text_of(send(browser, GOOD).content)


def test_a_list_of_too_many_rows_or_passwords_is_refused(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_ROWS", 3)
    monkeypatch.setattr(importing, "MAX_PASSWORDS", 2)
    assert "More than 3 rows" in text_of(send(browser, "username\na\nb\nc\nd\n").content)
    rows = "".join(f"{name},{SECRET}\n" for name in "abc")
    assert "More than 2 plain passwords" in text_of(send(browser, f"username,password\n{rows}").content)


def test_a_page_of_a_long_list_shows_its_beginning(browser: Client, domain: Domain) -> None:
    shown = text_of(send(browser, "username\n" + "".join(f"child{n:03}\n" for n in range(50))).content)
    assert "50 accounts" in shown
    assert "child019" in shown
    assert "child020" not in shown
    assert "and 30 more" in shown


def test_a_file_of_a_spreadsheet_in_another_language_is_read(browser: Client, domain: Domain) -> None:
    send(browser, "\ufeffUsername;Active;First_Name\r\nbert;oui;Bérénice\r\ncarl;non;\r\n".encode(), button="import")
    assert User.objects.get(username="bert").first_name == "Bérénice"
    assert list(Mailbox.objects.order_by("pk").values_list("address", "is_active"))[1:] == [
        ("bert@maison.mrs", True),
        ("carl@maison.mrs", False),
    ]


def test_a_name_taken_between_check_and_import_stops_all_of_it(
    browser: Client, second: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = importing.check(GOOD.encode())
    make_mailbox("carl")
    monkeypatch.setattr(importing, "check", lambda content: checked)
    response = send(browser, GOOD, button="import")
    assert "Nothing was imported; check again." in text_of(response.content)
    assert usernames() == {"root", "carl"}
    assert not LogEntry.objects.exists()


def test_who_may_not_add_both_users_and_mailboxes_imports_nothing(second: Domain) -> None:
    for number, permissions in enumerate((TO_IMPORT[:1], TO_IMPORT[1:], TO_EXPORT)):
        helper = browser_of(staff(*permissions, name=f"helper{number}"))
        assert helper.get(IMPORT).status_code == 403
        assert send(helper, GOOD, button="import").status_code == 403
    assert "bert" not in usernames()
    able = browser_of(staff(*TO_IMPORT, "accounts.view_user", name="able"))
    assert send(able, GOOD, button="import").status_code == 302
    assert {"bert", "carl"} <= usernames()


def test_nobody_becomes_staff_by_a_file(browser: Client, domain: Domain) -> None:
    response = send(browser, "username,is_staff,is_superuser\nbert,1,1\n", button="import")
    assert "Unknown or repeated columns: is_staff, is_superuser." in text_of(response.content)
    assert usernames() == {"root"}


def test_the_sample_of_the_page_is_good(browser: Client, domain: Domain) -> None:
    create_domain(name="example.org")
    page = browser.get(IMPORT).content.decode()
    sample = re.search(r'<pre class="mp-sample"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert sample is not None
    assert "The file is good: 2 accounts." in text_of(send(browser, sample[1]).content)
    for column in importing.COLUMNS:
        assert f"<code>{column}</code>" in page


_PARTS = [
    "username", "password", "password_hash", "domains", "active", "quota_octets", "email", "anna", "Bert", "maison.mrs",
    "a@maison.mrs", "@", "%", ",", ";", "\t", "\n", "\r\n", '"', "'", "=", "no", "-1", "9" * 20, "argon2$x", "é", "\ufeff", " ",
]  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(_PARTS) | st.text(max_size=3), max_size=30).map("".join))
def test_any_text_is_checked_without_an_error_of_ours(domain: Domain, rest: str) -> None:
    for content in (rest, f"username,password_hash,domains,quota_octets,email\n{rest}"):
        checked = importing.check(content.encode("utf-8", "surrogatepass"))
        assert all(error.line >= 1 and error.text for error in checked.errors)


# --- Out ----------------------------------------------------------------------------------------------------


def exported(browser: Client) -> tuple[HttpResponse, list[dict[str, str]]]:
    response = browser.get(EXPORT)
    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode()
    return response, list(csv.DictReader(io.StringIO(text)))


def test_the_file_is_a_download_with_a_row_for_each_mailbox(browser: Client, second: Domain) -> None:
    mailbox = make_mailbox("anna", b"Subject: x\r\n\r\ny\r\n", quota_octets=77)
    Mailbox.objects.create(user=mailbox.user, domain=second, local_part="office", is_active=False)
    response, rows = exported(browser)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="accounts-\d{4}-\d\d-\d\d\.csv"', response["Content-Disposition"])
    shown = [(row["username"], row["address"], row["active"], row["quota_octets"], row["messages"]) for row in rows]
    assert shown == [
        ("anna", "anna@maison.mrs", "yes", "77", "1"),
        ("anna", "office@second.org", "no", "0", "0"),
        ("root", "root@maison.mrs", "yes", "0", "0"),
    ]


def test_no_password_and_no_hash_is_in_the_file(browser: Client, mailbox: Mailbox) -> None:
    mailbox.user.set_password(SECRET)
    mailbox.user.save()
    content = b"".join(browser.get(EXPORT).streaming_content).decode()
    assert "password" not in content
    assert SECRET not in content
    assert not any(part in content for part in mailbox.user.password.split("$")[-2:])


def test_what_was_exported_is_imported_as_it_was(browser: Client, second: Domain) -> None:
    mailbox = make_mailbox("anna", quota_octets=77, quota_messages=5)
    User.objects.filter(username="anna").update(first_name="=1+1", last_name="'-quoted", email="anna@example.org")
    Mailbox.objects.create(user=mailbox.user, domain=second, local_part="office", is_active=False)

    def accounts() -> list[tuple[object, ...]]:
        columns = (
            "address",
            "quota_octets",
            "quota_messages",
            "is_active",
            "user__first_name",
            "user__last_name",
            "user__email",
        )
        return list(Mailbox.objects.exclude(user__username="root").order_by("address").values_list(*columns))

    before = accounts()
    content = b"".join(browser.get(EXPORT).streaming_content)
    kept = b"".join(line for line in content.splitlines(keepends=True) if not line.startswith(b"root,"))
    User.objects.filter(username="anna").delete()
    assert send(browser, kept, button="import").status_code == 302
    assert accounts() == before


def test_who_may_not_see_both_users_and_mailboxes_exports_nothing(mailbox: Mailbox) -> None:
    for number, permissions in enumerate((TO_EXPORT[:1], TO_EXPORT[1:])):
        assert browser_of(staff(*permissions, name=f"helper{number}")).get(EXPORT).status_code == 403
    assert exported(browser_of(staff(*TO_EXPORT, name="able")))[1]
    viewer = browser_of(staff("accounts.view_user", name="viewer"))
    page = viewer.get("/admin/accounts/user/").content.decode()
    assert EXPORT not in page
    assert IMPORT not in page
