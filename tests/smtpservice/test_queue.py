"""What goes into the queue comes out of it, in pieces, together with local delivery or not at all."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, transaction
from django.test import override_settings

from mailstore.delivery import Body, Envelope, Outcome, deliver
from mailstore.models import PIECE_OCTETS, Message
from smtpservice import queue
from smtpservice.models import QueuedContent, QueuedMessage, QueuedRecipient
from smtpservice.queue import Recipient, domain_of, enqueue, read_pieces
from tests.mailstore.mailboxes import body_of, make_mailbox

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
MESSAGE = b"Subject: hello\r\nMessage-ID: <1@example.org>\r\n\r\n.hello\r\n"


def test_a_message_waits_with_its_envelope_for_each_recipient() -> None:
    recipients = [
        Recipient("a@Example.org"),
        Recipient("b@example.net", notify="SUCCESS,FAILURE", original="rfc822;b+40example.net"),
    ]
    with body_of(MESSAGE) as body, override_settings(RELAY_GIVE_UP_DAYS=4):
        message = enqueue(
            sender="jules@jules.maison.mrs",
            recipients=recipients,
            body=body,
            top=b"Received: by here\r\n",
            envelope_id="QQ314159",
            returned="HDRS",
            now=NOW,
        )
    message.refresh_from_db()
    assert (message.sender, message.envelope_id, message.returned) == ("jules@jules.maison.mrs", "QQ314159", "HDRS")
    assert (message.message_id, message.expires_at) == ("<1@example.org>", NOW + timedelta(days=4))
    assert not message.smtputf8
    assert not message.eight_bit
    wire = b"".join(read_pieces(message.pk))
    assert wire == b"Received: by here\r\n" + MESSAGE.replace(b"\r\n.", b"\r\n..")
    assert (message.octets, message.wire_octets) == (len(wire) - 1, len(wire))
    assert wire[: message.header_octets].endswith(b"\r\n\r\n")
    first, second = QueuedRecipient.objects.order_by("id")
    assert (first.address, first.domain, first.state, first.attempts) == ("a@Example.org", "example.org", "waiting", 0)
    assert first.next_attempt_at == NOW
    assert (second.notify, second.original) == ("SUCCESS,FAILURE", "rfc822;b+40example.net")


def test_a_large_message_is_never_whole_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def insert_rows(model: object, columns: object, rows: list[tuple[int, int, bytes]]) -> None:
        sizes.append(sum(len(row[2]) for row in rows))
        write(model, columns, rows)

    write = queue.insert_rows
    monkeypatch.setattr(queue, "insert_rows", insert_rows)
    message = b"Subject: large\r\n\r\n" + b"x" * 76 * 1024 + b"\r\n" + (b"y" * 76 + b"\r\n") * 20_000
    with body_of(message) as body:
        queued = enqueue(sender="", recipients=[Recipient("a@example.org")], body=body)
    assert len(sizes) > 5
    assert max(sizes) == PIECE_OCTETS
    assert b"".join(read_pieces(queued.pk)) == message


@pytest.mark.parametrize(("text", "eight_bit"), [(b"plain", False), ("été".encode(), True)])
def test_rfc_6152_octets_above_127_are_noticed(text: bytes, eight_bit: bool) -> None:
    with body_of(b"Subject: x\r\n\r\n" + text + b"\r\n") as body:
        queued = enqueue(sender="", recipients=[Recipient("a@example.org")], body=body)
    assert QueuedMessage.objects.get(pk=queued.pk).eight_bit is eight_bit


def test_rfc_6531_addresses_that_are_not_ascii_are_noticed() -> None:
    with body_of(MESSAGE) as body:
        assert enqueue(sender="", recipients=[Recipient("é@example.org")], body=body).smtputf8
        assert enqueue(sender="é@example.org", recipients=[Recipient("a@example.org")], body=body).smtputf8
        assert enqueue(sender="", recipients=[Recipient("a@example.org")], body=body, smtputf8=True).smtputf8


def test_many_recipients() -> None:
    with body_of(MESSAGE) as body:
        enqueue(sender="", recipients=[Recipient(f"r{n}@example.org") for n in range(1000)], body=body)
    assert QueuedRecipient.objects.count() == 1000
    assert QueuedContent.objects.count() == 1


def send_here_and_elsewhere(body: Body, elsewhere: str) -> list[Outcome]:
    jules = make_mailbox("jules")
    envelope = Envelope("charles@maison.mrs", b"by here")
    with transaction.atomic():
        outcomes = deliver(body=body, envelope=envelope, recipients=[jules], all_or_none=True)
        enqueue(sender=envelope.sender, recipients=[Recipient(elsewhere)], body=body)
    return outcomes


def test_recipients_here_and_elsewhere_are_one_transaction() -> None:
    with body_of(MESSAGE) as body:
        assert send_here_and_elsewhere(body, "a@example.org") == [Outcome.STORED]
    assert (Message.objects.count(), QueuedMessage.objects.count()) == (1, 1)


def test_where_the_queue_takes_nothing_nothing_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(queue, "_write_pieces", fail)
    with body_of(MESSAGE) as body, pytest.raises(DatabaseError):
        send_here_and_elsewhere(body, "a@example.org")
    assert not Message.objects.exists()
    assert not QueuedMessage.objects.exists()
    assert not QueuedRecipient.objects.exists()


@pytest.mark.parametrize("address", ["", "nobody", "@example.org", "a@", "a@b\r\nRCPT TO:<c@example.org>", "a@é..org"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with body_of(MESSAGE) as body, pytest.raises(ValueError):
        enqueue(sender="", recipients=[Recipient(address)], body=body)
    assert not QueuedMessage.objects.exists()


def test_there_is_somebody_to_send_to() -> None:
    with body_of(MESSAGE) as body, pytest.raises(ValueError):
        enqueue(sender="", recipients=[], body=body)


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("a@Example.ORG", "example.org"),
        ('"a@b"@example.org', "example.org"),
        ("a@[192.0.2.1]", "[192.0.2.1]"),
        ("a@bücher.example", "xn--bcher-kva.example"),
        ("a@straße.example", "xn--strae-oqa.example"),  # RFC 5891; RFC 3490 led to strasse.example, another's
    ],
)
def test_domain_as_the_dns_knows_it(address: str, domain: str) -> None:
    assert domain_of(address) == domain
