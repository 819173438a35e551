"""SCRAM at the door: proofs against verifiers that are kept, or invented."""

import asyncio
from collections.abc import Callable

import pytest
from pytest_django import Settings

from accounts.callers import Caller, Protocol
from accounts.door import NotAdmittedError, ThrottledError
from accounts.models import LoginResult, Mailbox, User
from accounts.services import set_active, set_password
from tests.accounts.house import ELSEWHERE, HOME, JULES, NOBODY, WRONG, House


def jules() -> User:
    return User.objects.get(username="jules")


def suspended() -> None:
    set_active(mailboxes=Mailbox.objects.filter(address=JULES), active=False)


def with_two_factor() -> None:
    User.objects.filter(username="jules").update(two_factor=True)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_a_right_proof_opens_and_a_wrong_one_does_not(house: House, mechanism: str) -> None:
    admission = house.scram(mechanism=mechanism)
    assert (admission.address, admission.user_id) == (JULES, jules().pk)
    assert house.scram_refusal(password=WRONG, mechanism=mechanism) is LoginResult.WRONG
    assert house.scram_refusal(NOBODY, mechanism=mechanism) is LoginResult.UNKNOWN
    record = house.last_record()
    assert (record.mechanism, record.result) == (mechanism, "unknown")


def test_the_verifier_of_an_unknown_user_is_the_same_each_time_and_for_each_of_his_names(house: House) -> None:
    invented = house.verifier(NOBODY)
    assert [House().verifier(login) for login in ("nobody", "Nobody%maison.mrs")] == [invented] * 2
    assert house.verifier("nobody@elsewhere.mrs") != invented
    known = house.verifier(JULES)
    assert [House().verifier(login) for login in ("jules", "Jules%maison.mrs")] == [known] * 2
    assert len(known.salt) == len(invented.salt)
    assert house.verifier("\0") != invented


def test_a_user_without_verifiers_is_told_nothing_and_the_record_says_it(house: House) -> None:
    User.objects.update(scram="")
    assert house.scram_refusal() is LoginResult.SCRAM
    house.admit()
    house.settle()
    assert house.scram()


@pytest.mark.parametrize("change", [lambda: set_password(user=jules(), password="new"), suspended, with_two_factor])
def test_what_changes_between_challenge_and_proof_counts(house: House, change: Callable[[], None]) -> None:
    caller, verifier = Caller(Protocol.POP3, HOME), house.verifier(JULES)
    change()
    with pytest.raises(NotAdmittedError):
        house.drive(house.door.admit_proven(caller, JULES, verifier))


def test_no_invented_verifier_is_ever_proven(house: House) -> None:
    caller, verifier = Caller(Protocol.POP3, HOME), house.verifier(NOBODY)
    for login in (NOBODY, JULES):
        with pytest.raises(NotAdmittedError):
            house.drive(house.door.admit_proven(caller, login, verifier))


def test_a_mechanism_that_is_off_cannot_be_asked_for(house: House, settings: Settings) -> None:
    settings.SCRAM_MECHANISMS = ["SCRAM-SHA-256"]
    with pytest.raises(ValueError, match="SCRAM-SHA-1"):
        house.verifier(JULES, "SCRAM-SHA-1")


def test_wrong_proofs_are_throttled_as_wrong_passwords_are(house: House) -> None:
    for _ in range(8):
        house.scram_refusal(password=WRONG)
    with pytest.raises(ThrottledError):
        house.scram(password=WRONG)
    assert house.throttled() > 10
    assert house.scram(address=ELSEWHERE)


def test_proofs_that_were_begun_before_the_first_one_failed_are_throttled_too(house: House) -> None:
    """Else as many guesses are free as an attacker can open connections. What is not looked at tells nothing."""
    caller, verifier = Caller(Protocol.POP3, HOME), house.verifier(JULES)

    async def all_at_once() -> list[object]:
        proofs = [house.door.judge(caller, JULES, verifier, fits=False) for _ in range(30)]
        return await asyncio.gather(*proofs, return_exceptions=True)

    answers = [type(answer) for answer in house.drive(all_at_once())]
    assert 4 <= answers.count(NotAdmittedError) < 10
    assert answers.count(ThrottledError) == 30 - answers.count(NotAdmittedError)
    for asking in (
        house.door.judge(caller, JULES, verifier, fits=True),
        house.door.admit_proven(caller, JULES, verifier),
    ):
        with pytest.raises(ThrottledError):
            house.drive(asking)


def test_what_fails_while_the_database_is_asked_whether_the_address_is_known_counts_too(house: House) -> None:
    house.admit()  # so that the address is known
    for number in range(35):
        house.guess(NOBODY, f"guess {number}")  # for which others wait, from this address
    caller, verifier = Caller(Protocol.POP3, HOME), house.verifier(JULES)
    house.tend()
    house.door._watch._known._known.clear()  # as in another worker

    async def all_at_once() -> list[object]:
        proofs = [house.door.judge(caller, JULES, verifier, fits=False) for _ in range(30)]
        return await asyncio.gather(*proofs, return_exceptions=True)

    answers = [type(answer) for answer in house.drive(all_at_once())]
    assert 4 <= answers.count(NotAdmittedError) < 10
