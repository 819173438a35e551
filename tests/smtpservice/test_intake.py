"""The intake on the database: who is a recipient, what is stored for each, and what the client is told of it."""

import asyncio
import email
import email.policy
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts import activity
from accounts.models import Mailbox, User
from mailstore.models import Maildrop
from smtpservice import replies
from smtpservice.intake import MAX_HOPS, LocalIntake, received_value
from smtpservice.replies import Reply
from smtpservice.requests import Service
from smtpservice.storing import Accepted
from tests.smtpservice.local import ask, assert_nothing_is_stored, make_mailbox, send, stored, with_intake
from tests.smtpservice.serving import HOST

pytestmark = pytest.mark.django_db(transaction=True)

JULES, ALFRED, CHARLES = "jules@maison.mrs", "alfred@maison.mrs", "charles@maison.mrs"
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


def asked(*paths: str, size: int = 0) -> list[str | Reply]:
    """What RCPT TO is answered for each of these: the address of the mailbox it leads to, or the refusal."""

    async def use(intake: LocalIntake) -> list[Accepted | Reply]:
        return await ask(intake, paths, size=size)

    return [found if isinstance(found, Reply) else found.route.mailboxes[0].address for found in with_intake(use)]


def sent(message: bytes, *addresses: str, **how: Any) -> list[Reply]:
    """The replies after the end of data, for recipients that RCPT took."""

    async def use(intake: LocalIntake) -> list[Reply]:
        found = await ask(intake, [f"<{address}>" for address in addresses])
        return await send(intake, message, found, **how)

    return with_intake(use)


# --- Who is a recipient ------------------------------------------------------------------------------------


def test_rfc_5321_2_4_a_mailbox_is_found_in_any_spelling_of_its_address() -> None:
    make_mailbox(JULES)
    paths = ["<jules@maison.mrs>", "<Jules@MAISON.mrs>", '<"jules"@maison.mrs>', "<@relay.example:jules@maison.mrs>"]
    assert asked(*paths) == [JULES] * 4


def test_the_four_refusals() -> None:
    make_mailbox(JULES, quota_messages=1, quota_octets=5000)
    make_mailbox(ALFRED, is_active=False)
    refusals = asked("<nobody@maison.mrs>", "<jules@elsewhere.org>", f"<{ALFRED}>")
    assert refusals == [replies.UNKNOWN_RECIPIENT, replies.RELAYING_DENIED, replies.SUSPENDED]
    assert asked(f"<{JULES}>", size=100) == [JULES]
    assert asked(f"<{JULES}>", size=5000) == [replies.OVER_QUOTA]
    sent(MESSAGE, JULES)
    assert asked(f"<{JULES}>") == [replies.OVER_QUOTA]


#: Ways to have a server pass mail on that were taken by one server or another.
RELAY_ATTEMPTS = [
    "<victim@elsewhere.org>",
    "<victim%elsewhere.org@maison.mrs>",
    "<victim%elsewhere.org>",
    '<"victim@elsewhere.org"@maison.mrs>',
    '<"victim@elsewhere.org">',
    '<"victim%elsewhere.org"@maison.mrs>',
    "<@maison.mrs:victim@elsewhere.org>",
    "<@maison.mrs,@relay.example:victim@elsewhere.org>",
    "<maison.mrs!victim@elsewhere.org>",
    "<elsewhere.org!victim@maison.mrs>",
    "<elsewhere.org!victim>",
    "<victim@elsewhere.org@maison.mrs>",
    "<victim@maison.mrs@elsewhere.org>",
    "<victim@[127.0.0.1]>",
    "<jules@[127.0.0.1]>",
    "<jules@[IPv6:::1]>",
    "<jules@localhost>",
    "<jules@127.0.0.1>",
    "<jules@mail.maison.mrs>",
    "<jules@maison.mrs.elsewhere.org>",
    "<jules@xmaison.mrs>",
    "<jules@maison.mrs.>",
    "<jules@.maison.mrs>",
    "<jules@>",
    "<jules>",
    "<root>",
    "<@maison.mrs>",
    "<>",
    "<victim@elsewhere.org,jules@maison.mrs>",
    "<jules@maison.mrs>,<victim@elsewhere.org>",
    "<jules@maison.mrs> <victim@elsewhere.org>",
    "victim@elsewhere.org",
    "<postmaster@elsewhere.org>",
    "<postmaster@[127.0.0.1]>",
    "<jules\\@elsewhere.org@maison.mrs>",
    '<"jules@maison.mrs\\"@elsewhere.org>',
    "<*@maison.mrs>",
    "<%@maison.mrs>",
    "<_ules@maison.mrs>",
    "<SRS0=aaaaaaaa=aa=elsewhere.org=victim@maison.mrs>",
    "<SRS1=aaaaaaaa=elsewhere.org==x=yy=other.org=victim@maison.mrs>",
    "<|/bin/sh@maison.mrs>",
    "</etc/passwd@maison.mrs>",
]


def test_rfc_5321_3_6_no_path_makes_a_relay_of_this_host() -> None:
    make_mailbox(JULES)
    User.objects.create_superuser("chief", password="x")
    for path, answer in zip(RELAY_ATTEMPTS, asked(*RELAY_ATTEMPTS), strict=True):
        assert isinstance(answer, Reply), f"{path} leads to {answer}"
        assert answer.code in {501, 550, 555}, path


POSTMASTERS = ["<postmaster>", "<PostMaster@maison.mrs>", "<postmaster@villa.mrs>"]


def test_rfc_5321_4_5_1_postmaster_is_known_in_every_domain() -> None:
    make_mailbox(JULES)
    make_mailbox("alfred@villa.mrs")
    assert asked(*POSTMASTERS) == [replies.UNKNOWN_RECIPIENT] * 3  # there is nobody who could read it
    User.objects.create_superuser("chief", password="x")
    assert asked(*POSTMASTERS) == ["chief@maison.mrs"] * 3
    make_mailbox("postmaster@villa.mrs")
    assert asked(*POSTMASTERS) == ["chief@maison.mrs"] * 2 + ["postmaster@villa.mrs"]


# --- What is stored ----------------------------------------------------------------------------------------


def test_rfc_5321_4_4_each_recipient_gets_a_trace_header_of_its_own() -> None:
    make_mailbox(JULES)
    make_mailbox(ALFRED)
    (answer,) = sent(MESSAGE, ALFRED, JULES)
    assert answer.code == 250
    identity = answer.text.removeprefix("Stored as ")
    for address in (JULES, ALFRED):
        (copy,) = stored(address)
        assert copy.endswith(b"\r\n" + MESSAGE)
        lines = copy.split(b"\r\n")
        assert lines[:5] == [
            b"Return-Path: <a@example.org>",
            b"Delivered-To: " + address.encode(),
            b"Received: from laptop.example ([192.0.2.1])",
            f"\tby {HOST} with ESMTPS id {identity};".encode(),
            lines[4],
        ]
        received = email.message_from_bytes(copy, policy=email.policy.SMTP)["Received"]
        date = parsedate_to_datetime(received.rpartition(";")[2])
        assert abs(datetime.now(UTC) - date) < timedelta(minutes=1)
        assert lines[5] == b"Subject: hello"


def test_rfc_5321_4_5_5_the_null_path_is_kept() -> None:
    make_mailbox(JULES)
    sent(MESSAGE, JULES, sender="")
    assert stored(JULES)[0].startswith(b"Return-Path: <>\r\n")


@pytest.mark.parametrize(
    ("address", "literal"),
    [("192.0.2.1", b"([192.0.2.1])"), ("2001:db8::1", b"([IPv6:2001:db8::1])"), ("unknown", b"(unknown)")],
)
def test_rfc_5321_4_1_3_the_address_of_the_client_is_a_literal(address: str, literal: bytes) -> None:
    value = received_value(client="me", client_address=address, hostname=HOST, protocol="LMTP", identity="1")
    assert value.startswith(b"from me " + literal + b"\r\n\tby ")


def test_no_header_that_was_there_before_is_lost_or_changed() -> None:
    make_mailbox(JULES)
    message = b"Return-Path: <x@y.z>\r\nDelivered-To: jules@maison.mrs\r\nBcc: secret@x.org\r\n\r\n.\r\n\xff\0\r\n"
    sent(message, JULES)
    (copy,) = stored(JULES)
    assert copy.count(b"Return-Path:") == 2
    assert copy.endswith(message)


def test_a_recipient_that_is_named_twice_has_one_copy_and_an_answer_for_each_time() -> None:
    make_mailbox(JULES)
    assert [reply.code for reply in sent(MESSAGE, JULES, "JULES@maison.mrs", service=Service.LMTP)] == [250, 250]
    assert len(stored(JULES)) == 1


def test_deliveries_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make_mailbox(JULES)
    make_mailbox(ALFRED)
    before = activity._gathered["deliveries"]
    (answer,) = sent(MESSAGE, JULES, ALFRED)
    assert activity._gathered["deliveries"] == before + 2
    identity = answer.text.removeprefix("Stored as ")
    assert f"192.0.2.1: {identity} from <a@example.org> to {JULES}, {ALFRED}, 25 octets: 250 2.0.0" in caplog.text


# --- What the client is told -------------------------------------------------------------------------------


def test_rfc_2033_4_2_in_lmtp_each_recipient_has_an_outcome_of_its_own() -> None:
    make_mailbox(JULES)
    make_mailbox(ALFRED, quota_octets=2000)
    gone = make_mailbox(CHARLES)

    async def use(intake: LocalIntake) -> list[Reply]:
        found = await ask(intake, [f"<{address}>" for address in (ALFRED, JULES, CHARLES)])
        await intake._bridge.run(Mailbox.objects.filter(id=gone).delete)
        return await send(intake, MESSAGE + b"x" * 3000, found, service=Service.LMTP)

    full, taken, missing = with_intake(use)
    assert (full, missing) == (replies.OVER_QUOTA, replies.UNKNOWN_RECIPIENT)
    assert taken.code == 250
    assert len(stored(JULES)) == 1
    assert stored(ALFRED) == []


@pytest.mark.parametrize(
    ("size", "expected"), [(0, replies.OVER_QUOTA), (10, replies.OVER_QUOTA), (3100, replies.HELD_BACK)]
)
def test_in_smtp_one_full_mailbox_holds_back_all(size: int, expected: Reply) -> None:
    """452 where the client will find the full one refused by RCPT when it comes again; else it would come for ever."""
    make_mailbox(JULES)
    make_mailbox(ALFRED, quota_octets=2000)
    message = MESSAGE + b"x" * 3000
    assert sent(message, JULES, ALFRED, size=size) == [expected]
    assert_nothing_is_stored()
    if expected is replies.HELD_BACK:
        assert asked(f"<{JULES}>", f"<{ALFRED}>", size=size) == [JULES, replies.OVER_QUOTA]


def test_in_smtp_a_mailbox_that_has_just_gone_makes_the_client_come_again() -> None:
    make_mailbox(JULES)
    gone = make_mailbox(ALFRED)

    async def use(intake: LocalIntake) -> list[Reply]:
        found = await ask(intake, [f"<{JULES}>", f"<{ALFRED}>"])
        await intake._bridge.run(Mailbox.objects.filter(id=gone).delete)
        alone = await send(intake, MESSAGE, found[1:])
        return [*alone, *await send(intake, MESSAGE, found)]

    assert with_intake(use) == [replies.UNKNOWN_RECIPIENT, replies.HELD_BACK]
    assert_nothing_is_stored()


def test_a_mailbox_alone_that_is_full_at_the_end_of_data_is_552() -> None:
    make_mailbox(ALFRED, quota_octets=2000)
    assert sent(MESSAGE + b"x" * 3000, ALFRED, size=3100) == [replies.OVER_QUOTA]
    assert_nothing_is_stored()


def test_rfc_5321_6_3_a_message_that_goes_in_a_loop_is_refused() -> None:
    make_mailbox(JULES)
    hop = b"RECEIVED: from a\r\n\tby b; Received: x\r\n"
    text = b"\r\n" + b"Received: in the text\r\n" * 200
    assert [reply.code for reply in sent(hop * MAX_HOPS + text, JULES)] == [250]
    assert sent(hop * (MAX_HOPS + 1) + text, JULES) == [replies.TOO_MANY_HOPS]
    assert sent(hop * (MAX_HOPS + 1) + text, JULES, JULES, service=Service.LMTP) == [replies.TOO_MANY_HOPS] * 2
    assert len(stored(JULES)) == 1


# --- The database is away ----------------------------------------------------------------------------------


class Away:
    """Takes the maildrops away for a while: every statement on them fails in the database itself."""

    def __init__(self) -> None:
        self.gone = False

    def leave(self) -> None:
        self._rename("mailstore_maildrop", "taken_away")
        self.gone = True

    def come_back(self) -> None:
        if self.gone:
            self._rename("taken_away", "mailstore_maildrop")
            self.gone = False

    def _rename(self, old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


@pytest.fixture
def away() -> Iterator[Away]:
    away = Away()
    yield away
    away.come_back()


def test_a_database_that_is_away_is_451_for_everybody_and_a_retry_is_stored(
    away: Away, caplog: pytest.LogCaptureFixture
) -> None:
    make_mailbox(JULES)
    make_mailbox(ALFRED, quota_messages=5)

    async def use(intake: LocalIntake) -> None:
        found = await ask(intake, [f"<{JULES}>", f"<{ALFRED}>"])
        await intake._bridge.run(away.leave)
        assert await ask(intake, [f"<{ALFRED}>"]) == [replies.TRY_AGAIN]
        assert await send(intake, MESSAGE, found) == [replies.TRY_AGAIN]
        assert await send(intake, MESSAGE, found, service=Service.LMTP) == [replies.TRY_AGAIN] * 2
        await intake._bridge.run(away.come_back)
        assert [reply.code for reply in await send(intake, MESSAGE, found, service=Service.LMTP)] == [250, 250]

    with_intake(use)
    assert len(stored(JULES)) == len(stored(ALFRED)) == 1
    assert len([record for record in caplog.records if record.exc_info]) == 3
    assert "mailstore_maildrop" in caplog.text  # what went wrong is in the log, and nowhere else
    assert f"recipient <{ALFRED}> was not looked up" in caplog.text
    assert "192.0.2.1: message from <a@example.org> was not stored" in caplog.text
    assert "mailstore_maildrop" not in replies.TRY_AGAIN.text


def test_a_connection_that_broke_costs_one_attempt() -> None:
    make_mailbox(JULES)

    async def use(intake: LocalIntake) -> list[Reply]:
        found = await ask(intake, [f"<{JULES}>"])
        both = threading.Barrier(2)  # so that neither thread does it twice
        await asyncio.gather(*(intake._bridge.run(break_connection, both) for _ in range(2)))
        answers = [await send(intake, MESSAGE, found) for _ in range(4)]
        return [answer for (answer,) in answers]

    answers = with_intake(use)
    failed = answers.count(replies.TRY_AGAIN)
    assert 1 <= failed <= 2  # each of the two at most, and whose turn it is is not told
    assert [answer.code for answer in answers].count(250) == len(stored(JULES)) == len(answers) - failed


def break_connection(together: threading.Barrier) -> None:
    together.wait(30)
    connection.ensure_connection()
    connection.connection.close()


def test_promise_1_there_is_no_250_without_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    make_mailbox(JULES)

    async def use(intake: LocalIntake) -> list[Reply]:
        found = await ask(intake, [f"<{JULES}>"])
        with monkeypatch.context() as patch:
            patch.setattr(BaseDatabaseWrapper, "_commit", fail)
            return await send(intake, MESSAGE, found)

    def fail(wrapper: BaseDatabaseWrapper) -> None:
        raise OperationalError("disk I/O error")

    assert with_intake(use) == [replies.TRY_AGAIN]
    assert_nothing_is_stored()
    assert not Maildrop.objects.filter(message_count__gt=0).exists()
