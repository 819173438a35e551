"""Where there is no page, or none for the one who asks, that is said in their language, with a way back."""

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from mailplatform.missing import not_allowed
from tests.mailplatform.admin.people import browser_of, staff, superuser, text_of

FRENCH = {"accept-language": "fr"}


def check(browser: Client, url: str, status: int, english: str, french: str) -> None:
    for headers, said in (({}, english), (FRENCH, french)):
        answer = browser.get(url, headers=headers)
        assert answer.status_code == status
        assert said in text_of(answer.content)
        assert f'href="{reverse("admin:index")}"' in answer.content.decode()
        assert "mailplatform/admin.css" in answer.content.decode()


@pytest.mark.django_db
def test_what_is_not_there() -> None:
    browser = browser_of(superuser())
    for url in ("/nothing/", "/admin/accounts/mailbox/7/messages/"):
        check(browser, url, 404, "There is no such page", "Cette page n\u2019existe pas")


@pytest.mark.django_db
def test_what_is_not_for_the_one_who_asks() -> None:
    url = reverse("admin:accounts_user_changelist")
    check(browser_of(staff()), url, 403, "This page is not open to you", "Cette page ne vous est pas ouverte")


@pytest.mark.django_db
def test_a_stranger_costs_next_to_nothing(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        answer = Client().get("/wp-login.php")
    assert answer.status_code == 404
    assert len(answer.content) < 300
    refused = not_allowed(answer.wsgi_request, PermissionDenied())
    assert refused.status_code == 403
    assert len(refused.content) < 300
