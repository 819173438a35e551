"""The page that asks: what it brings back is the same action on the same rows, with the answer."""

import re

import pytest
from django.test import Client

from smtpservice.models import QueuedRecipient
from tests.smtpservice.relay.relaying import queue

URL = "/admin/smtpservice/queuedrecipient/"


@pytest.mark.parametrize("number", [1, 3])
def test_what_it_brings_back_is_carried_out(browser: Client, number: int) -> None:
    queue(*(f"r{each}@example.org" for each in range(number)), "kept@example.org")
    chosen = [str(row.pk) for row in QueuedRecipient.objects.filter(address__startswith="r")]
    page = browser.post(URL, {"action": "drop", "_selected_action": chosen, "index": "0"}).content.decode()
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', page[page.index("mp-chosen") :])
    fields: dict[str, list[str]] = {}
    for name, value in hidden:
        fields.setdefault(name, []).append(value)
    assert sorted(fields.pop("_selected_action")) == sorted(chosen)
    fields.pop("csrfmiddlewaretoken", None)
    assert fields == {"action": ["drop"], "post": ["yes"]}
    browser.post(URL, {**fields, "_selected_action": chosen})
    assert list(QueuedRecipient.objects.filter(state="waiting").values_list("address", flat=True)) == [
        "kept@example.org"
    ]
