"""The door: who is let in, who is not, and that nobody outside can tell why."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError
from pytest_django import DjangoAssertNumQueries

from accounts import door
from accounts.app_passwords import create_app_password
from accounts.callers import Caller, Protocol
from accounts.models import AppPassword, Domain, LoginResult, Mailbox, User
from accounts.policies import Policy
from accounts.services import create_domain, set_active, set_password
from tests.accounts.house import ALFRED, ELSEWHERE, HOME, JULES, NOBODY, RIGHT, WRONG, House, person

SHAPED = "abcd-efgh-ijkl-mnop-qrst-uvwx-yz23"
Hashes = Callable[[], int]


def jules() -> User:
    return User.objects.get(username="jules")


def app_password(name: str = "telephone", **limits: object) -> str:
    _, secret = create_app_password(user=jules(), name=name, **limits)
    return secret


# --- Passwords --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["jules", JULES, "Jules%MAISON.mrs", f" {JULES} "])
def test_the_right_password_opens_the_mailbox_that_the_login_names(house: House, login: str) -> None:
    Domain.objects.update(expire_days=30)
    mailbox = Mailbox.objects.get(address=JULES)
    admission = house.admit(login)
    assert (admission.mailbox_id, admission.address, admission.user_id) == (mailbox.pk, JULES, mailbox.user_id)
    assert (admission.read_only, admission.app_password_id) == (False, None)
    assert admission.policy == Policy(expire_days=30, login_delay_seconds=0)


def test_whatever_is_wrong_is_for_the_record_alone(house: House) -> None:
    assert house.refusal(password=WRONG) is LoginResult.WRONG
    assert house.refusal(NOBODY) is LoginResult.UNKNOWN
    set_active(mailboxes=Mailbox.objects.filter(address=JULES), active=False)
    assert house.refusal() is LoginResult.SUSPENDED
    User.objects.filter(username="alfred").update(is_active=False)
    assert house.refusal(ALFRED) is LoginResult.SUSPENDED
    person("unusable", password="!")
    assert house.refusal("unusable") is LoginResult.WRONG


@pytest.mark.parametrize("login", ["", "a\0b", "\ud800", "x" * 256, "@", "%", "jules\n", "'; DROP TABLE", "é" * 255])
def test_a_login_may_be_anything(house: House, login: str) -> None:
    assert house.refusal(login) is LoginResult.UNKNOWN
    assert house.refusal(password=login, address="nowhere") is LoginResult.WRONG


def test_a_password_is_the_same_however_its_signs_are_composed(house: House) -> None:
    set_password(user=jules(), password="caf\u00e9 horse")
    assert house.admit(password="cafe\u0301\u00a0horse")


def test_who_comes_too_soon_costs_no_look_at_the_password(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """To prepare one of 3000 signs takes some 15 ms of the loop."""
    for number in range(8):
        house.guess(password=f"guess {number}")
    monkeypatch.setattr(door, "prepare_password", None)
    assert house.throttled(password="\u0f71" * 3000) > 10
    assert house.door.recall(Caller(Protocol.POP3, HOME), JULES, "\u0f71" * 3000) is None


def test_a_right_password_is_remembered_and_a_changed_one_fails_at_once(house: House, hashes: Hashes) -> None:
    house.admit()
    house.settle()
    assert hashes() == 1
    house.admit()
    assert hashes() == 0
    set_password(user=jules(), password="new")
    house.settle()
    hashes()
    assert house.refusal() is LoginResult.WRONG
    assert house.admit(password="new")
    house.settle()
    assert hashes() == 2


def test_a_suspended_mailbox_fails_at_once_though_its_password_is_remembered(house: House) -> None:
    house.admit()
    set_active(mailboxes=Mailbox.objects.filter(address=JULES), active=False)
    assert house.refusal() is LoginResult.SUSPENDED
    set_active(mailboxes=Mailbox.objects.filter(address=JULES), active=True)
    assert house.admit()


def test_the_memory_of_passwords_can_be_switched_off(house: House, hashes: Hashes) -> None:
    forgetful = House(seconds=0)
    for _ in range(2):
        hashes()
        forgetful.admit()
        forgetful.settle()
        assert hashes() == 1


def test_a_remembered_login_is_one_statement(house: House, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    house.admit()
    house.settle()
    with django_assert_num_queries(1):
        house.admit()
        house.settle()


# --- Nobody can tell why ----------------------------------------------------------------------------------------------


def suspended() -> None:
    set_active(mailboxes=Mailbox.objects.filter(address=JULES), active=False)


def suspended_user() -> None:
    User.objects.filter(username="jules").update(is_active=False)


def without_password() -> None:
    User.objects.filter(username="jules").update(password="!nothing")


def with_two_factor() -> None:
    User.objects.filter(username="jules").update(two_factor=True)


REFUSED = [
    pytest.param(NOBODY, RIGHT, None, id="unknown"),
    pytest.param("nobody", RIGHT, None, id="unknown bare name"),
    pytest.param(JULES, WRONG, None, id="wrong"),
    pytest.param(JULES, RIGHT, suspended, id="suspended mailbox"),
    pytest.param(JULES, RIGHT, suspended_user, id="suspended user"),
    pytest.param(JULES, RIGHT, without_password, id="no password"),
    pytest.param(JULES, RIGHT, with_two_factor, id="two-factor, right"),
    pytest.param(JULES, WRONG, with_two_factor, id="two-factor, wrong"),
]


@pytest.mark.parametrize(("login", "password", "prepare"), REFUSED)
def test_every_refusal_is_the_same_work(
    house: House, hashes: Hashes, django_assert_num_queries: DjangoAssertNumQueries,
    login: str, password: str, prepare: Callable[[], None] | None,
) -> None:  # fmt: skip
    if prepare:
        prepare()
    hashes()
    with django_assert_num_queries(1):
        house.refusal(login, password)
        house.settle()
    assert hashes() == 1
    # and again: the same guess costs nobody a hash
    with django_assert_num_queries(1):
        house.refusal(login, password)
    assert hashes() == 0


@pytest.mark.parametrize(("login", "prepare"), [(p.values[0], p.values[2]) for p in REFUSED])
def test_so_is_every_refusal_of_what_looks_like_an_app_password(
    house: House, hashes: Hashes, django_assert_num_queries: DjangoAssertNumQueries,
    login: str, prepare: Callable[[], None] | None,
) -> None:  # fmt: skip
    if prepare:
        prepare()
    hashes()
    with django_assert_num_queries(2):
        house.refusal(login, SHAPED)
    assert hashes() == 1


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
@pytest.mark.parametrize(("login", "password", "prepare"), REFUSED)
def test_so_is_every_refusal_by_scram(
    house: House, hashes: Hashes, django_assert_num_queries: DjangoAssertNumQueries,
    login: str, password: str, prepare: Callable[[], None] | None, mechanism: str,
) -> None:  # fmt: skip
    if prepare:
        prepare()
    hashes()
    with django_assert_num_queries(6):
        house.scram_refusal(login, password, mechanism=mechanism)
    # the client's own, twice for scramp has it computed each time it is asked
    assert hashes() <= 2


@pytest.mark.parametrize(("login", "password", "prepare"), REFUSED)
def test_every_refusal_counts_the_same(
    house: House, login: str, password: str, prepare: Callable[[], None] | None
) -> None:
    if prepare:
        prepare()
    began = house.clock.now
    slept = []
    for number in range(8):
        # with two-factor the right password is one guess of eight
        house.refusal(login, password if number == 3 else f"{WRONG} {number}")
        slept.append(house.clock.now - began)
    assert slept == pytest.approx([0, 0, 0, 0, 1, 3, 7, 15], abs=0.1)
    assert house.throttled(login, "one more") == 16


def test_a_slow_hash_is_computed_for_a_user_who_is_not_here_with_the_hasher_in_use(house: House) -> None:
    """The settings of the tests are cheap ones; those of the product are Argon2's for known and unknown alike."""
    with pytest.MonkeyPatch.context() as patch:
        computed: list[str] = []
        patch.setattr(
            "django.contrib.auth.hashers.MD5PasswordHasher.verify",
            lambda hasher, password, encoded: computed.append(encoded.partition("$")[0]),
        )
        house.refusal(NOBODY)
        house.refusal(password=WRONG)
    assert computed == ["md5", "md5"]


# --- App passwords ----------------------------------------------------------------------------------------------------


def test_an_app_password_opens_without_a_slow_hash(
    house: House, hashes: Hashes, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    secret = app_password()
    hashes()
    with django_assert_num_queries(2):
        admission = house.admit(password=secret.replace("-", " ").upper())
    assert hashes() == 0
    assert admission.app_password_id == AppPassword.objects.get().pk
    assert not admission.read_only


def test_a_read_only_one_says_so(house: House) -> None:
    assert house.admit(password=app_password(read_only=True)).read_only


def test_it_opens_for_its_protocol_network_and_time(house: House) -> None:
    reads, here = app_password("reads", smtp=False), app_password("here", network="192.0.2.0/24")
    house.clock.now = datetime.now(UTC).timestamp()
    soon = app_password("soon", expires_at=datetime.fromtimestamp(house.clock.now, UTC) + timedelta(hours=1))
    for secret in (reads, here, soon):
        assert house.admit(password=secret)
    assert house.refusal(password=reads, protocol=Protocol.SMTP) is LoginResult.PROTOCOL
    assert house.refusal(password=here, address=ELSEWHERE) is LoginResult.NETWORK
    house.clock.now += 3600
    assert house.refusal(password=soon) is LoginResult.EXPIRED
    assert house.last_record().app_password == "soon"


def test_it_is_revoked_at_once(house: House) -> None:
    secret = app_password()
    house.admit(password=secret)
    AppPassword.objects.all().delete()
    assert house.refusal(password=secret) is LoginResult.WRONG


def test_it_is_its_users_alone(house: House) -> None:
    assert house.refusal(ALFRED, app_password()) is LoginResult.WRONG


def test_it_opens_no_suspended_mailbox(house: House) -> None:
    secret = app_password()
    suspended()
    assert house.refusal(password=secret) is LoginResult.SUSPENDED


def test_a_password_that_looks_like_one_opens_too(house: House) -> None:
    set_password(user=jules(), password=SHAPED)
    assert house.admit(password=SHAPED).app_password_id is None


def test_its_last_use_is_kept_and_not_at_each_login(
    house: House, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    secret = app_password()
    house.admit(password=secret)
    house.tend()
    used = AppPassword.objects.get()
    assert (used.last_used_at, used.last_used_from) == (datetime.fromtimestamp(house.clock.now, UTC), HOME)
    house.clock.now += 299
    house.admit(password=secret, address=ELSEWHERE)
    house.tend()
    assert AppPassword.objects.get().last_used_from == HOME
    house.clock.now += 1
    house.admit(password=secret, address=ELSEWHERE)
    house.tend()
    assert AppPassword.objects.get().last_used_from == ELSEWHERE


def test_a_last_use_that_could_not_be_written_is_written_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.admit(password=app_password())
    with monkeypatch.context() as patch:
        patch.setattr("accounts.watch.write_uses", lambda uses: (_ for _ in ()).throw(DatabaseError("away")))
        house.tend()
    assert AppPassword.objects.get().last_used_at is None
    house.tend()
    assert AppPassword.objects.get().last_used_at is not None


# --- Two-factor -------------------------------------------------------------------------------------------------------


def test_with_two_factor_only_an_app_password_opens(house: House) -> None:
    secret = app_password()
    house.admit()
    with_two_factor()
    assert house.refusal() is LoginResult.TWO_FACTOR
    assert house.scram_refusal() is LoginResult.TWO_FACTOR
    assert house.admit(password=secret)
    User.objects.update(two_factor=False)
    assert house.admit()
    assert house.scram()


def test_with_two_factor_a_right_password_is_not_quicker_than_a_wrong_one(house: House, hashes: Hashes) -> None:
    with_two_factor()
    for seconds in (0, 300):
        one = House(seconds)
        taken = []
        for password in (RIGHT, WRONG):
            for _ in range(3):
                hashes()
                one.refusal(password=password)
                taken.append(hashes())
        assert taken == [1, 0, 0, 1, 0, 0]


# --- Delegates --------------------------------------------------------------------------------------------------------


def test_a_delegate_opens_the_mailbox_that_is_entrusted_to_him(house: House) -> None:
    alfreds = Mailbox.objects.get(address=ALFRED)
    assert house.refusal(authzid=ALFRED) is LoginResult.DELEGATION
    alfreds.delegates.add(jules())
    for admission in (house.admit(authzid="Alfred%maison.mrs"), house.scram(authzid=ALFRED)):
        assert (admission.mailbox_id, admission.address, admission.user_id) == (alfreds.pk, ALFRED, jules().pk)
    assert house.last_record().mailbox_id == alfreds.pk
    assert house.refusal(ALFRED, authzid=JULES) is LoginResult.DELEGATION
    set_active(mailboxes=Mailbox.objects.filter(pk=alfreds.pk), active=False)
    assert house.refusal(authzid=ALFRED) is LoginResult.DELEGATION


def test_the_delegates_own_password_opens_it_and_no_other(house: House) -> None:
    set_password(user=User.objects.get(username="alfred"), password="alfreds")
    Mailbox.objects.get(address=ALFRED).delegates.add(jules())
    assert house.refusal(password="alfreds", authzid=ALFRED) is LoginResult.WRONG
    assert house.admit(authzid=ALFRED)


@pytest.mark.parametrize("authzid", [NOBODY, "\0", "x" * 1000, "\ud800"])
def test_a_mailbox_that_is_not_there_is_refused_as_one_that_is_not_entrusted(house: House, authzid: str) -> None:
    assert house.refusal(authzid=authzid) is LoginResult.DELEGATION


@pytest.mark.parametrize("authzid", [JULES, "jules", " JULES%maison.mrs"])
def test_to_name_the_own_mailbox_is_to_name_none(
    house: House, authzid: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    assert house.admit(authzid=authzid).address == JULES
    assert house.admit("jules", authzid=authzid).address == JULES


def test_the_other_mailboxes_of_a_user_are_his(house: House) -> None:
    other = create_domain(name="alfred.maison.mrs")
    Mailbox.objects.create(user=jules(), domain=other, local_part="jules")
    assert house.admit(authzid="jules@alfred.maison.mrs").address == "jules@alfred.maison.mrs"


def test_an_admission_says_which_password_it_was(house: House) -> None:
    mark = jules().password_mark
    assert mark
    assert house.admit().password_mark == house.scram().password_mark == mark
    assert house.admit(password=app_password()).password_mark is None
    set_password(user=jules(), password=RIGHT)
    assert house.admit().password_mark == jules().password_mark != mark


@pytest.mark.parametrize(
    ("login", "authzid", "combined"),
    [
        ("jules", "", True),
        ("jules", "JULES", True),
        (JULES, "jules", True),
        (JULES, "", False),
        ("jules", JULES, False),
        ("jules", "jules%maison.mrs", False),
        ("jules", ALFRED, False),
        ("jules", "alfred", False),
    ],
)
def test_the_bare_name_asks_for_all_of_ones_own_mailboxes(
    house: House, login: str, authzid: str, combined: bool
) -> None:
    Mailbox.objects.get(address=ALFRED).delegates.add(jules())
    assert not house.admit(login, authzid=authzid).combined
    User.objects.update(combined=True)
    assert house.admit(login, authzid=authzid).combined is combined
    assert house.scram(login, authzid=authzid).combined is combined


def test_an_app_password_keeps_its_limits_in_anothers_mailbox(house: House) -> None:
    Mailbox.objects.get(address=ALFRED).delegates.add(jules())
    admission = house.admit(password=app_password(read_only=True), authzid=ALFRED)
    assert (admission.address, admission.read_only) == (ALFRED, True)


def test_a_refused_wish_is_no_wrong_password(house: House) -> None:
    for _ in range(20):
        house.refusal(authzid=ALFRED)
    assert house.admit()
