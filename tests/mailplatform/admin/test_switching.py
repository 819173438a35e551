"""Rows of a list are made active and inactive together, and those that were changed are in the history."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts.models import Alias, Mailbox, User
from tests.mailplatform.admin.people import make_mailbox, text_of

CASES = [
    (Mailbox, "mailbox", "suspend", "suspended"),
    (User, "user", "suspend", "suspended"),
    (Alias, "alias", "deactivate", "deactivated"),
]


@pytest.mark.parametrize(("model", "name", "action", "word"), CASES)
def test_what_was_not_so_yet_is_changed_said_and_logged(
    browser: Client, mailbox: Mailbox, model: type[Mailbox | User | Alias], name: str, action: str, word: str
) -> None:
    make_mailbox("bert")
    for local_part in ("one", "two"):
        Alias.objects.create(domain=mailbox.domain, local_part=local_part, targets="anna@maison.mrs")
    rows = list(model.objects.exclude(**({"is_superuser": True} if model is User else {})).order_by("pk")[:2])
    url, chosen = f"/admin/accounts/{name}/", {"_selected_action": [row.pk for row in rows]}
    model.objects.filter(pk=rows[0].pk).update(is_active=False)
    LogEntry.objects.all().delete()

    said = text_of(browser.post(url, chosen | {"action": action}, follow=True).content)
    assert f"1 {name} {word}." in said
    assert not model.objects.filter(pk__in=[row.pk for row in rows], is_active=True).exists()
    assert [(entry.object_id, entry.change_message) for entry in LogEntry.objects.all()] == [
        (str(rows[1].pk), f"{word.capitalize()}.")
    ]
    browser.post(url, chosen | {"action": "activate"})
    assert model.objects.filter(pk__in=[row.pk for row in rows], is_active=True).count() == 2
    assert LogEntry.objects.filter(change_message="Activated.").count() == 2
