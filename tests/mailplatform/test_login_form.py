"""The admin's login page, and who guesses there."""

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import LoginRecord, Throttle, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(settings: Settings) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return User.objects.create_superuser("chief", password="right horse")


def try_login(client: Client, password: str, **headers: str) -> str:
    """What the page says; empty where it lets in."""
    response = client.post(reverse("admin:login"), {"username": "chief", "password": password}, headers=headers)
    return "" if response.status_code == 302 else response.content.decode()


def test_guesses_are_refused_after_some_whatever_the_password(client: Client, admin: User) -> None:
    for number in range(4):
        assert "Please enter the correct" in try_login(client, f"guess {number}")
    Throttle.objects.update(failures=12)
    for password in ("one more", "right horse"):
        assert "Too many failed logins. Try again in" in try_login(client, password)
    assert LoginRecord.objects.filter(protocol="web", result="wrong").count() == 4


def test_who_knows_the_password_comes_in_and_is_recorded(client: Client, admin: User) -> None:
    assert try_login(client, "wrong")
    assert try_login(client, "right horse") == ""
    assert list(LoginRecord.objects.order_by("pk").values_list("result", flat=True)) == ["wrong", "admitted"]
    assert LoginRecord.objects.filter(address="127.0.0.1").count() == 2


@pytest.mark.parametrize(("behind_proxy", "address"), [(True, "192.0.2.7"), (False, "127.0.0.1")])
def test_behind_a_proxy_the_address_is_the_one_that_it_saw(
    client: Client, admin: User, settings: Settings, behind_proxy: bool, address: str
) -> None:
    settings.BEHIND_PROXY = behind_proxy
    try_login(client, "wrong", **{"X-Forwarded-For": "10.0.0.1, 192.0.2.7"})
    assert LoginRecord.objects.get().address == address


@pytest.mark.parametrize("typed", [{}, {"username": "chief"}, {"password": "x"}])
def test_a_form_that_is_not_filled_in_counts_as_nothing(client: Client, admin: User, typed: dict[str, str]) -> None:
    assert client.post(reverse("admin:login"), typed).status_code == 200
    assert not Throttle.objects.exists()
    assert not LoginRecord.objects.exists()
