"""Lists offer to show all rows where they do not, and count nothing that nobody asked for."""

import pytest
from django.contrib import admin
from django.test import Client

from accounts.models import Mailbox, User
from mailplatform.admin.lists import ListAdmin
from tests.mailplatform.admin.people import text_of


def test_every_list_of_ours_is_such_a_list() -> None:
    ours = [each for each in admin.site._registry.values() if type(each).__module__.startswith("mailplatform.")]
    assert len(ours) >= 5
    assert [each for each in ours if not isinstance(each, ListAdmin)] == []


@pytest.mark.parametrize("model", ["mailbox", "user"])
def test_all_rows_are_offered_where_some_are_left_out(browser: Client, mailbox: Mailbox, model: str) -> None:
    url = f"/admin/accounts/{model}/"
    assert "results (" not in text_of(browser.get(url).content)
    shown = text_of(browser.get(url, {"q": "anna"}).content)
    assert "1 result ( Show all )" in shown
    assert User.objects.count() == 2
