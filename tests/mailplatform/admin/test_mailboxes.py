"""The admin's pages of mailboxes: the list, its search, filters and bulk actions, and one mailbox."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Domain, Mailbox, User
from accounts.services import create_domain
from mailplatform.admin.mailboxes import MailboxAdmin
from mailstore.maildrop import CloseRequest, Opened, OpenRequest, close_maildrops, open_maildrops
from mailstore.models import Content, Maildrop, Message
from pop3service.models import Worker
from tests.mailplatform.admin.people import browser_of, filled_in, make_mailbox, make_many, staff, text_of

LIST = "/admin/accounts/mailbox/"
LETTER = b"Subject: hello\r\n\r\nwords\r\n"


def addresses_in(browser: Client, **query: str) -> list[str]:
    """The mailboxes on the first page of the list."""
    return [row.address for row in browser.get(LIST, query).context["cl"].result_list]


def change(mailbox: Mailbox) -> str:
    return reverse("admin:accounts_mailbox_change", args=[mailbox.pk])


def living_worker() -> uuid.UUID:
    return Worker.objects.create(arbiter=uuid.uuid4(), host="elsewhere", pid=1).pk


def open_session(mailbox: Mailbox, worker: uuid.UUID) -> Opened:
    (opened,) = open_maildrops([OpenRequest(mailbox.pk, worker)])
    assert isinstance(opened, Opened)
    return opened


# --- The list -----------------------------------------------------------------------------------------------


def test_a_row_says_what_is_stored_and_how_the_mailbox_is(browser: Client, mailbox: Mailbox) -> None:
    make_mailbox("bert", LETTER, LETTER, quota_octets=100)
    opened = open_session(Mailbox.objects.get(address="bert@maison.mrs"), living_worker())
    close_maildrops([CloseRequest(opened.mailbox_id, opened.lock)])
    Maildrop.objects.update(opened_at="2026-03-04T05:06Z")
    shown = text_of(browser.get(LIST, {"q": "maison"}).content)
    assert "bert@maison.mrs bert 2 50\xa0bytes 50 % 2026-03-04 05:06 active" in shown.replace("50 bytes", "50\xa0bytes")
    assert "anna@maison.mrs anna 0 0\xa0bytes no limit - active" in shown.replace("0 bytes", "0\xa0bytes")


def test_search_finds_addresses_and_people(browser: Client, mailbox: Mailbox) -> None:
    make_mailbox("bert")
    User.objects.filter(username="bert").update(first_name="Berthold", last_name="Überwald")
    create_domain(name="else.where")
    assert addresses_in(browser, q="ANNA") == ["anna@maison.mrs"]
    assert addresses_in(browser, q="bert@maison") == ["bert@maison.mrs"]
    assert addresses_in(browser, q="berwald") == ["bert@maison.mrs"]
    assert addresses_in(browser, q="berthold maison") == ["bert@maison.mrs"]
    assert addresses_in(browser, q="else.where") == []
    assert addresses_in(browser, q="%") == addresses_in(browser, q="_") == []
    assert "Null characters are not allowed" in text_of(browser.get(LIST, {"q": "\0"}).content)


def test_filters_say_which_mailboxes_need_a_hand(browser: Client, domain: Domain) -> None:
    make_mailbox("full", LETTER, quota_octets=25)
    make_mailbox("nearly", LETTER, quota_octets=27)
    make_mailbox("many", *[LETTER] * 9, quota_messages=10)
    make_mailbox("roomy", LETTER, quota_octets=2500)
    make_mailbox("free", LETTER)
    make_mailbox("off", is_active=False)
    others = {"root@maison.mrs"}

    def names(**query: str) -> set[str]:
        return {address.partition("@")[0] for address in set(addresses_in(browser, **query)) - others}

    assert names(quota="over") == {"full"}
    assert names(quota="near") == {"full", "nearly", "many"}
    assert names(quota="none") == {"free", "off"}
    assert names(is_active__exact="0") == {"off"}
    assert names(quota="none", is_active__exact="1") == {"free"}
    second = create_domain(name="second.org")
    assert names(domain__id__exact=str(second.pk)) == set()
    assert len(names(domain__id__exact=str(domain.pk))) == 6


@pytest.mark.parametrize(
    "query",
    [
        "?o=99",
        "?p=999",
        "?p=x",
        "?quota=nonsense",
        "?domain__id__exact=x",
        "?user__id__exact=",
        "?is_active__exact=7",
        "?e=1",
    ],
)
def test_a_query_that_makes_no_sense_is_no_error(browser: Client, mailbox: Mailbox, query: str) -> None:
    assert browser.get(LIST + query, follow=True).status_code == 200


def test_a_user_and_a_domain_lead_to_their_mailboxes(browser: Client, mailbox: Mailbox) -> None:
    make_mailbox("bert")
    assert addresses_in(browser, user__id__exact=str(mailbox.user_id)) == ["anna@maison.mrs"]


def test_the_list_is_sorted_by_each_column(browser: Client, domain: Domain) -> None:
    small, large = make_mailbox("small", LETTER, is_active=False), make_mailbox("large", LETTER * 9)
    for mailbox in (large, small):
        opened = open_session(mailbox, living_worker())
        close_maildrops([CloseRequest(opened.mailbox_id, opened.lock)])

    def names(order: str) -> list[str]:
        return [address.partition("@")[0] for address in addresses_in(browser, o=order)]

    assert names("-1") == names("-2") == ["small", "root", "large"]
    assert names("-4") == ["large", "small", "root"]
    assert names("4") == ["root", "small", "large"]
    assert names("3.1")[0] == "root"
    assert names("-6") == ["small", "large", "root"]
    assert names("6") == ["root", "large", "small"]
    assert names("7")[0] == "small"


def test_a_mailbox_is_in_use_while_a_living_worker_holds_it(browser: Client, mailbox: Mailbox) -> None:
    other = make_mailbox("bert")
    assert "in use" not in text_of(browser.get(LIST).content)
    opened = open_session(mailbox, living_worker())
    open_session(other, living_worker())
    shown = text_of(browser.get(LIST).content)
    assert shown.count("in use") == 2
    assert "in use" in text_of(browser.get(change(mailbox)).content)
    Worker.objects.exclude(pk=opened.lock.worker).update(beat_at=timezone.now() - timedelta(minutes=5))
    rows = {row.address: row.is_open for row in browser.get(LIST).context["cl"].result_list}
    assert rows == {"anna@maison.mrs": True, "bert@maison.mrs": False, "root@maison.mrs": False}
    Worker.objects.all().delete()
    assert "in use" not in text_of(browser.get(LIST).content)
    assert "in use" not in text_of(browser.get(change(mailbox)).content)


def test_the_state_says_what_keeps_an_owner_out(browser: Client, mailbox: Mailbox) -> None:
    User.objects.filter(pk=mailbox.user_id).update(is_active=False)
    assert "user suspended" in text_of(browser.get(LIST, {"q": "anna"}).content)
    Mailbox.objects.update(is_active=False)
    shown = text_of(browser.get(LIST, {"q": "anna"}).content)
    assert "suspended" in shown
    assert "user suspended" not in shown


# --- Finding one ----------------------------------------------------------------------------------------------


def found(browser: Client, words: str) -> str:
    response = browser.get(f"{LIST}find/", {"q": words})
    assert response.status_code == 302
    return response["Location"]


def test_the_one_mailbox_that_is_looked_for_is_opened_at_once(browser: Client, mailbox: Mailbox) -> None:
    make_mailbox("bert")
    for words in ("anna", "ANNA@maison", " anna@maison.mrs "):
        assert found(browser, words) == change(mailbox)
    assert found(browser, "maison") == f"{LIST}?q=maison"
    assert found(browser, "zebra & co") == f"{LIST}?q=zebra+%26+co"
    assert found(browser, "") == f"{LIST}?q="
    assert found(browser, "\0anna") == change(mailbox)
    for page in (LIST, change(mailbox), "/admin/"):
        assert f'action="{LIST}find/"' in browser.get(page).content.decode()


def test_who_may_not_see_mailboxes_looks_for_none(mailbox: Mailbox) -> None:
    helper = browser_of(staff("accounts.view_user"))
    assert helper.get(f"{LIST}find/", {"q": "anna"}).status_code == 403
    assert f"{LIST}find/" not in helper.get("/admin/").content.decode()


def test_the_page_of_a_mailbox_leads_to_the_password_of_its_user(mailbox: Mailbox) -> None:
    url, password = f"{LIST}{mailbox.pk}/set-password/", f"/admin/accounts/user/{mailbox.user_id}/password/"
    may = ("accounts.view_mailbox", "accounts.view_user")
    changer = browser_of(staff(*may, "accounts.change_user", name="changer"))
    assert (changer.get(url).status_code, changer.get(url)["Location"]) == (302, password)
    assert url in changer.get(change(mailbox)).content.decode()
    viewer = browser_of(staff(*may))
    assert viewer.get(url).status_code == 403
    assert url not in viewer.get(change(mailbox)).content.decode()
    User.objects.filter(pk=mailbox.user_id).update(is_superuser=True)
    assert changer.get(url).status_code == 403


# --- What it costs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?q=many", "?quota=none", "?o=-4", "?is_active__exact=1"])
def test_a_full_page_takes_as_many_queries_as_a_row(
    browser: Client, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(MailboxAdmin, "list_per_page", 10)

    def open_all() -> None:
        for mailbox in Mailbox.objects.filter(maildrop__isnull=False, maildrop__lock_worker__isnull=True):
            open_session(mailbox, living_worker())

    make_many(1)
    Mailbox.objects.update(quota_octets=0)
    open_all()
    browser.get(LIST)
    queries = 5  # the session, its user, the number of mailboxes, the page, the workers that hold them
    with django_assert_num_queries(queries):
        browser.get(LIST + query)
    make_many(12, start=1)
    Mailbox.objects.update(quota_octets=0)
    open_all()
    with django_assert_num_queries(queries):
        assert len(browser.get(LIST + query).context["cl"].result_list) == 10


# --- Bulk actions -------------------------------------------------------------------------------------------


def act(browser: Client, action: str, *mailboxes: Mailbox, **more: str) -> str:
    data = {"action": action, "_selected_action": [mailbox.pk for mailbox in mailboxes], **more}
    return text_of(browser.post(LIST, data, follow=True).content)


def test_the_chosen_mailboxes_are_suspended_and_activated_again(browser: Client, mailbox: Mailbox) -> None:
    others = [make_mailbox(name) for name in ("bert", "carl")]
    assert "2 mailboxes suspended." in act(browser, "suspend", mailbox, others[0])
    assert set(Mailbox.objects.filter(is_active=False)) == {mailbox, others[0]}
    assert "0 mailboxes suspended." in act(browser, "suspend", mailbox)
    assert "1 mailbox activated." in act(browser, "activate", mailbox, others[1])
    assert list(Mailbox.objects.filter(is_active=False)) == [others[0]]
    logged = [(entry.object_repr, entry.get_change_message()) for entry in LogEntry.objects.order_by("pk")]
    assert sorted(logged[:2]) == [("anna@maison.mrs", "Suspended."), ("bert@maison.mrs", "Suspended.")]
    assert logged[2:] == [("anna@maison.mrs", "Activated.")]


def test_all_of_a_search_are_suspended_over_pages(
    browser: Client, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MailboxAdmin, "list_per_page", 10)
    make_many(25)
    data = {
        "action": "suspend",
        "_selected_action": [Mailbox.objects.get(local_part="many10000").pk],
        "select_across": "1",
    }
    browser.post(f"{LIST}?q=many", data)
    assert Mailbox.objects.filter(is_active=False).count() == 25
    mailbox.refresh_from_db()
    assert mailbox.is_active
    assert LogEntry.objects.count() == 25


def test_who_may_only_look_finds_no_action_and_can_take_none(mailbox: Mailbox) -> None:
    viewer = browser_of(staff("accounts.view_mailbox"))
    page = viewer.get(LIST).content
    assert b'value="suspend"' not in page
    assert b'value="delete_selected"' not in page
    act(viewer, "suspend", mailbox)
    act(viewer, "delete_selected", mailbox, post="yes")
    mailbox.refresh_from_db()
    assert mailbox.is_active


# --- One mailbox --------------------------------------------------------------------------------------------


def test_a_mailbox_is_added_with_a_quota_as_people_write_it(browser: Client, mailbox: Mailbox, domain: Domain) -> None:
    data = {
        "user": str(mailbox.user_id),
        "domain": str(domain.pk),
        "local_part": "Office",
        "quota_octets": "1,5 GB",
        "quota_messages": "0",
        "is_active": "on",
    }
    response = browser.post(f"{LIST}add/", data)
    assert response.status_code == 302, response.context["errors"]
    made = Mailbox.objects.get(address="office@maison.mrs")
    assert (made.quota_octets, made.local_part, made.user_id) == (3 * 2**29, "office", mailbox.user_id)
    again = browser.post(f"{LIST}add/", data)
    assert again.status_code == 200
    assert "already exists" in text_of(again.content)


@pytest.mark.parametrize("local_part", ["a b", "a@b", "", "a%b", "x" * 65, "é é", "a..b", "<b>"])
def test_a_name_that_no_address_can_have_is_refused(
    browser: Client, mailbox: Mailbox, domain: Domain, local_part: str
) -> None:
    data = {
        "user": str(mailbox.user_id),
        "domain": str(domain.pk),
        "local_part": local_part,
        "quota_octets": "0",
        "quota_messages": "0",
    }
    response = browser.post(f"{LIST}add/", data)
    assert response.status_code == 200
    assert (
        "local_part" in response.context["errors"].as_text() or response.context["adminform"].form.errors["local_part"]
    )
    assert b"<b>" not in response.content
    assert Mailbox.objects.count() == 2


def test_saving_a_mailbox_keeps_what_was_not_changed(browser: Client, mailbox: Mailbox) -> None:
    Mailbox.objects.update(quota_octets=12_345, expire_days=9)
    before = Mailbox.objects.values().get(pk=mailbox.pk)
    assert browser.post(change(mailbox), filled_in(browser, change(mailbox), "mailbox_form")).status_code == 302
    assert Mailbox.objects.values().get(pk=mailbox.pk) == before
    assert (
        browser.post(
            change(mailbox), {**filled_in(browser, change(mailbox), "mailbox_form"), "quota_octets": "2 MB"}
        ).status_code
        == 302
    )
    mailbox.refresh_from_db()
    assert (mailbox.quota_octets, mailbox.expire_days) == (2 * 2**20, 9)
    assert LogEntry.objects.latest("pk").object_repr == "anna@maison.mrs"


def test_a_mailbox_is_deleted_with_its_mail_after_saying_how_much(browser: Client) -> None:
    mailbox = make_mailbox("bert", LETTER, LETTER)
    kept = make_mailbox("carl", LETTER)
    url = reverse("admin:accounts_mailbox_delete", args=[mailbox.pk])
    assert "2 messages (50\xa0bytes)" in browser.get(url).content.decode()
    assert browser.post(url, {"post": "yes"}).status_code == 302
    assert not Mailbox.objects.filter(pk=mailbox.pk).exists()
    for model in (Maildrop, Message, Content):
        assert set(model.objects.values_list("mailbox_id", flat=True)) == {kept.pk}
    assert User.objects.filter(username="bert").exists()
    assert LogEntry.objects.get().object_repr == "bert@maison.mrs"


def test_chosen_mailboxes_are_deleted_after_a_question(browser: Client) -> None:
    mailboxes = [make_mailbox(name, LETTER) for name in ("bert", "carl")]
    question = act(browser, "delete_selected", *mailboxes)
    assert "Mailbox bert@maison.mrs: 1 message" in question
    assert Mailbox.objects.count() == 3
    act(browser, "delete_selected", *mailboxes, post="yes")
    assert Mailbox.objects.count() == 1
    assert not Message.objects.exists()
    assert not Content.objects.exists()
