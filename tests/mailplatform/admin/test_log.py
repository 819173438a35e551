"""Lines in the log for what was done to many at once."""

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries

from accounts.models import Mailbox, User
from mailplatform.admin.log import log_many
from tests.mailplatform.admin.people import make_many


def test_a_line_for_each_with_one_statement(admin: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    make_many(30)
    request = RequestFactory().post("/")
    request.user = admin
    mailboxes = list(Mailbox.objects.filter(local_part__startswith="many"))
    log_many(request, mailboxes[:1], "Suspended.")  # the model's content type is remembered from here on
    with django_assert_num_queries(1):
        log_many(request, mailboxes[1:], "Imported from a file.", flag=ADDITION)
    entries = LogEntry.objects.order_by("pk")
    assert [entry.object_repr for entry in entries] == [mailbox.address for mailbox in mailboxes]
    assert [entry.object_id for entry in entries] == [str(mailbox.pk) for mailbox in mailboxes]
    assert {entry.user_id for entry in entries} == {admin.pk}
    assert [entry.action_flag for entry in entries[:2]] == [CHANGE, ADDITION]


def test_nothing_done_is_nothing_logged(admin: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    request = RequestFactory().post("/")
    request.user = admin
    with django_assert_num_queries(0):
        log_many(request, [], "Suspended.")
