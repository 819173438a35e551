"""Mail on port 25 is looked at before it is stored: results on top, forged ones taken out, refusals, failures of ours."""

import asyncio
from collections.abc import Sequence

import pytest

from mailplatform.bridge import Bridge
from mailplatform.networks import Networks
from smtpservice import authenticator, replies
from smtpservice.authenticator import Authenticator, Looked
from smtpservice.intake import LocalIntake
from smtpservice.replies import Reply
from smtpservice.requests import Service
from tests.mailstore.mailboxes import body_of
from tests.smtpservice.local import ask, make_mailbox, send, stored
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.serving import HOST, run

pytestmark = pytest.mark.django_db(transaction=True)

JULES = "jules@maison.mrs"
RECORDS = {
    "x.example TXT": ['"v=spf1 ip4:192.0.2.0/28 -all"'],
    "_dmarc.x.example TXT": ['"v=DMARC1; p=reject"'],
}
MESSAGE = b".hidden: x\r\nFrom: Anna <anna@x.example>\r\nSubject: hello\r\n\r\n.hello\r\n"
FORGED = b"Authentication-Results: mail.maison.mrs; spf=pass\r\n\tsmtp.mailfrom=x.example\r\n"


def sent(
    message: bytes = MESSAGE,
    *clients: str,
    refuses: bool = True,
    looks: bool = True,
    service: Service = Service.SMTP,
    away: Sequence[str] = (),
) -> list[Reply]:
    """The reply to a message from each of the clients."""
    make_mailbox(JULES)

    async def main() -> list[Reply]:
        bridge = Bridge(threads=2)
        async with NameServer(records=RECORDS, away=set(away)).serving() as server:
            looking = Authenticator(
                hostname=HOST,
                exempt=Networks(["192.0.2.128/25"]),
                looks=looks,
                refuses=refuses,
                name_servers=[server.address],
            )
            try:
                intake = LocalIntake(bridge, hostname=HOST, authenticator=looking)
                found = await ask(intake, [f"<{JULES}>"])
                how = {"service": service, "sender": "anna@x.example"}
                answers = [await send(intake, message, found, client_address=client, **how) for client in clients]
                return [answer for (answer,) in answers]
            finally:
                looking.close()
                await bridge.close()

    return run(main())


def test_rfc_8601_the_results_are_on_top_of_the_message_and_forged_ones_are_gone() -> None:
    (answer,) = sent(FORGED + b"X: 1\r\n" + FORGED + MESSAGE, "192.0.2.1")
    assert answer.code == 250
    (copy,) = stored(JULES)
    trace, rest = copy.split(b"Authentication-Results: ", 1)
    assert trace.startswith(b"Return-Path: <anna@x.example>\r\nDelivered-To: jules@maison.mrs\r\nReceived: from ")
    assert rest == (
        b"mail.maison.mrs;\r\n\tspf=pass smtp.mailfrom=x.example;\r\n\tdkim=none;"
        b"\r\n\tdmarc=pass (p=reject) header.from=x.example\r\nX: 1\r\n" + MESSAGE
    )


def test_octets_are_counted_as_they_are_stored() -> None:
    from mailstore.models import Content, Message

    sent(FORGED + MESSAGE, "192.0.2.1")
    message = Message.objects.get()
    wire = b"".join(bytes(content.octets) for content in Content.objects.all())
    assert (message.octets, message.wire_octets) == (len(stored(JULES)[0]), len(wire))
    assert wire[: message.header_octets].endswith(b"\r\n\r\n")
    assert message.subject == "hello"


@pytest.mark.parametrize(("refuses", "code"), [(True, 550), (False, 250)])
def test_a_policy_refuses_or_is_told_only(refuses: bool, code: int) -> None:
    (answer,) = sent(MESSAGE, "192.0.2.77", refuses=refuses)
    assert answer.code == code
    assert [b"dmarc=fail" in copy for copy in stored(JULES)] == ([] if refuses else [True])


@pytest.mark.parametrize(("refuses", "code"), [(True, 451), (False, 250)])
def test_the_dns_is_away(refuses: bool, code: int) -> None:
    (answer,) = sent(MESSAGE, "192.0.2.1", refuses=refuses, away=["_dmarc.x.example", "x.example"])
    assert answer.code == code


def test_exempt_networks_and_lmtp_are_left_alone() -> None:
    assert [answer.code for answer in sent(FORGED + MESSAGE, "192.0.2.200")] == [250]
    assert stored(JULES)[0].count(b"Authentication-Results") == 1


def test_rfc_8601_5_where_nothing_is_looked_at_forged_results_are_gone_all_the_same() -> None:
    answers = sent(FORGED + MESSAGE, "192.0.2.77", "192.0.2.200", looks=False)
    assert [answer.code for answer in answers] == [250, 250]
    assert [copy.count(b"Authentication-Results") for copy in stored(JULES)] == [0, 1]
    assert all(copy.endswith(b"\r\n" + MESSAGE) for copy in stored(JULES))


def test_what_comes_by_lmtp_was_looked_at_before() -> None:
    assert [answer.code for answer in sent(FORGED + MESSAGE, "192.0.2.77", service=Service.LMTP)] == [250]
    assert FORGED in stored(JULES)[0]


def test_rfc_5321_4_5_3_2_6_nobody_waits_for_long_because_others_have_a_silent_dns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authenticator, "LOOKUP_SECONDS", 0.5)
    monkeypatch.setattr(authenticator, "TURN_SECONDS", 0.1)

    async def main() -> list[Looked]:
        async with NameServer(records=RECORDS, silent=True).serving() as server:
            looking = Authenticator(
                hostname=HOST, exempt=Networks([]), refuses=False, name_servers=[server.address], threads=1
            )

            async def look() -> Looked:
                with body_of(MESSAGE) as body:
                    return await looking.look_at(body, helo="x", sender="a@x.example", client_address="192.0.2.1")

            try:
                return [*await asyncio.gather(look(), look()), await look()]
            finally:
                looking.close()

    first, second, later = run(main())
    assert second == Looked(replies.TOO_BUSY)
    assert first.refusal is later.refusal is None


@pytest.mark.parametrize("looks", [True, False])
def test_a_header_that_cannot_be_looked_through_is_refused(looks: bool) -> None:
    assert sent(b"X: y\r\n" * 20_000 + MESSAGE, "192.0.2.1", looks=looks) == [replies.HEADER_TOO_LARGE]


def test_a_failure_of_ours_keeps_no_mail_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(authenticator, "authenticate", fail)
    assert [answer.code for answer in sent(FORGED + MESSAGE, "192.0.2.1")] == [250]
    assert stored(JULES)[0].endswith(b"\r\n" + MESSAGE)
    assert b"Authentication-Results" not in stored(JULES)[0]
    assert "was not authenticated" in caplog.text
