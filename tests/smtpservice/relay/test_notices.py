"""RFC 3464: what a sender is told, in a form that mail programs read; and that nobody is told who must not be."""

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from pytest_django import Settings

from accounts.services import create_domain
from mailstore.models import Message
from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.queue import read_pieces
from smtpservice.relay import notices
from smtpservice.relay.notices import Action, Fate, compose, tell_sender
from smtpservice.storing import make_srs, today
from tests.mailstore.mailboxes import make_mailbox
from tests.smtpservice.local import stored
from tests.smtpservice.relay.relaying import MESSAGE, queue

pytestmark = pytest.mark.django_db
FATE = Fate(
    action=Action.FAILED,
    address="a@example.org",
    original="",
    notify="",
    status="5.1.1",
    diagnostic="550 5.1.1 No such user",
    peer="peer.example",
    attempted_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)
LATE = replace(FATE, action=Action.DELAYED, status="4.7.1", diagnostic="451 4.7.1 Greylisted")


def read(message: QueuedMessage, *fates: Fate) -> EmailMessage:
    """The notice as a mail program reads it, without a defect."""
    parsed = message_from_bytes(b"".join(compose(message, fates)), policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    for part in parsed.walk():
        assert part.defects == []
    return parsed


def parts(message: QueuedMessage, *fates: Fate) -> tuple[str, list[dict[str, str]], EmailMessage]:
    """The words, the fields of the report by group, and the third part."""
    words, report, returned = read(message, *fates).iter_parts()
    groups = [dict(group.items()) for group in report.get_payload()]
    return words.get_content(), groups, returned


def test_rfc_6522_a_report_has_three_parts() -> None:
    notice = read(queue("a@example.org"), FATE)
    assert notice.get_content_type() == "multipart/report"
    assert notice.get_param("report-type") == "delivery-status"
    kinds = [part.get_content_type() for part in notice.iter_parts()]
    assert kinds == ["text/plain", "message/delivery-status", "message/rfc822"]


def test_it_says_whose_it_is_and_what_it_is_about(settings: Settings) -> None:
    settings.MAIL_HOSTNAME = "mail.maison.mrs"
    notice = read(queue("a@example.org"), FATE)
    assert notice["From"] == "Mail Delivery System <postmaster@mail.maison.mrs>"
    assert (notice["To"], notice["Subject"]) == ("jules@maison.mrs", "Your message was not delivered")
    assert (notice["Auto-Submitted"], notice["In-Reply-To"]) == ("auto-replied", "<1@maison.mrs>")
    assert notice["Message-ID"].endswith("@mail.maison.mrs>")
    assert notice["Date"].datetime is not None


def test_rfc_3464_2_2_and_2_3_fields(settings: Settings) -> None:
    settings.MAIL_HOSTNAME = "mail.maison.mrs"
    message = queue("a@example.org", envelope_id="QQ+2B1")
    words, (about, recipient), _ = parts(message, replace(FATE, original="rfc822;b+40example.net"))
    assert about["Reporting-MTA"] == "dns; mail.maison.mrs"
    assert about["Original-Envelope-Id"] == "QQ+1"
    assert "Arrival-Date" in about
    assert recipient == {
        "Original-Recipient": "rfc822;b@example.net",
        "Final-Recipient": "rfc822;a@example.org",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; peer.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
        "Last-Attempt-Date": "Fri, 02 Jan 2026 03:04:05 +0000",
    }
    assert "<a@example.org>\r\n    The server peer.example said: 550 5.1.1 No such user" in words


def test_what_no_peer_said_names_none() -> None:
    words, (_, recipient), _ = parts(queue("a@example.org"), replace(FATE, peer="", diagnostic="556 5.1.10 No mail"))
    assert "Remote-MTA" not in recipient
    assert "Diagnostic-Code" not in recipient
    assert "The reason: 556 5.1.10 No mail" in words


def test_rfc_3464_2_3_9_until_when_a_late_message_is_tried() -> None:
    message = queue("a@example.org")
    words, (_, recipient), returned = parts(message, LATE)
    assert recipient["Action"] == "delayed"
    assert recipient["Will-Retry-Until"] in words
    assert returned.get_content_type() == "text/rfc822-headers"


def test_several_recipients_are_in_one_notice() -> None:
    _, groups, _ = parts(queue("a@example.org", "b@example.org"), FATE, replace(FATE, address="b@example.org"))
    assert [group["Final-Recipient"] for group in groups[1:]] == ["rfc822;a@example.org", "rfc822;b@example.org"]


@pytest.mark.parametrize(
    ("returned", "octets", "whole"),
    [("", 0, True), ("", notices.WHOLE_OCTETS, False), ("FULL", notices.WHOLE_OCTETS, True), ("HDRS", 0, False)],
)
def test_rfc_3461_4_3_what_comes_back(returned: str, octets: int, *, whole: bool) -> None:
    header, text = b"Subject: hello\r\n.odd: dot\r\n\r\n", b".dot\r\n" + b"x" * octets + b"\r\n"
    message = queue("a@example.org", message=header + text, returned=returned)
    notice = b"".join(compose(message, [FATE]))
    assert notice.count(header) == 1
    assert notice.count(text) == whole
    assert notice.endswith(b"--\r\n")
    *_, last = read(message, FATE).iter_parts()
    assert last.get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")


def test_a_large_message_comes_back_piece_by_piece() -> None:
    message = queue("a@example.org", message=b"Subject: x\r\n\r\n" + b".line\r\n" * 200_000, returned="FULL")
    assert b"".join(compose(message, [FATE])).count(b"\r\n.line") == 200_000
    assert max(len(octets) for octets in compose(message, [FATE])) <= 256 * 1024 + 2


def test_rfc_6533_a_message_in_utf8_makes_a_notice_in_utf8() -> None:
    message = queue("é@example.org", message="Subject: été\r\n\r\n".encode())
    notice = read(message, replace(FATE, address="é@example.org"))
    kinds = [part.get_content_type() for part in notice.iter_parts()]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global"]
    assert "Final-Recipient: utf-8;é@example.org\r\n".encode() in b"".join(
        compose(message, [replace(FATE, address="é@example.org")])
    )


@pytest.mark.parametrize(
    ("notify", "action", "told"),
    [
        ("", Action.FAILED, True),
        ("", Action.DELAYED, True),
        ("", Action.RELAYED, False),
        ("NEVER", Action.FAILED, False),
        ("NEVER", Action.DELAYED, False),
        ("FAILURE", Action.DELAYED, False),
        ("SUCCESS,FAILURE", Action.FAILED, True),
        ("SUCCESS", Action.FAILED, False),
        ("SUCCESS", Action.RELAYED, True),
        ("DELAY", Action.DELAYED, True),
    ],
)
def test_rfc_3461_4_1_who_is_told_of_what(notify: str, action: Action, *, told: bool) -> None:
    make_mailbox("jules")
    tell_sender(queue("a@example.org"), [replace(FATE, notify=notify, action=action)])
    assert Message.objects.count() == told


def test_rfc_5321_6_1_a_message_from_the_null_path_is_told_to_nobody() -> None:
    tell_sender(queue("a@example.org", sender=""), [FATE])
    assert QueuedMessage.objects.count() == 1


def test_a_notice_comes_from_the_null_path_whatever_the_quota() -> None:
    make_mailbox("jules", quota_messages=1)
    message = queue("a@example.org")
    for _ in range(2):
        tell_sender(message, [FATE])
    for notice in stored("jules@maison.mrs"):
        assert notice.startswith(b"Return-Path: <>\r\nDelivered-To: jules@maison.mrs\r\nReceived: by ")
    assert Message.objects.count() == 2


def test_a_sender_elsewhere_is_told_through_the_queue() -> None:
    tell_sender(queue("a@example.org", sender="b@example.net"), [FATE])
    notice = QueuedMessage.objects.get(sender="")
    assert notice.recipients.get().address == "b@example.net"
    assert b"Subject: Your message was not delivered\r\n" in b"".join(read_pieces(notice.pk))
    # And where that fails, nobody is told any more.
    tell_sender(notice, [replace(FATE, address="b@example.net")])
    assert QueuedRecipient.objects.count() == 2


def test_a_sender_who_is_nobody_here_is_not_looked_for_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    create_domain(name="maison.mrs")
    tell_sender(queue("a@example.org"), [FATE])
    assert QueuedMessage.objects.count() == 1
    assert "<jules@maison.mrs> cannot be told: unknown" in caplog.text


def test_a_sender_of_forwarded_mail_is_told_where_it_came_from() -> None:
    create_domain(name="maison.mrs")
    sender = make_srs().rewrite("b@example.net", domain="maison.mrs", day=today())
    tell_sender(queue("a@example.org", sender=sender), [FATE])
    assert QueuedMessage.objects.get(sender="").recipients.get().address == "b@example.net"


def test_what_a_peer_says_does_not_make_a_notice_8_bit() -> None:
    message = queue("a@example.org")
    notice = b"".join(compose(message, [replace(FATE, diagnostic="550 5.1.1 inconnu à cette adresse")]))
    assert notice.isascii()
    assert b"inconnu ? cette adresse" in notice


@pytest.mark.parametrize("sender", ["nobody", "a@", "a@é..org"])
def test_a_sender_who_is_no_address_is_told_nothing(sender: str, caplog: pytest.LogCaptureFixture) -> None:
    tell_sender(queue("a@example.org", sender=sender), [FATE])
    assert QueuedMessage.objects.count() == 1
    assert "cannot be told" in caplog.text


def test_what_a_peer_says_breaks_no_line() -> None:
    message = queue("a@example.org", envelope_id="a+0D+0AAction:+20delivered", message=MESSAGE)
    odd = replace(FATE, original="rfc822;a+0D+0AX:+20y")
    notice = b"".join(compose(message, [odd]))
    assert b"\r\nX:" not in notice
    assert b"\r\nAction: delivered" not in notice
