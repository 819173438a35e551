"""The relay at work: what is queued reaches its peers, or waits, or comes back; and what is over is over."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest
from django.db import OperationalError
from django.utils import timezone

from mailplatform import claims
from mailstore.models import PIECE_OCTETS
from smtpservice.care import drop
from smtpservice.models import QueuedContent, QueuedMessage, QueuedRecipient
from smtpservice.relay import worker
from smtpservice.relay.claims import CLAIM_RECIPIENTS, LEASE
from smtpservice.relay.peer import Timeouts
from smtpservice.relay.worker import Relay
from tests.mailstore.mailboxes import make_mailbox
from tests.smtpservice.local import stored
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.relay.peers import DROP, SILENCE, ScriptedPeer
from tests.smtpservice.relay.relaying import (
    MESSAGE,
    SHORT,
    Clock,
    database,
    exchanges,
    queue,
    relaying,
    run,
    state,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)
ZONE = {"example.org MX": ["10 peer.example."], "peer.example A": ["127.0.0.1"], "example.net MX": ["1 peer.example."]}


def work(
    peer: ScriptedPeer,
    use: Callable[[Relay], Awaitable[None]],
    clock: Callable[[], datetime] | None = None,
    timeouts: Timeouts = SHORT,
    **more: int,
) -> None:
    """Have `use` called while a relay sends to `peer`, which takes the mail of example.org and example.net."""

    async def main() -> None:
        async with (
            NameServer(ZONE).serving() as names,
            peer.serving(),
            relaying(exchanges(names.address, peer.port, timeouts), clock or Clock(), **more) as relay,
        ):
            await use(relay)

    run(main())


async def queue_is_empty(_: Relay) -> None:
    await until(lambda: not QueuedMessage.objects.exists())


def test_a_message_reaches_its_peer_byte_for_byte_and_leaves_the_queue() -> None:
    queue("a@example.org", "b@example.org")
    peer = ScriptedPeer()
    work(peer, queue_is_empty)
    (taken,) = peer.taken
    assert taken.mail.split() == ["MAIL", "FROM:<jules@maison.mrs>", f"SIZE={len(MESSAGE)}"]
    assert taken.rcpt == ["RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>"]
    assert taken.data == MESSAGE.replace(b"\r\n.", b"\r\n..")
    assert not QueuedRecipient.objects.exists()
    assert not QueuedContent.objects.exists()


def test_a_large_message_goes_out_as_it_came_in() -> None:
    message = b"Subject: large\r\n\r\n" + b"." * 70 + (b".dots\r\n" + b"\x00\xff" * 40 + b"\r\n") * 20_000
    queue("a@example.org", message=message)
    peer = ScriptedPeer()
    work(peer, queue_is_empty)
    assert peer.taken[0].data.replace(b"\r\n.", b"\r\n") == message


def test_what_is_refused_for_the_moment_goes_out_at_its_next_attempt() -> None:
    queue("a@example.org")
    answers = ["451 4.7.1 Greylisted"]
    peer, clock = ScriptedPeer({"RCPT": lambda _: answers.pop() if answers else "250 ok"}), Clock()

    async def use(_: Relay) -> None:
        await until(lambda: state("a@example.org") == ("waiting", 1, "451 4.7.1 Greylisted"))
        clock.forward(minutes=4)
        await asyncio.sleep(0.1)
        assert len(peer.taken) == 0
        clock.forward(minutes=2)
        await queue_is_empty(_)

    work(peer, use, clock)
    assert len(peer.taken) == 1


def test_a_failure_comes_back_to_the_sender() -> None:
    make_mailbox("jules")
    queue("a@example.org", "b@example.org")
    peer = ScriptedPeer({"RCPT": lambda line: "550 5.1.1 Who is that?" if "<a@" in line else "250 ok"})
    work(peer, queue_is_empty)
    (notice,) = stored("jules@maison.mrs")
    assert b"550 5.1.1 Who is that?" in notice
    assert peer.taken[0].rcpt == ["RCPT TO:<b@example.org>"]


def test_messages_to_one_domain_share_connections_of_which_there_are_few() -> None:
    for number in range(30):
        queue(f"r{number}@example.org")
    peer = ScriptedPeer()
    work(peer, queue_is_empty, per_destination=2)
    assert len(peer.taken) == 30
    assert peer.connections <= 4
    assert peer.most_open <= 2


def test_a_slow_domain_does_not_keep_another_waiting() -> None:
    queue("a@example.org")
    queue("b@example.net")
    peer = ScriptedPeer({"RCPT": lambda line: SILENCE if "example.org" in line else "250 ok"})

    async def use(_: Relay) -> None:
        await until(lambda: len(peer.taken) == 1)

    work(peer, use)
    assert peer.taken[0].rcpt == ["RCPT TO:<b@example.net>"]


def test_a_long_queue_for_a_host_that_is_down_is_one_connection_attempt() -> None:
    clock = Clock()
    queue(*(f"r{number}@example.org" for number in range(CLAIM_RECIPIENTS * 2)), now=clock())
    peer = ScriptedPeer({"greeting": DROP})

    async def use(_: Relay) -> None:
        await until(lambda: QueuedRecipient.objects.filter(attempts=1).count() == CLAIM_RECIPIENTS * 2)
        await until(lambda: not QueuedRecipient.objects.filter(last_reply="").exists())
        assert peer.connections == 1
        clock.forward(minutes=6)
        await until(lambda: QueuedRecipient.objects.filter(attempts=2).count() == CLAIM_RECIPIENTS * 2)

    work(peer, use, clock, per_destination=1)


def test_of_a_long_queue_for_a_host_that_is_down_every_sender_is_told() -> None:
    make_mailbox("jules")
    clock = Clock()
    for number in range(CLAIM_RECIPIENTS + 5):
        queue(f"r{number}@example.org", now=clock())
    peer = ScriptedPeer({"greeting": DROP})

    async def use(_: Relay) -> None:
        for hours in (0, 5, 24 * 5):
            clock.forward(hours=hours)
            waiting = QueuedRecipient.objects.exclude(last_attempt_at=clock(), claimed_by=None)
            await until(lambda waiting=waiting: not waiting.exists())

    work(peer, use, clock, per_destination=1)
    notices = stored("jules@maison.mrs")
    told = [sum(subject in notice for notice in notices) for subject in (b"is delayed", b"was not delivered")]
    assert told == [CLAIM_RECIPIENTS + 5] * 2
    assert not QueuedMessage.objects.exists()
    assert peer.connections == 3


def test_what_is_queued_here_need_not_wait_for_the_next_look() -> None:
    peer = ScriptedPeer()

    async def use(relay: Relay) -> None:
        relay._poll_seconds = 3600.0
        await asyncio.sleep(0.1)
        await database(queue, "a@example.org")
        relay.wake()
        await queue_is_empty(relay)

    work(peer, use, timezone.now)


def test_a_250_is_written_down_however_often_the_database_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    queue("a@example.org")
    monkeypatch.setattr(claims, "RECORD_SECONDS", 0.01)
    tries: list[None] = []
    record = worker.record

    def failing(reports: object) -> object:
        tries.append(None)
        if len(tries) < 3:
            raise OperationalError("the database is away")
        return record(reports)

    monkeypatch.setattr(worker, "record", failing)
    peer = ScriptedPeer()
    work(peer, queue_is_empty)
    assert len(tries) == 3
    assert len(peer.taken) == 1


def test_a_250_is_written_down_when_the_database_was_away_for_longer_than_a_claim_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue("a@example.org")
    monkeypatch.setattr(claims, "RECORD_SECONDS", 0.01)
    monkeypatch.setattr(worker, "RENEW_SECONDS", 0.02)
    away: list[None] = []
    record, renew = worker.record, worker.renew
    for name, function in (("record", record), ("renew", renew)):

        def failing(*arguments: object, function: Callable[..., object] = function) -> object:
            if away:
                raise OperationalError("the database is away")
            return function(*arguments)

        monkeypatch.setattr(worker, name, failing)

    def goes(_: str) -> str:
        away.append(None)
        return "250 taken"

    peer, clock = ScriptedPeer({"end": goes}), Clock()

    async def use(relay: Relay) -> None:
        await until(lambda: bool(away))
        clock.forward(minutes=3)
        await until(lambda: not relay._connections)
        away.clear()
        await queue_is_empty(relay)

    work(peer, use, clock, Timeouts())
    assert len(peer.taken) == 1


def test_an_error_of_ours_is_logged_and_the_message_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue("a@example.org")

    def broken(message_id: int, piece: int) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(worker, "read_piece", broken)

    async def use(_: Relay) -> None:
        await until(lambda: state("a@example.org")[2].startswith("451 4.3.0"))

    work(ScriptedPeer(), use)
    assert "a bug" in caplog.text


def test_a_database_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    queue("a@example.org")
    claim, tries = worker.claim, list[None]()

    def failing(wish: object) -> object:
        tries.append(None)
        if len(tries) == 1:
            raise OperationalError("the database is away")
        return claim(wish)

    monkeypatch.setattr(worker, "claim", failing)
    work(ScriptedPeer(), queue_is_empty)


def test_claims_are_renewed_while_a_peer_is_slow_and_given_up_when_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RENEW_SECONDS", 0.02)
    queue("a@example.org")
    peer, clock = ScriptedPeer(), Clock()
    peer.slow = asyncio.Event()
    renew, renewed, fails = worker.renew, list[None](), list[None]()

    def watched(*arguments: object) -> None:
        if fails:
            raise OperationalError("the database is away")
        renewed.append(None)
        renew(*arguments)

    monkeypatch.setattr(worker, "renew", watched)

    async def use(relay: Relay) -> None:
        await until(lambda: len(renewed) > 2 and peer.open == 1)
        clock.forward(minutes=1)
        until_now = clock() + LEASE
        await until(lambda: QueuedRecipient.objects.get().claimed_until == until_now)
        fails.append(None)
        clock.forward(minutes=3)
        await until(lambda: not relay._connections)

    work(peer, use, clock, Timeouts())
    assert state("a@example.org") == ("waiting", 1, "")


def test_drain_lets_a_message_end_and_claims_no_other() -> None:
    queue("a@example.org")
    peer = ScriptedPeer()
    peer.slow = asyncio.Event()

    async def use(relay: Relay) -> None:
        await until(lambda: peer.commands[-1:] == ["DATA"])
        draining = asyncio.create_task(relay.drain())
        await asyncio.sleep(0)
        await database(queue, "b@example.org")
        peer.slow.set()
        await draining
        assert [taken.rcpt for taken in peer.taken] == [["RCPT TO:<a@example.org>"]]
        assert await database(state, "b@example.org") == ("waiting", 0, "")

    work(peer, use)


@pytest.mark.parametrize("dropped_at", [0, 1])
def test_of_a_message_that_is_given_up_meanwhile_no_half_arrives(
    dropped_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does an empty one, if it had just been claimed."""

    def given_up(message_id: int, number: int) -> bytes | None:
        if number == dropped_at:
            drop(recipient_ids=[QueuedRecipient.objects.get().pk], tell=False)
        return read_piece(message_id, number)

    read_piece = worker.read_piece
    monkeypatch.setattr(worker, "read_piece", given_up)
    queue("a@example.org", message=MESSAGE + b"x\r\n" * PIECE_OCTETS)
    peer = ScriptedPeer()

    async def use(relay: Relay) -> None:
        await until(lambda: not QueuedMessage.objects.exists() and not relay._connections)
        assert "DATA" in peer.commands
        assert peer.taken == []

    work(peer, use)


def test_what_is_broken_off_goes_out_later() -> None:
    queue("a@example.org")
    peer = ScriptedPeer()
    peer.slow = asyncio.Event()

    async def use(_: Relay) -> None:
        await until(lambda: peer.commands[-1:] == ["DATA"])

    work(peer, use)
    row = QueuedRecipient.objects.get()
    assert (row.state, row.attempts) == ("waiting", 1)
    second, clock = ScriptedPeer(), Clock()
    clock.forward(minutes=6)
    work(second, queue_is_empty, clock)
    assert len(second.taken) == 1
