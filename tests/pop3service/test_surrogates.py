"""pop3service.surrogates: messages with UTF-8 in their headers and clients that did not say UTF8 (RFC 6856, 2.1)."""

import re
import uuid
from collections.abc import Callable

import pytest

from accounts.lookup import FoundMailbox
from mailstore.delivery import Envelope, deliver
from mailstore.maildrop import Opened, OpenRequest, open_maildrops
from mailstore.models import PIECE_OCTETS, Maildrop, Message
from mailstore.shelf import restore
from mailstore.surrogates import read_surrogates
from tests.mailstore.mailboxes import body_of, fill, make_mailbox, stored
from tests.messages import canonical
from tests.pop3service.serving import Client, DatabaseServed

Serve = Callable[..., DatabaseServed]

PLAIN = b"Subject: plain\n\nUne d\xc3\xa9pense.\n.\n"
GREETING = "Subject: Noël\nFrom: Zoë <zoe@maison.mrs>\n\nné\n.x\nend".encode()
AS_SENT = canonical(
    b"Subject: =?utf-8?q?No=C3=ABl?=\nFrom: =?utf-8?q?Zo=C3=AB?= <zoe@maison.mrs>\n\nn\xc3\xa9\n.x\nend"
)
LARGE = "Subject: é\n\n".encode() + b"0123456789\n" * (PIECE_OCTETS // 4)
LARGE_HEADER = "Subject: é\n".encode() + "To: zoë@maison.mrs\n".encode() * (PIECE_OCTETS // 12) + b"\nbody\n"


@pytest.fixture
def jules(quick_hashes: None, transactional_db: None) -> FoundMailbox:
    return make_mailbox("jules")


@pytest.fixture
def connect(serve_mailboxes: Serve, jules: FoundMailbox) -> Callable[[], Client]:
    served = serve_mailboxes()
    return lambda: served.connect().log_in("jules@maison.mrs", "x")


def unstuffed(lines: bytes) -> bytes:
    return re.sub(rb"(?m)^\.", b"", lines)


def added(mailbox: FoundMailbox) -> dict[int, int]:
    """What is stored of the surrogates, as a session reads it; leaves the maildrop locked."""
    (opened,) = open_maildrops([OpenRequest(mailbox.id, uuid.uuid4())])
    assert isinstance(opened, Opened)
    return read_surrogates(opened)


def test_stat_list_retr_and_top_agree_to_the_octet(jules: FoundMailbox, connect: Callable[[], Client]) -> None:
    """RFC 6856, 2.1: LIST matches the octets that RETR sends."""
    fill(jules.id, PLAIN, GREETING, LARGE, PLAIN, LARGE_HEADER, GREETING)
    with connect() as client:
        sizes = [int(line.split()[1]) for line in client.ask("LIST").splitlines()]
        assert client.say("STAT") == b"+OK 6 %d" % sum(sizes)
        bodies = []
        for number in (*range(1, 7), 6, 3, 2, 1):
            lines = client.ask(f"RETR {number}")
            bodies.append(unstuffed(lines))
            assert len(bodies[-1]) == sizes[number - 1]
            assert bodies[-1].partition(b"\r\n\r\n")[0].isascii()
            assert client.ask(f"TOP {number} 100000") == lines
            header = lines.partition(b"\r\n\r\n")[0]
            assert client.ask(f"TOP {number} 0") == header + b"\r\n\r\n"
        assert bodies[:2] == [canonical(PLAIN), AS_SENT]
        assert bodies[5] == bodies[6] == bodies[8] == AS_SENT
        assert bodies[2].partition(b"\r\n\r\n")[2] == canonical(LARGE).partition(b"\r\n\r\n")[2]
        assert bodies[4].endswith(b"\r\n\r\nbody\r\n")
        client.say("DELE 2")
        assert client.say("STAT") == b"+OK 5 %d" % (sum(sizes) - sizes[1])
        assert client.say("QUIT").startswith(b"+OK")
    assert stored(jules.id, 6) == canonical(GREETING).replace(b"\r\n.x", b"\r\n..x")


def test_who_says_utf8_gets_messages_as_they_came(jules: FoundMailbox, serve_mailboxes: Serve) -> None:
    """RFC 6856, 2.1; whichever was there before, and with AUTH too."""
    fill(jules.id, PLAIN, GREETING, LARGE_HEADER)
    served = serve_mailboxes()
    for login in (["USER jules@maison.mrs", "PASS x"], ["AUTH PLAIN AGp1bGVzQG1haXNvbi5tcnMAeA=="]):
        with served.connect() as client:
            client.greet()
            for command in ("UTF8", *login):
                assert client.say(command).startswith(b"+OK")
            assert client.say("STAT") == b"+OK 3 %d" % sum(len(canonical(m)) for m in (PLAIN, GREETING, LARGE_HEADER))
            for number, message in enumerate((PLAIN, GREETING, LARGE_HEADER), 1):
                assert client.say(f"LIST {number}") == b"+OK %d %d" % (number, len(canonical(message)))
                assert unstuffed(client.ask(f"RETR {number}")) == canonical(message)
        with served.connect().log_in("jules@maison.mrs", "x") as client:
            assert unstuffed(client.ask("RETR 2")) == AS_SENT


def test_a_header_in_ascii_is_marked_nowhere(jules: FoundMailbox) -> None:
    """So that ordinary mail costs nothing."""
    fill(jules.id, PLAIN, b"A: \xe9\n\nx", b"", b"A: b\n\n" + "é\n".encode() * PIECE_OCTETS)
    assert not Maildrop.objects.get(mailbox_id=jules.id).has_surrogates
    assert set(Message.objects.filter(mailbox_id=jules.id).values_list("surrogate_octets", flat=True)) == {None}


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_header_is_seen_in_chunks_of_any_size(chunk: int) -> None:
    for message in (PLAIN, b"A: \xe9\n\nx"):
        with body_of(message, chunk) as body:
            assert body.surrogate_octets() is None
    with body_of(GREETING, chunk) as body:
        assert body.surrogate_octets() == len(AS_SENT)


def test_addresses_of_the_envelope_count_too(jules: FoundMailbox, connect: Callable[[], Client]) -> None:
    envelope = Envelope("zoë@maison.mrs", "from a by b for <zoë@maison.mrs>; now".encode())
    with body_of(b" goes on\nSubject: x\n\nx") as body:
        deliver(body=body, envelope=envelope, recipients=[jules], all_or_none=True)
    with connect() as client:
        message = client.ask("RETR 1")
        assert client.say("LIST 1") == b"+OK 1 %d" % len(message)
        assert message == (
            b"Return-Path: =?utf-8?q?zo=C3=AB=40maison=2Emrs?= :;\r\nDelivered-To: jules@maison.mrs\r\n"
            b"Received: from a by b; now goes on\r\nSubject: x\r\n\r\nx\r\n"
        )


def test_what_comes_back_from_the_shelf_has_its_surrogate_still(jules: FoundMailbox) -> None:
    fill(jules.id, PLAIN, GREETING)
    Message.objects.filter(mailbox_id=jules.id, uid=2).update(deleted_at="2026-11-02T10:20:30Z")
    restore(mailbox_id=jules.id, uids=[2])
    assert added(jules) == {3: len(AS_SENT) - len(canonical(GREETING))}


def test_octets_that_were_counted_otherwise_are_put_right(
    jules: FoundMailbox, connect: Callable[[], Client], caplog: pytest.LogCaptureFixture
) -> None:
    """By a version that made other surrogates: no message is sent with another size than was said (promise 3)."""
    fill(jules.id, GREETING)
    Message.objects.filter(mailbox_id=jules.id).update(surrogate_octets=1000)
    with connect() as client:
        assert client.say("LIST 1") == b"+OK 1 1000"
        assert client.say("RETR 1") == b"-ERR [SYS/TEMP] this mailbox was repaired just now, log in again"
        assert client.closed()
    assert "other octets than were counted" in caplog.text
    with connect() as client:
        assert unstuffed(client.ask("RETR 1")) == AS_SENT


def test_a_database_that_goes_away_before_surrogates_are_known_leaves_no_lock(
    jules: FoundMailbox, serve_mailboxes: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(jules.id, GREETING)

    def fail(_: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr("pop3service.single.read_surrogates", fail)
    served = serve_mailboxes()
    with served.connect() as client:
        client.greet()
        client.say("USER jules@maison.mrs")
        assert client.say("PASS x").startswith(b"-ERR [SYS/TEMP]")
        monkeypatch.undo()
        client.say("USER jules@maison.mrs")
        assert client.say("PASS x").startswith(b"+OK")
