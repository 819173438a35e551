"""The queue in the admin: what is on its way, what was said of it, and what may be done by whom."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from smtpservice.models import QueuedMessage, QueuedRecipient
from tests.mailplatform.admin.people import browser_of, make_copies, staff, text_of
from tests.mailplatform.admin.test_many import plan_of
from tests.smtpservice.relay.relaying import queue

URL = "/admin/smtpservice/queuedrecipient/"
VIEW, CHANGE, DELETE = (f"smtpservice.{deed}_queuedrecipient" for deed in ("view", "change", "delete"))


@pytest.fixture
def row(db: None) -> QueuedRecipient:
    """A recipient whose server said: later."""
    queue("a@example.org")
    QueuedRecipient.objects.update(
        attempts=3,
        last_reply="451 4.7.1 Greylisted",
        last_peer="mx.example.org",
        next_attempt_at=timezone.now() + timedelta(hours=1),
    )
    return QueuedRecipient.objects.get()


def act(browser: Client, action: str, *rows: QueuedRecipient, sure: bool = True) -> str:
    """What the page says after an action, and after its question was answered with yes where there is one."""
    data = {"action": action, "_selected_action": [row.pk for row in rows], **({"post": "yes"} if sure else {})}
    answer = browser.post(URL, data, follow=True, headers={"accept": "*/*"})
    return text_of(answer.content)


def shown_addresses(browser: Client, **asked: str) -> list[str]:
    page = browser.get(URL, asked)
    assert page.status_code == 200
    return re.findall(r">(\w+@example\.\w+)</a>", page.content.decode())


def test_state_attempts_and_the_last_reply_are_shown(browser: Client, row: QueuedRecipient) -> None:
    text = text_of(browser.get(URL).content)
    for part in ("a@example.org", "jules@maison.mrs", "waiting", "3", "451 4.7.1 Greylisted", "mx.example.org"):
        assert part in text
    QueuedRecipient.objects.update(claimed_by=uuid4(), claimed_until=timezone.now())
    assert "being sent" in text_of(browser.get(URL).content)


def test_a_row_has_a_page_with_all_of_it_and_nothing_to_save(browser: Client, row: QueuedRecipient) -> None:
    page = browser.get(f"{URL}{row.pk}/change/")
    text = text_of(page.content)
    for part in (row.message.identity, "<1@maison.mrs>", "Given up at", "Last attempt"):
        assert part.lower() in text.lower()
    assert "hello" not in text, "what the message says is not for everybody who looks after the queue"
    assert b'name="_save"' not in page.content


def test_an_empty_queue_says_so(browser: Client) -> None:
    assert "Nothing is on its way to other servers." in text_of(browser.get(URL).content)
    assert "Nothing was found." in text_of(browser.get(URL, {"q": "a@example.org"}).content)


@pytest.mark.parametrize(
    ("action", "before", "after", "said", "logged"),
    [
        ("retry", "held", "waiting", "1 is due now.", "Tried again now."),
        ("hold", "waiting", "held", "1 is held.", "Held."),
        ("release", "held", "waiting", "1 waits again.", "Released."),
    ],
)
def test_what_is_done_is_said_and_logged(
    browser: Client, row: QueuedRecipient, action: str, before: str, after: str, said: str, logged: str
) -> None:
    QueuedRecipient.objects.update(state=before)
    assert said in act(browser, action, row)
    row.refresh_from_db()
    assert row.state == after
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(row.pk), logged)


@pytest.mark.parametrize(("action", "said"), [("return_to_sender", "1 is given up."), ("drop", "1 is dropped.")])
def test_what_is_given_up_is_gone_and_in_the_log(browser: Client, row: QueuedRecipient, action: str, said: str) -> None:
    assert said in act(browser, action, row)
    assert not QueuedMessage.objects.filter(pk=row.message_id).exists()
    # jules@maison.mrs is nobody here, so what is told goes to the queue or to nobody.
    assert LogEntry.objects.get().object_repr == "a@example.org: waiting"


@pytest.mark.parametrize(
    ("action", "asked"),
    [("return_to_sender", "and tell their senders that they failed?"), ("drop", "Drop these without a word?")],
)
def test_before_a_message_is_given_up_it_is_asked(
    browser: Client, row: QueuedRecipient, action: str, asked: str
) -> None:
    text = act(browser, action, row, sure=False)
    assert asked in text
    assert "a@example.org: waiting" in text
    row.refresh_from_db()
    assert row.state == "waiting"
    assert not LogEntry.objects.exists()


def test_each_deed_needs_its_permission(row: QueuedRecipient) -> None:
    assert browser_of(staff(name="none")).get(URL).status_code == 403
    looking = browser_of(staff(VIEW, name="looking"))
    assert looking.get(URL).status_code == 200
    for action in ("retry", "hold", "release", "return_to_sender", "drop"):
        act(looking, action, row)
    caring = browser_of(staff(VIEW, CHANGE, name="caring"))
    for action in ("return_to_sender", "drop"):
        act(caring, action, row)
    row.refresh_from_db()
    assert row.state == "waiting"
    act(caring, "hold", row)
    dropping = browser_of(staff(VIEW, DELETE, name="dropping"))
    act(dropping, "release", row)
    row.refresh_from_db()
    assert row.state == "held"
    act(dropping, "drop", row)
    assert not QueuedRecipient.objects.exists()


def test_nothing_is_added_or_deleted_past_the_queue(browser: Client, row: QueuedRecipient) -> None:
    assert browser.get(f"{URL}add/").status_code == 403
    act(browser, "delete_selected", row)
    assert QueuedRecipient.objects.exists()


def test_a_row_that_is_deleted_takes_its_message_along(browser: Client, row: QueuedRecipient) -> None:
    assert "Its sender is not told." in text_of(browser.get(f"{URL}{row.pk}/delete/").content)
    answer = browser.post(f"{URL}{row.pk}/delete/", {"post": "yes"}, follow=True)
    assert answer.status_code == 200
    assert not QueuedMessage.objects.exists()


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("a@example.org", ["a@example.org"]),
        ("<A@Example.org>", ["a@example.org"]),
        ("example.net", ["b@example.net"]),
        ("charles@maison.mrs", ["b@example.net"]),
        ("nobody@example.org", []),
    ],
)
def test_search_by_recipient_sender_and_domain(browser: Client, term: str, found: list[str]) -> None:
    queue("a@example.org")
    queue("b@example.net", sender="charles@maison.mrs")
    assert shown_addresses(browser, q=term) == found
    identity = QueuedMessage.objects.get(sender="charles@maison.mrs").identity
    assert shown_addresses(browser, q=identity) == ["b@example.net"]
    QueuedRecipient.objects.filter(address="b@example.net").update(domain="xn--mnchen-3ya.example")
    assert shown_addresses(browser, q="München.example") == ["b@example.net"]


def test_filter_by_state(browser: Client) -> None:
    queue("a@example.org", "b@example.org")
    QueuedRecipient.objects.filter(address="a@example.org").update(state="held")
    assert shown_addresses(browser, state="held") == ["a@example.org"]
    assert sorted(shown_addresses(browser, state="nonsense")) == ["a@example.org", "b@example.org"]


def test_pages_follow_one_another(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(site.get_model_admin(QueuedRecipient)), "list_per_page", 2)
    queue(*(f"r{number}@example.org" for number in range(5)))
    pages, asked = [], dict[str, str]()
    while True:
        pages.append(shown_addresses(browser, **asked))
        older = re.search(r'class="mp-older" href="\?before=(\d+)"', browser.get(URL, asked).content.decode())
        if older is None:
            break
        asked = {"before": older[1]}
    assert pages == [["r4@example.org", "r3@example.org"], ["r2@example.org", "r1@example.org"], ["r0@example.org"]]
    assert len(shown_addresses(browser, before="nonsense")) == 2


def test_a_hundred_thousand_entries_cost_what_fifty_do(browser: Client) -> None:
    def statements(**asked: str) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(URL, asked).status_code == 200
        return [query["sql"] for query in queries]

    queue(*(f"r{number}@example.org" for number in range(60)))
    before = statements()
    make_copies(QueuedRecipient.objects.earliest("pk"), 100_000, address="'x' || source.number || '@example.org'")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    after = statements()
    assert len(after) == len(before)
    (rows,) = [sql for sql in after if "LIMIT 51" in sql]
    for sql in after:
        assert "COUNT(" not in sql
    plan = plan_of(rows)
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan
