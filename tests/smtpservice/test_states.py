"""A session's states: each has what is known in it, and what was known in another is gone."""

from dataclasses import FrozenInstanceError

import pytest

from smtpservice import replies
from smtpservice.commands import Mail
from smtpservice.requests import Service
from smtpservice.states import Chunks, Closed, Negotiating, Open, Ready, Receiving, Skipping, Start
from tests.smtpservice.driving import ENVELOPE, Talk

READY = Ready("me", extended=True)


def test_a_session_goes_through_all_of_them() -> None:
    talk, seen = Talk(tls_offered=True, greeted=False), []
    for said in (b"", b"EHLO me\r\n", ENVELOPE, b"DATA\r\n", b"\r\n.\r\n", b"STARTTLS\r\n", b"QUIT\r\n"):
        talk.say(said)
        seen.append(type(talk.session.state))
    assert seen == [Start, Ready, Open, Receiving, Ready, Start, Closed]


def test_a_login_and_chunks_have_states_of_their_own() -> None:
    talk, seen = Talk(Service.SUBMISSION, plaintext=True, mechanisms=("PLAIN", "LOGIN")), []
    talk.answers = [replies.WRONG_LOGIN, "jules"]
    login = b"AUTH PLAIN AGEAYg==\r\n"
    for said in (b"AUTH PLAIN\r\n", b"*\r\n", login, login, ENVELOPE, b"BDAT 4\r\nab", b"cd", b"BDAT 2 LAST\r\nef"):
        talk.say(said)
        seen.append(type(talk.session.state))
    assert seen == [Negotiating, Ready, Ready, Ready, Open, Chunks, Chunks, Ready]
    talk.say(b"BDAT 4\r\nab")
    assert isinstance(talk.session.state, Skipping)


@pytest.mark.parametrize("service", Service)
def test_nothing_of_a_transaction_is_left_in_the_next(service: Service) -> None:
    talk = Talk(service, submitter="jules")
    talk.say(b"MAIL FROM:<first@example.org> SIZE=5\r\nRCPT TO:<jules@maison.mrs>\r\nRCPT TO:<nobody@maison.mrs>\r\n")
    talk.say(b"RSET\r\n", ENVELOPE)
    state = talk.session.state
    assert isinstance(state, Open)
    assert state.mail == Mail("a@example.org", 0)
    assert (state.recipients, state.asked, state.pending) == (["jules@maison.mrs"], 1, 0)


def test_two_transactions_share_nothing() -> None:
    first, second = (Open[str](READY, Mail("", 0)) for _ in range(2))
    first.recipients.append("jules")
    assert second.recipients == []
    assert Receiving(first).reader is not Receiving(first).reader


@pytest.mark.parametrize("state", [Start(), READY, Closed()], ids=lambda state: type(state).__name__)
def test_a_state_without_a_transaction_cannot_change(state: object) -> None:
    name = "client"
    with pytest.raises((FrozenInstanceError, TypeError)):
        setattr(state, name, "other")
