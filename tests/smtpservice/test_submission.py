"""Submission on the database: whose addresses, what is added, how much a day, and that nobody else gets out."""

import asyncio
import email
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pytest_django import Settings

from accounts.allowance import SentCount
from accounts.app_passwords import create_app_password, revoke_app_password
from accounts.callers import Caller, Protocol
from accounts.door import Admission, NotAdmittedError, ThrottledError
from accounts.guests import Guest
from accounts.models import Domain, LoginResult, Mailbox, User
from accounts.policies import Policy
from accounts.sasl import Authenticate
from accounts.services import create_alias, set_active
from accounts.tokens import BearerToken, IntrospectionError
from mailplatform.bridge import Bridge
from smtpservice import commands, queue, replies
from smtpservice.commands import Mail
from smtpservice.intake import LocalIntake
from smtpservice.models import QueuedMessage
from smtpservice.queue import read_pieces
from smtpservice.replies import Reply
from smtpservice.requests import CheckSender, Service
from smtpservice.storing import Accepted
from smtpservice.submission import Desk, Submitter, elsewhere
from tests.smtpservice.local import ask, assert_nothing_is_stored, make_mailbox, send, stored, with_intake
from tests.smtpservice.serving import run

pytestmark = pytest.mark.django_db(transaction=True)

JULES, ALFRED, OUTSIDE = "jules@maison.mrs", "alfred@maison.mrs", "x@elsewhere.org"
MESSAGE = b"From: Jules <jules@maison.mrs>\r\nSubject: hello\r\n\r\nhello\r\n"


@pytest.fixture(autouse=True)
def jules() -> Submitter:
    make_mailbox(JULES)
    make_mailbox(ALFRED)
    return Submitter(Mailbox.objects.get(address=JULES).user_id, JULES)


def submitted(submitter: Submitter, message: bytes, *addresses: str, sender: str = JULES, **more: Any) -> Reply:
    async def use(intake: LocalIntake) -> list[Reply]:
        found = await ask(intake, [f"<{address}>" for address in addresses], submitter=submitter)
        return await send(
            intake, message, found, service=Service.SUBMISSION, sender=sender, submitter=submitter, **more
        )

    (answer,) = with_intake(use)
    return answer


def queued() -> bytes:
    """The one message in the queue."""
    return b"".join(read_pieces(QueuedMessage.objects.get().pk))


# --- To whom --------------------------------------------------------------------------------------------------------


def test_recipients_here_and_elsewhere_are_one_transaction(jules: Submitter) -> None:
    answer = submitted(jules, MESSAGE, ALFRED, OUTSIDE, returned="HDRS", envelope_id="x1")
    assert answer.code == 250
    (copy,) = stored(ALFRED)
    message = QueuedMessage.objects.get()
    assert (message.sender, message.returned, message.envelope_id) == (JULES, "HDRS", "x1")
    assert message.recipients.get().address == OUTSIDE
    assert copy.endswith(MESSAGE)
    assert queued().endswith(MESSAGE)


def test_a_full_mailbox_here_keeps_it_from_all_and_is_not_counted(jules: Submitter) -> None:
    Mailbox.objects.filter(address=ALFRED).update(quota_octets=2000)
    assert submitted(jules, MESSAGE + b"x" * 3000, ALFRED, OUTSIDE) == replies.OVER_QUOTA
    assert_nothing_is_stored()
    assert not QueuedMessage.objects.exists()
    assert not SentCount.objects.exists()


def test_rfc_3461_what_the_sender_wants_to_be_told_goes_along(jules: Submitter) -> None:
    async def use(intake: LocalIntake) -> list[Reply]:
        address = commands.recipient(f"TO:<{OUTSIDE}> NOTIFY=SUCCESS ORCPT=rfc822;y@z.org")
        found = elsewhere(address)
        return await send(intake, MESSAGE, [found], service=Service.SUBMISSION, sender=JULES, submitter=jules)

    with_intake(use)
    recipient = QueuedMessage.objects.get().recipients.get()
    assert (recipient.notify, recipient.original) == ("SUCCESS", "rfc822;y@z.org")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("<x@elsewhere.org>", OUTSIDE),
        ('<"a b"@elsewhere.org>', '"a b"@elsewhere.org'),
        ("<x@[192.0.2.1]>", replies.NO_RELAYING_THERE),
        ("<nobody@maison.mrs>", replies.UNKNOWN_RECIPIENT),
    ],
)
def test_who_has_logged_in_sends_elsewhere(jules: Submitter, path: str, expected: str | Reply) -> None:
    async def use(intake: LocalIntake) -> Sequence[Accepted | Reply]:
        return await ask(intake, [path], submitter=jules)

    (found,) = with_intake(use)
    assert (found.route.forwards[0].address if isinstance(found, Accepted) else found) == expected


def test_nobody_else_does() -> None:
    async def use(intake: LocalIntake) -> Sequence[Accepted | Reply]:
        return await ask(intake, [f"<{OUTSIDE}>"])

    assert with_intake(use) == [replies.RELAYING_DENIED]


def test_rfc_6531_a_domain_that_the_dns_cannot_know_is_no_path() -> None:
    assert elsewhere(commands.Address("x", f"{'é' * 80}.org")) == replies.BAD_PATH


# --- From whom ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"From: alfred@maison.mrs",
        b"From: Jules <jules@maison.mrs>, alfred@maison.mrs",
        b"From: jules@maison.mrs\r\nFrom: alfred@maison.mrs",
        b"from:\r\n alfred@maison.mrs",
        b'From: "jules@maison.mrs" <alfred@maison.mrs>',
        b"From: x@elsewhere.org",
        b"From: undisclosed",
        b"From : alfred@maison.mrs",
        b"From: jules@maison.mrs (\r\nFrom: alfred@maison.mrs",
        b"From: " + b"(" * 2000 + b")" * 2000 + b" alfred@maison.mrs",
        b"From: jules@maison.mrs\r\nno field\r\nFrom: alfred@maison.mrs",
        b"From: \xe9@maison.mrs",
        b"Resent-From: jules@maison.mrs\r\nFrom: alfred@maison.mrs",
    ],
)
def test_rfc_6409_6_1_a_header_that_claims_to_be_of_others_is_refused(
    jules: Submitter, header: bytes, settings: Settings
) -> None:
    message = header + b"\r\n\r\nhello\r\n"
    assert submitted(jules, message, OUTSIDE) == replies.NOT_YOUR_FROM
    assert not QueuedMessage.objects.exists()
    settings.SUBMISSION_CHECK_FROM = False
    assert submitted(jules, message, OUTSIDE).code == 250


@pytest.mark.parametrize("author", [b"jules+shop@maison.mrs", b"JULES@Maison.MRS", b"info@maison.mrs"])
def test_a_header_of_theirs_is_taken(jules: Submitter, author: bytes) -> None:
    create_alias(domain=Domain.objects.get(), local_part="info", targets=JULES)
    assert submitted(jules, b"From: J. <%s>\r\n\r\nhello\r\n" % author, OUTSIDE).code == 250


def test_a_header_that_cannot_be_looked_through_is_refused(jules: Submitter) -> None:
    message = b"X: y\r\n" * 20_000 + b"From: alfred@maison.mrs\r\n\r\nhello\r\n"
    assert submitted(jules, message, OUTSIDE) == replies.HEADER_TOO_LARGE


def with_desk(use: Callable[[Desk], Any], door: Any = None) -> Any:
    async def main() -> Any:
        bridge = Bridge(threads=1)
        try:
            return await use(Desk(bridge, door or FakeDoor()))
        finally:
            await bridge.close()

    return run(main())


class FakeDoor:
    """Answers whatever it was made with."""

    mechanisms = ("PLAIN",)

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.revoked: set[BearerToken] = set()

    async def is_revoked(self, token: BearerToken) -> bool:
        return token in self.revoked

    async def admit(self, caller: Caller, login: str, password: str, **more: str) -> Admission:
        if isinstance(self.answer, BaseException):
            raise self.answer
        assert isinstance(self.answer, Admission)
        return self.answer


def checked(submitter: Submitter, *senders: str, door: FakeDoor | None = None) -> list[Reply | None]:
    async def use(desk: Desk) -> list[Reply | None]:
        return [await desk.check_sender(CheckSender(submitter, Mail(sender, 0))) for sender in senders]

    found: list[Reply | None] = with_desk(use, door)
    return found


def test_rfc_6409_6_1_the_reverse_path_is_the_users_or_null(jules: Submitter) -> None:
    assert checked(jules, JULES, "jules+x@maison.mrs", "") == [None] * 3
    refused = [ALFRED, OUTSIDE, "nobody@maison.mrs", "jules@villa.mrs"]
    assert checked(jules, *refused) == [replies.NOT_YOUR_ADDRESS] * 4


def test_a_host_that_is_trusted_sends_from_all_domains_here_and_from_no_other(settings: Settings) -> None:
    settings.SUBMISSION_NETWORKS = ["192.0.2.0/28", "2001:db8::/32"]

    async def use(desk: Desk) -> list[object]:
        return [desk.recognise(address) for address in ("192.0.2.1", "192.0.2.17", "2001:db8::7", "unknown")]

    printer, *others = with_desk(use)
    assert printer == Submitter(0, "192.0.2.1")
    assert others == [None, Submitter(0, "2001:db8::7"), None]
    assert checked(printer, JULES, "printer@maison.mrs", "", OUTSIDE) == [None] * 3 + [replies.NOT_YOUR_ADDRESS]
    assert submitted(printer, b"Subject: x\r\n\r\n", OUTSIDE, sender="printer@maison.mrs").code == 250
    assert submitted(printer, b"From: x@elsewhere.org\r\n\r\n", OUTSIDE) == replies.NOT_YOUR_FROM
    settings.SUBMISSION_NETWORKS = []
    assert with_desk(use) == [None] * 4


# --- How much -------------------------------------------------------------------------------------------------------


def test_a_days_limit_is_told_before_the_message_and_behind_it(jules: Submitter, settings: Settings) -> None:
    settings.SUBMISSION_RECIPIENTS_PER_DAY = 3
    assert submitted(jules, MESSAGE, OUTSIDE, ALFRED).code == 250
    assert checked(jules, JULES) == [None]
    assert submitted(jules, MESSAGE, OUTSIDE, ALFRED) == replies.DAY_IS_FULL
    assert (len(stored(ALFRED)), QueuedMessage.objects.count()) == (1, 1)
    assert submitted(jules, MESSAGE, ALFRED).code == 250
    assert checked(jules, JULES) == [replies.DAY_IS_FULL]


# --- What is added --------------------------------------------------------------------------------------------------


def test_rfc_6409_8_date_message_id_and_from_are_added_where_they_lack(jules: Submitter, settings: Settings) -> None:
    settings.MAIL_HOSTNAME = "mail.maison.mrs"
    assert submitted(jules, b"Subject: hello\r\n\r\n.hello\r\n", ALFRED, OUTSIDE).code == 250
    for copy in (stored(ALFRED)[0], queued()):
        fields = email.message_from_bytes(copy)
        assert fields["From"] == "<jules@maison.mrs>"
        assert re.fullmatch(r"<[0-9a-f]{16}@mail\.maison\.mrs>", fields["Message-ID"])
        assert fields["Date"].endswith("0000")
        assert copy.index(b"Received:") < copy.index(b"Date:") < copy.index(b"Subject:")
    assert QueuedMessage.objects.get().message_id == email.message_from_bytes(queued())["Message-ID"]
    message = QueuedMessage.objects.get()
    assert (message.wire_octets, message.octets) == (len(queued()), len(queued()) - 1)


def test_what_is_there_stays_as_it_is(jules: Submitter) -> None:
    message = b"Date: yesterday\r\nMessage-Id: <1@x>\r\n" + MESSAGE
    submitted(jules, message, ALFRED)
    (copy,) = stored(ALFRED)
    assert copy.endswith(b"\r\n" + message)
    assert copy.count(b"\nDate:") == 1


def test_rfc_8601_5_results_in_our_name_are_not_the_submitters_to_tell(jules: Submitter, settings: Settings) -> None:
    settings.MAIL_HOSTNAME = "mail.maison.mrs"
    others = b"Authentication-Results: elsewhere.example; spf=pass\r\n"
    forged = b"Authentication-Results: mail.maison.mrs;\r\n\tspf=pass\r\n"
    assert submitted(jules, others + forged + MESSAGE, ALFRED, OUTSIDE).code == 250
    for copy in (stored(ALFRED)[0], queued()):
        assert copy.endswith(others + MESSAGE)
        assert copy.count(b"Authentication-Results") == 1


# --- Logins ---------------------------------------------------------------------------------------------------------

POLICY = Policy(0, 0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Admission(7, JULES, 3, POLICY), Submitter(3, JULES)),
        (NotAdmittedError(LoginResult.WRONG), replies.WRONG_LOGIN),
        (NotAdmittedError(LoginResult.PROTOCOL), replies.WRONG_LOGIN),
        (
            ThrottledError(9, LoginResult.THROTTLED),
            Reply(454, "4.7.0", "Too many failed logins, try again in 9 seconds"),
        ),
        (OSError("the database is away"), replies.LOGIN_FAILED),
        (IntrospectionError("the issuer is away"), replies.LOGIN_FAILED),
    ],
)
def test_what_the_door_says_becomes_a_reply(answer: object, expected: object, caplog: pytest.LogCaptureFixture) -> None:
    async def use(desk: Desk) -> object:
        return await desk.ask(Authenticate("jules", "secret"), Caller(Protocol.SMTP, "192.0.2.1"))

    assert with_desk(use, FakeDoor(answer)) == expected
    assert "secret" not in caplog.text
    # That the issuer of tokens is away is in the log already, once (accounts.tokens).
    assert ("is away" in caplog.text) is isinstance(answer, OSError)


def test_a_login_that_is_no_longer_allowed_sends_nothing_more(jules: Submitter) -> None:
    """An app password that is revoked while its session goes on; a mailbox that is suspended."""
    user = User.objects.get(pk=jules.user_id)
    made, _ = create_app_password(user=user, name="telephone")
    mailbox_id = user.mailboxes.get().pk

    async def use(desk: Desk) -> object:
        return await desk.ask(Authenticate("jules", "secret"), Caller(Protocol.SMTP, "192.0.2.1"))

    by_one, by_other = (
        with_desk(use, FakeDoor(Admission(mailbox_id, JULES, user.pk, POLICY, app_password_id=pk)))
        for pk in (made.pk, None)
    )
    assert checked(by_one, JULES) == checked(by_other, JULES) == [None]
    revoke_app_password(user=user, pk=made.pk)
    assert (checked(by_one, JULES), checked(by_other, JULES)) == ([replies.LOGIN_AGAIN], [None])
    set_active(mailboxes=user.mailboxes.all(), active=False)
    assert checked(by_other, JULES) == [replies.LOGIN_AGAIN]


def test_a_token_that_is_no_longer_valid_sends_nothing_more(jules: Submitter) -> None:
    mailbox_id = User.objects.get(pk=jules.user_id).mailboxes.get().pk
    valid, expired = BearerToken("a", time.time() + 600), BearerToken("b", time.time())
    door = FakeDoor()

    def says(token: BearerToken) -> list[Reply | None]:
        guest = Guest(jules.user_id, (mailbox_id,), Protocol.SMTP, token=token)
        return checked(Submitter(jules.user_id, JULES, guest), JULES, door=door)

    assert (says(valid), says(expired)) == ([None], [replies.LOGIN_AGAIN])
    door.revoked.add(valid)
    assert says(valid) == [replies.LOGIN_AGAIN]


def test_a_login_that_is_left_is_broken_off() -> None:
    class Slow(FakeDoor):
        async def admit(self, caller: Caller, login: str, password: str, **more: str) -> Admission:
            await asyncio.Event().wait()
            raise AssertionError

    async def use(desk: Desk) -> None:
        asking = asyncio.ensure_future(desk.ask(Authenticate("j", "s"), Caller(Protocol.SMTP, "192.0.2.1")))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    with_desk(use, Slow())


# --- Signatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", [Service.SUBMISSION, Service.SMTP])
def test_what_is_submitted_is_signed_and_what_is_passed_on_is_not(
    jules: Submitter, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[dict[str, Any]] = []
    monkeypatch.setattr(queue, "enqueue", lambda **arguments: queued.append(arguments))
    create_alias(domain=Domain.objects.get(), local_part="out", targets=OUTSIDE)

    async def use(intake: LocalIntake) -> list[Reply]:
        found = await ask(intake, ["<out@maison.mrs>"])
        return await send(intake, MESSAGE, found, service=service, sender=JULES, submitter=jules)

    assert [answer.code for answer in with_intake(use)] == [250]
    assert [arguments["signed"] for arguments in queued] == [service is Service.SUBMISSION]


def test_the_relay_hears_of_what_is_submitted_at_once_and_of_other_mail_not(jules: Submitter) -> None:
    told: list[None] = []

    async def use(intake: LocalIntake) -> None:
        intake._submitted = lambda: told.append(None)
        for service, submitter in ((Service.SMTP, None), (Service.SUBMISSION, jules)):
            assert told == []
            found = await ask(intake, [f"<{ALFRED}>"], submitter=submitter)
            await send(intake, MESSAGE, found, service=service, sender=JULES, submitter=submitter)

    with_intake(use)
    assert told == [None]
