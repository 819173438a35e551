"""App passwords: random, found by what is typed, for one protocol, network and time."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.app_passwords import (
    USE_WRITTEN_EVERY,
    FoundAppPassword,
    Use,
    create_app_password,
    find_app_passwords,
    revoke_app_password,
    typed_digest,
    write_uses,
)
from accounts.callers import Caller, Protocol
from accounts.models import AppPassword, LoginResult, User
from accounts.services import create_account

pytestmark = pytest.mark.django_db

POP3 = Caller(Protocol.POP3, "192.0.2.7")
SMTP = Caller(Protocol.SMTP, "192.0.2.7")
SHAPED = "abcd-efgh-ijkl-mnop-qrst-uvwx-yz23"


@pytest.fixture
def user() -> User:
    return create_account(username="jules", password="x")


def find(typed: str) -> FoundAppPassword | None:
    digest = typed_digest(typed)
    assert digest is not None
    return find_app_passwords([digest])[0]


def test_a_secret_is_shown_in_groups_and_kept_as_a_digest_alone(user: User) -> None:
    made, secret = create_app_password(user=user, name=" telephone ")
    assert re.fullmatch(r"([a-z2-7]{4}-){6}[a-z2-7]{4}", secret)
    assert str(made) == "telephone"
    kept = AppPassword.objects.values_list().get()
    assert secret not in map(str, kept)
    assert secret.replace("-", "") not in map(str, kept)


def test_no_two_secrets_are_the_same(user: User) -> None:
    secrets = {create_app_password(user=user, name=str(number))[1] for number in range(20)}
    assert len(secrets) == 20
    # every sign of the alphabet turns up among 560: the bits are those that 28 signs of 32 can have
    assert set("".join(secrets)) == set("abcdefghijklmnopqrstuvwxyz234567-")


def test_it_is_found_however_it_is_typed(user: User) -> None:
    made, secret = create_app_password(user=user, name="telephone")
    for typed in (secret, secret.upper(), secret.replace("-", " "), secret.replace("-", ""), f"\t{secret}\xa0"):
        found = find(typed)
        assert found is not None
        assert (found.id, found.user_id, found.name) == (made.pk, user.pk, "telephone")
    assert find(SHAPED) is None


@pytest.mark.parametrize(
    "typed", ["", "secret", SHAPED[:-1], SHAPED + "a", SHAPED.replace("2", "1"), SHAPED + " " * 99]
)
def test_what_has_another_shape_is_not_looked_up(typed: str) -> None:
    assert typed_digest(typed) is None


@given(st.text(max_size=60))
def test_anything_may_be_typed(typed: str) -> None:
    digest = typed_digest(typed)
    assert digest is None or len(digest) == 64


def test_many_are_found_in_one_statement(user: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    digests = [typed_digest(create_app_password(user=user, name=name)[1]) or "" for name in ("a", "b")]
    with django_assert_num_queries(1):
        found = find_app_passwords([digests[1], "", digests[0]])
    assert [each and each.name for each in found] == ["b", None, "a"]


def test_without_limits_it_opens_everything(user: User) -> None:
    found = find(create_app_password(user=user, name="all")[1])
    assert found is not None
    assert not found.read_only
    assert [found.refusal(caller, timezone.now()) for caller in (POP3, SMTP)] == [None, None]


def test_it_may_be_for_one_protocol(user: User) -> None:
    reads = find(create_app_password(user=user, name="reads", smtp=False, read_only=True)[1])
    sends = find(create_app_password(user=user, name="sends", pop3=False)[1])
    assert reads is not None
    assert sends is not None
    now = timezone.now()
    assert [reads.refusal(POP3, now), reads.refusal(SMTP, now)] == [None, LoginResult.PROTOCOL]
    assert [sends.refusal(POP3, now), sends.refusal(SMTP, now)] == [LoginResult.PROTOCOL, None]
    assert reads.read_only


def test_it_may_be_for_one_network(user: User) -> None:
    found = find(create_app_password(user=user, name="here", network="192.0.2.0/24")[1])
    assert found is not None
    callers = [Caller(Protocol.POP3, address) for address in ("192.0.2.9", "::ffff:192.0.2.9", "192.0.3.9", "::1", "")]
    refusals = [found.refusal(caller, timezone.now()) for caller in callers]
    assert refusals == [None, None] + [LoginResult.NETWORK] * 3


def test_it_may_end(user: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    found = find(create_app_password(user=user, name="holidays", expires_at=end)[1])
    assert found is not None
    assert found.refusal(POP3, end - timedelta(seconds=1)) is None
    assert found.refusal(POP3, end) is LoginResult.EXPIRED


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"name": " "}, "cannot be blank"),
        ({"name": "telephone"}, "already exists"),
        ({"name": "x", "network": "192.0.2.1/24"}, "is not a network"),
        ({"name": "x", "pop3": False, "smtp": False}, "opens_something"),
        ({"name": "x", "expires_at": timezone.now()}, "has passed"),
    ],
)
def test_what_cannot_work_is_refused(user: User, limits: dict[str, Any], said: str) -> None:
    create_app_password(user=user, name="telephone")
    with pytest.raises(ValidationError, match=said):
        create_app_password(user=user, **limits)
    assert AppPassword.objects.count() == 1


def test_the_database_refuses_one_that_opens_nothing(user: User) -> None:
    with pytest.raises(IntegrityError):
        AppPassword.objects.create(user=user, name="x", digest="x", pop3=False, smtp=False)


def test_two_users_may_use_the_same_name(user: User) -> None:
    create_app_password(user=user, name="telephone")
    create_app_password(user=create_account(username="alfred", password="x"), name="telephone")
    assert AppPassword.objects.count() == 2


def test_the_last_use_is_kept(user: User) -> None:
    made, _secret = create_app_password(user=user, name="telephone")
    other, _secret = create_app_password(user=user, name="tablet")
    now = timezone.now()
    earlier = now - timedelta(seconds=1)
    write_uses([Use(other.pk, earlier, "192.0.2.8"), Use(made.pk, now, "192.0.2.7"), Use(0, now, "")])
    # what another worker saw before does not overwrite it
    write_uses([Use(made.pk, earlier, "192.0.2.9"), Use(other.pk, now, "2001:db8::1")])
    kept = AppPassword.objects.order_by("pk").values_list("last_used_at", "last_used_from")
    assert list(kept) == [(now, "192.0.2.7"), (now, "2001:db8::1")]


def test_a_use_is_written_only_now_and_then(user: User) -> None:
    made, secret = create_app_password(user=user, name="telephone")
    now = timezone.now()
    unused = find(secret)
    assert unused is not None
    assert unused.use_is_news(now)
    write_uses([Use(made.pk, now, "192.0.2.7")])
    used = find(secret)
    assert used is not None
    assert not used.use_is_news(now + USE_WRITTEN_EVERY - timedelta(seconds=1))
    assert used.use_is_news(now + USE_WRITTEN_EVERY)


def test_a_revoked_one_opens_nothing_and_only_its_user_revokes_it(user: User) -> None:
    made, secret = create_app_password(user=user, name="telephone")
    other = create_account(username="alfred", password="x")
    assert revoke_app_password(user=other, pk=made.pk) is None
    assert find(secret) is not None
    assert revoke_app_password(user=user, pk=made.pk) == "telephone"
    assert find(secret) is None
    assert revoke_app_password(user=user, pk=made.pk) is None
