"""What a message becomes for each end: copies here, queued elsewhere, in one transaction; and in whose name."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Domain, Mailbox
from accounts.routing import Route, find_routes
from accounts.services import create_alias, set_forwarding
from mailplatform.bridge import Bridge
from mailstore.delivery import Body, Envelope, Outcome
from mailstore.models import Maildrop
from smtpservice import queue, replies
from smtpservice.intake import LocalIntake
from smtpservice.models import QueuedMessage, QueuedRecipient
from smtpservice.queue import read_pieces
from smtpservice.replies import Reply
from smtpservice.requests import Service
from smtpservice.storing import Accepted, Deposit, Parcel, store_many
from tests.mailstore.mailboxes import body_of
from tests.smtpservice.local import ask, assert_nothing_is_stored, make_mailbox, send, stored, with_intake

pytestmark = pytest.mark.django_db(transaction=True)

JULES, ALFRED = "jules@maison.mrs", "alfred@maison.mrs"
MESSAGE = b"Subject: hello\r\n\r\n.hello\r\n"


@pytest.fixture(autouse=True)
def mailboxes() -> None:
    make_mailbox(JULES)
    make_mailbox(ALFRED)


def alias(local_part: str, *targets: str) -> None:
    create_alias(domain=Domain.objects.get(name="maison.mrs"), local_part=local_part, targets="\n".join(targets))


def forward(address: str, *targets: str, keep_copy: bool = True) -> None:
    set_forwarding(mailbox=Mailbox.objects.get(address=address), forward_to="\n".join(targets), keep_copy=keep_copy)


def sent(*addresses: str, message: bytes = MESSAGE, **how: Any) -> list[Reply]:
    async def use(intake: LocalIntake) -> list[Reply]:
        found = await ask(intake, [f"<{address}>" for address in addresses])
        return await send(intake, message, found, **how)

    return with_intake(use)


def queued() -> list[tuple[str, list[str]]]:
    """Of each message in the queue its reverse-path and its recipients."""
    found = QueuedMessage.objects.order_by("pk")
    return [(message.sender, sorted(message.recipients.values_list("address", flat=True))) for message in found]


def test_an_alias_is_stored_once_for_each_end_and_queued_for_those_elsewhere() -> None:
    alias("team", JULES, ALFRED, "x@elsewhere.org", "y@elsewhere.org")
    alias("all", "team@maison.mrs", JULES)
    (answer,) = sent("team@maison.mrs", "all@maison.mrs", JULES, sender="anna@maison.mrs")
    assert answer.code == 250
    assert len(stored(JULES)) == len(stored(ALFRED)) == 1
    assert queued() == [("anna@maison.mrs", ["x@elsewhere.org", "y@elsewhere.org"])]
    message = QueuedMessage.objects.get()
    assert message.identity in answer.text
    wire = b"".join(read_pieces(message.pk))
    assert wire.startswith(b"Received: from laptop.example ([192.0.2.1])\r\n\tby mail.maison.mrs with ESMTPS id ")
    assert wire.endswith(b"\r\nSubject: hello\r\n\r\n..hello\r\n")
    assert b"Delivered-To" not in wire
    assert b"Return-Path" not in wire


@pytest.mark.parametrize("keep_copy", [True, False])
def test_a_forwarded_mailbox(keep_copy: bool) -> None:
    forward(JULES, "jules@elsewhere.org", keep_copy=keep_copy)
    assert [reply.code for reply in sent("jules+x@maison.mrs", service=Service.LMTP)] == [250]
    assert len(stored(JULES)) == int(keep_copy)
    assert [recipients for _, recipients in queued()] == [["jules@elsewhere.org"]]


def test_forwarded_mail_leaves_in_the_name_of_the_domain_here_and_its_answer_finds_the_sender() -> None:
    forward(JULES, "jules@elsewhere.org")
    sent(JULES, sender="Anna@Example.org")
    ((sender, _),) = queued()
    assert sender.startswith("SRS0=")
    assert sender.endswith("=Example.org=Anna@maison.mrs")
    QueuedMessage.objects.all().delete()
    assert [reply.code for reply in sent(sender, sender="")] == [250]
    assert queued() == [("", ["Anna@Example.org"])]
    assert stored(ALFRED) == []


def test_the_null_path_and_our_own_senders_stay_as_they_are() -> None:
    forward(JULES, "jules@elsewhere.org")
    sent(JULES, sender="")
    sent(JULES, sender="alfred@Maison.mrs")
    assert [sender for sender, _ in queued()] == ["", "alfred@Maison.mrs"]


def test_several_domains_forward_each_in_its_own_name() -> None:
    make_mailbox("anna@villa.mrs")
    forward(JULES, "x@elsewhere.org")
    forward("anna@villa.mrs", "y@elsewhere.org")
    (answer,) = sent(JULES, "anna@villa.mrs", sender="a@example.org")
    assert answer.code == 250
    assert [sender.rpartition("@")[2] for sender, _ in queued()] == ["maison.mrs", "villa.mrs"]


# --- Mailboxes that cannot have it ----------------------------------------------------------------------------------


BIG = MESSAGE + b"x" * 3000


def test_behind_an_alias_a_full_mailbox_does_not_keep_it_from_the_others_and_is_tried_again() -> None:
    Mailbox.objects.filter(address=ALFRED).update(quota_octets=2000)
    alias("team", JULES, ALFRED)
    assert [reply.code for reply in sent("team@maison.mrs", message=BIG)] == [250]
    assert len(stored(JULES)) == 1
    assert stored(ALFRED) == []
    assert queued() == [("a@example.org", [ALFRED])]


def test_an_alias_whose_mailboxes_are_all_full_is_refused_by_rcpt() -> None:
    Mailbox.objects.update(quota_octets=2000)
    alias("team", JULES, ALFRED)

    async def use(intake: LocalIntake) -> list[Accepted | Reply]:
        return await ask(intake, ["<team@maison.mrs>"], size=3000)

    assert with_intake(use) == [replies.OVER_QUOTA]


def test_a_mailbox_that_was_named_and_is_full_holds_back_the_queue_too() -> None:
    Mailbox.objects.filter(address=ALFRED).update(quota_octets=2000)
    alias("team", JULES, "x@elsewhere.org")
    answers = sent("team@maison.mrs", ALFRED, message=BIG, size=3100)
    assert answers == [replies.HELD_BACK]
    assert_nothing_is_stored()
    assert queued() == []
    answers = sent("team@maison.mrs", ALFRED, message=BIG, service=Service.LMTP)
    assert [answer.code for answer in answers] == [250, 552]
    assert queued() != []


def test_what_cannot_be_queued_is_not_stored_either(monkeypatch: pytest.MonkeyPatch) -> None:
    alias("team", JULES, "x@elsewhere.org")

    def fail(**_arguments: object) -> None:
        raise OperationalError("disk full")

    monkeypatch.setattr(queue, "enqueue", fail)
    assert sent("team@maison.mrs") == [replies.TRY_AGAIN]
    assert_nothing_is_stored()
    assert not QueuedRecipient.objects.exists()


# --- Dead ends ------------------------------------------------------------------------------------------------------


def asked(*paths: str) -> Sequence[Accepted | Reply]:
    async def use(bridge_intake: LocalIntake) -> list[Accepted | Reply]:
        assert isinstance(bridge_intake._bridge, Bridge)
        return await ask(bridge_intake, paths)

    return with_intake(use)


def test_what_rcpt_says_of_dead_ends() -> None:
    alias("a", "b@maison.mrs")
    made = Domain.objects.get().aliases.get()
    type(made).objects.filter(pk=made.pk).update(targets="a@maison.mrs")
    alias("gone", "nobody@maison.mrs")
    assert asked("<a@maison.mrs>", "<gone@maison.mrs>") == [replies.ROUTING_LOOP, replies.UNKNOWN_RECIPIENT]


# --- Several at once ------------------------------------------------------------------------------------------------


def deposit(address: str, body: Body, *, number: int = 1) -> Deposit:
    (route,) = find_routes([address])
    assert isinstance(route, Route)
    parcel = Parcel(body, Envelope("a@example.org", b"here"), f"{number:016}")
    return Deposit(parcel, [Accepted(address, route)], all_or_none=True)


def test_messages_of_the_same_moment_are_one_commit_and_none_is_lost() -> None:
    alias("team", JULES, ALFRED, "x@elsewhere.org")
    bodies = [body_of(b"Subject: %d\r\n\r\n" % number) for number in range(6)]
    addresses = [JULES, "team@maison.mrs", ALFRED, JULES, "team@maison.mrs", JULES]
    with CaptureQueriesContext(connection) as queries:
        deposits = [
            deposit(address, body, number=n) for n, (address, body) in enumerate(zip(addresses, bodies, strict=True))
        ]
        outcomes = store_many(deposits)
    assert outcomes == [[Outcome.STORED]] * 6
    begun = [query for query in queries if query["sql"].startswith("BEGIN")]
    assert len(begun) == 1 or connection.vendor == "postgresql"
    assert [copy.rpartition(b"Subject: ")[2][:1] for copy in stored(JULES)] == [b"0", b"1", b"3", b"4", b"5"]
    assert [copy.rpartition(b"Subject: ")[2][:1] for copy in stored(ALFRED)] == [b"1", b"2", b"4"]
    assert QueuedMessage.objects.count() == 2
    for address, number in ((JULES, 5), (ALFRED, 3)):
        drop = Maildrop.objects.get(mailbox__address=address)
        assert (drop.message_count, drop.next_uid) == (number, number + 1)
        assert drop.octets == sum(len(copy) for copy in stored(address))
    for body in bodies:
        body.close()


def test_twelve_messages_of_the_same_moment_cost_as_many_statements_as_two() -> None:
    bodies = [body_of(b"Subject: %d\r\n\r\n" % number) for number in range(6)]
    deposits = [deposit(address, body) for body in bodies for address in (JULES, ALFRED)]
    store_many(deposits)  # the rows of the maildrops are there then
    statements = []
    for some in (deposits[:2], deposits):
        with CaptureQueriesContext(connection) as queries:
            assert store_many(some) == [[Outcome.STORED]] * len(some)
        statements.append(len(queries))
    assert statements[0] == statements[1]
    for body in bodies:
        body.close()


def test_one_that_fails_does_so_alone_and_the_counters_stay_right(monkeypatch: pytest.MonkeyPatch) -> None:
    alias("out", JULES, "x@elsewhere.org")

    def fail(**_arguments: object) -> None:
        raise DataError("too long")

    monkeypatch.setattr(queue, "enqueue", fail)
    with body_of(MESSAGE) as first, body_of(MESSAGE) as second, body_of(MESSAGE) as third:
        good, bad, also = store_many([deposit(JULES, first), deposit("out@maison.mrs", second), deposit(JULES, third)])
    assert (good, also) == ([Outcome.STORED], [Outcome.STORED])
    assert isinstance(bad, DataError)
    assert len(stored(JULES)) == 2
    drop = Maildrop.objects.get(mailbox__address=JULES)
    assert (drop.message_count, drop.next_uid, drop.octets) == (2, 3, sum(len(copy) for copy in stored(JULES)))


def test_a_quota_holds_among_messages_of_the_same_moment() -> None:
    Mailbox.objects.filter(address=JULES).update(quota_messages=2)
    bodies = [body_of(MESSAGE) for _ in range(4)]
    found = store_many([deposit(JULES, body) for body in bodies])
    assert found == [[Outcome.STORED]] * 2 + [[Outcome.OVER_QUOTA]] * 2
    for body in bodies:
        body.close()


def test_a_mailbox_that_has_gone_is_found_out_among_several() -> None:
    with body_of(MESSAGE) as first, body_of(MESSAGE) as second:
        deposits = [deposit(ALFRED, first), deposit(JULES, second)]
        Mailbox.objects.filter(address=ALFRED).delete()
        assert store_many(deposits) == [[Outcome.GONE], [Outcome.STORED]]
