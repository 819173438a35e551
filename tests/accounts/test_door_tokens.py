"""Bearer tokens at the door: the token says who comes in, and opens what that user may open."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import tokens
from accounts.callers import Caller, Protocol
from accounts.door import Admission, NotAdmittedError, ThrottledError
from accounts.models import KnownAddress, LoginRecord, LoginResult, Mailbox, Throttle, User
from accounts.services import set_active
from accounts.tokens import BearerToken, IntrospectionError
from tests.accounts.house import ALFRED, ELSEWHERE, HOME, JULES, NOBODY, House
from tests.accounts.issuer import Issuer

OF_JULES = "jules"


@pytest.fixture
def issuer(settings: Settings) -> Iterator[Issuer]:
    with Issuer() as issuer:
        settings.OAUTH_INTROSPECTOR = "accounts.tokens.EndpointIntrospector"
        settings.OAUTH_INTROSPECTION_URL = issuer.url
        issuer.tokens = {
            name: {"active": True, "username": f"{name}@maison.mrs"} for name in ("jules", "alfred", "nobody")
        }
        yield issuer


@pytest.fixture
def entrance(issuer: Issuer, house: House) -> House:
    """The house again, with a door that takes tokens."""
    return House(clock=house.clock)


def come(house: House, login: str = JULES, token: str = OF_JULES, address: str = HOME) -> Admission:
    admission: Admission = house.drive(house.door.admit_token(Caller(Protocol.POP3, address), login, token))
    return admission


def refusal(house: House, login: str = JULES, token: str = OF_JULES) -> LoginResult:
    with pytest.raises(NotAdmittedError) as caught:
        come(house, login, token)
    return caught.value.reason


@pytest.mark.parametrize("login", [JULES, "jules", "Jules%maison.mrs", ""])
def test_a_token_opens_its_users_mailbox(entrance: House, login: str) -> None:
    admission = come(entrance, login)
    assert (admission.address, admission.user_id) == (JULES, User.objects.get(username="jules").pk)
    record = entrance.last_record()
    assert (record.login, record.mechanism, record.result) == (login or JULES, "OAUTHBEARER", "admitted")
    assert record.mailbox_id == admission.mailbox_id


def test_it_costs_no_hash_and_is_asked_for_once(
    entrance: House, issuer: Issuer, hashes: Callable[[], int], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    hashes()
    with django_assert_num_queries(2):
        come(entrance)
        come(entrance)
    assert hashes() == 0
    assert len(issuer.questions) == 1


def test_it_opens_what_is_entrusted_to_its_user_and_nothing_else(entrance: House) -> None:
    assert refusal(entrance, ALFRED) is LoginResult.DELEGATION
    assert refusal(entrance, NOBODY) is LoginResult.DELEGATION
    Mailbox.objects.get(address=ALFRED).delegates.add(User.objects.get(username="jules"))
    assert come(entrance, ALFRED).address == ALFRED


def test_a_token_of_somebody_without_a_mailbox_opens_none(entrance: House) -> None:
    assert refusal(entrance, "", "nobody") is LoginResult.UNKNOWN
    assert refusal(entrance, JULES, "nobody") is LoginResult.UNKNOWN
    set_active(mailboxes=Mailbox.objects.filter(address=JULES), active=False)
    assert refusal(entrance) is LoginResult.SUSPENDED


def test_with_two_factor_a_token_opens_still(entrance: House) -> None:
    """Whoever issued it has asked for the second factor."""
    User.objects.update(two_factor=True)
    assert come(entrance)


def test_a_token_that_is_none_is_refused_and_counted_and_asked_for_once(entrance: House, issuer: Issuer) -> None:
    for _ in range(30):
        assert refusal(entrance, token="old") is LoginResult.TOKEN
    assert len(issuer.questions) == 1
    assert come(entrance)
    for number in range(7):
        assert refusal(entrance, token=f"guess{number}") is LoginResult.TOKEN
    with pytest.raises(ThrottledError):
        come(entrance)
    assert come(entrance, address=ELSEWHERE)
    assert entrance.last_record().result == "admitted"


def test_what_was_let_in_knows_its_token_until_that_runs_out(entrance: House, issuer: Issuer) -> None:
    expires_at = entrance.clock.now + 3600
    issuer.tokens[OF_JULES] = {"active": True, "username": JULES, "exp": expires_at}
    admission = come(entrance)
    assert admission.token == BearerToken(OF_JULES, expires_at)
    assert admission.password_mark is None
    assert OF_JULES not in repr(admission.token)


def revoked(entrance: House, tokens: Sequence[BearerToken | None]) -> list[bool]:
    return [entrance.drive(entrance.door.is_revoked(token)) for token in tokens if token is not None]


def test_a_token_that_is_revoked_is_found_out_within_a_minute(entrance: House, issuer: Issuer) -> None:
    tokens = [come(entrance).token, come(entrance, ALFRED, "alfred").token]
    del issuer.tokens[OF_JULES]
    assert revoked(entrance, tokens) == [False, False]
    assert len(issuer.questions) == 2
    entrance.clock.now += 60
    for _ in range(3):
        assert revoked(entrance, tokens) == [True, False]
    assert len(issuer.questions) == 4


def test_where_the_issuer_is_away_a_token_counts_as_valid(
    entrance: House, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = [come(entrance).token, come(entrance, ALFRED, "alfred").token]
    entrance.clock.now += 60
    issuer.answer = lambda handler: handler.say(b"", 503)
    for _ in range(3):
        assert revoked(entrance, tokens) == [False, False]
    issuer.answer = None
    for _ in range(3):
        assert revoked(entrance, tokens) == [False, False]
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("nobody can be asked about bearer tokens: the introspection endpoint failed: ValueError: status 503", None),
        ("bearer tokens can be asked about again", None),
    ]


def test_an_error_of_ours_is_logged_with_all_of_it(
    entrance: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(introspector: object, token: str) -> None:
        raise RuntimeError("broken")

    tokens = [come(entrance).token]
    entrance.clock.now += 60
    monkeypatch.setattr("accounts.tokens.EndpointIntrospector.introspect", broken)
    assert revoked(entrance, tokens) == [False]
    assert "was not asked about" in caplog.text
    assert "RuntimeError: broken" in caplog.text


def test_where_no_tokens_are_taken_none_opens(house: House) -> None:
    assert refusal(house) is LoginResult.TOKEN


def test_an_issuer_that_is_away_is_an_error_of_ours(entrance: House, issuer: Issuer) -> None:
    issuer.answer = lambda handler: handler.say(b"", 503)
    for _ in range(20):
        with pytest.raises(IntrospectionError):
            come(entrance)
    assert entrance.last_record().result == "error"
    issuer.answer = None
    assert come(entrance)


def test_too_many_tokens_at_once_are_told_to_come_later(entrance: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "THREADS", 0)
    monkeypatch.setattr(tokens, "MOST_WAITING", 0)
    with pytest.raises(ThrottledError) as caught:
        come(entrance)
    assert caught.value.reason is LoginResult.BUSY


def test_no_token_is_written_or_logged(entrance: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    refusal(entrance, token="very-secret-token")
    entrance.tend()
    assert LoginRecord.objects.count() == 1
    for model in (LoginRecord, Throttle, KnownAddress):
        assert "very-secret" not in repr(list(model.objects.values()))
    assert "very-secret" not in caplog.text
