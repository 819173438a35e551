"""What a deletion would take with it is said from counters: exact, and as quick for a large mailbox as for an empty one."""

from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries

from accounts.models import Mailbox, User
from mailplatform.admin.deletion import NAMED, preview
from tests.mailplatform.admin.people import make_mailbox, make_many, staff
from tests.mailstore.mailboxes import fill

OWN = Mailbox.objects.exclude(local_part__in=["root", "helpdesk"])


def asked_by(user: User) -> RequestFactory:
    request = RequestFactory().get("/")
    request.user = user
    return request


def test_it_names_the_mailboxes_and_what_they_hold(admin: User, mailbox: Mailbox) -> None:
    make_mailbox("bert", b"Subject: x\r\n\r\ny\r\n", b"Subject: x\r\n\r\n")
    found = preview([mailbox.user], asked_by(admin), OWN)
    assert found.to_delete == [
        "anna",
        "Mailbox anna@maison.mrs: 0 messages (0\xa0bytes)",
        "Mailbox bert@maison.mrs: 2 messages (31\xa0bytes)",
        "2 messages (31\xa0bytes), and what is on the shelf, cannot be brought back.",
    ]
    assert found.model_count == {"mailboxes": 2, "messages": 2}
    assert (found.perms_needed, found.protected) == (set(), [])


def test_many_mailboxes_are_counted_and_some_named(
    admin: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_many(NAMED + 30)
    with django_assert_num_queries(3):
        found = preview([], asked_by(admin), OWN)
    assert len(found.to_delete) == NAMED + 2
    assert found.to_delete[NAMED] == "and 30 more mailboxes"
    assert found.model_count["mailboxes"] == NAMED + 30


def test_no_message_is_looked_at(
    admin: User, mailbox: Mailbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    fill(mailbox.pk, *[b"x"] * 40)
    with django_assert_num_queries(3) as queries:
        preview([mailbox], asked_by(admin), OWN)
    assert not any("mailstore_message" in query["sql"] for query in queries)


def test_it_takes_the_permission_to_delete_mailboxes(mailbox: Mailbox) -> None:
    helper = staff("accounts.delete_user")
    assert preview([mailbox.user], asked_by(helper), OWN).perms_needed == {"mailbox"}
    assert preview([mailbox.user], asked_by(helper), OWN.none()).perms_needed == set()
