"""Logins, locks, listings and deletions of real mailboxes, over sockets; and what a failing database does to them."""

import base64
import socket
import threading
import uuid
from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError

from accounts import activity
from accounts.lookup import FoundMailbox
from accounts.models import DayCount, Domain, Mailbox, User
from accounts.services import create_account, set_active, set_password
from mailstore.locks import Lock
from mailstore.maildrop import CloseRequest, Listing, Opened, OpenRequest, close_maildrops, open_maildrops
from mailstore.models import PIECE_OCTETS, Content, Maildrop, Message
from mailstore.rows import MailboxGoneError, live_messages
from pop3service import access, workers
from pop3service.access import Listings
from pop3service.models import Worker
from pop3service.states import ReadListing, ReadPiece, Refusal
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.pop3service.memory import message
from tests.pop3service.serving import Client, DatabaseServed, Outage, wait_until

Serve = Callable[..., DatabaseServed]

JULES = "jules@maison.mrs"
WRONG = b"-ERR [AUTH] wrong name or password: check both, the name is the full mail address"
IN_USE = b"-ERR [IN-USE] another session has this mailbox open, try again when it has ended"
OUR_ERROR = b"-ERR [SYS/TEMP] something failed on our side, try again later"


@pytest.fixture
def jules(transactional_db: None) -> FoundMailbox:
    """The mailbox jules@maison.mrs, password x, with messages of 100, 200 and 300 octets."""
    mailbox = make_mailbox("jules")
    fill(mailbox.id, message(100), message(200), message(300))
    return mailbox


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "IN_USE_WAITS", (0.01, 0.02))
    monkeypatch.setattr(access, "RELEASE_WAIT", 0.02)


def try_login(served: DatabaseServed, name: str | bytes = JULES, word: str | bytes = "x") -> bytes:
    """The answer to PASS of a new connection, which drops then."""
    with served.connect() as client:
        client.greet()
        for verb, argument in ((b"USER", name), (b"PASS", word)):
            client.send(b"%s %s\r\n" % (verb, argument.encode() if isinstance(argument, str) else argument))
        client.hear()
        return client.hear()


def drop(client: Client) -> None:
    """End the connection as a power failure does, but that the peer is told."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()


def lock_of(mailbox: FoundMailbox) -> uuid.UUID | None:
    return Maildrop.objects.get(mailbox_id=mailbox.id).lock_worker


def wait_until_free(mailbox: FoundMailbox) -> None:
    wait_until(lambda: lock_of(mailbox) is None)


def lock(mailbox: FoundMailbox, worker: uuid.UUID) -> Opened:
    """Lock the maildrop as a session of `worker` does."""
    (opened,) = open_maildrops([OpenRequest(mailbox.id, worker)])
    assert isinstance(opened, Opened)
    return opened


class Gate:
    """Holds calls of a function of pop3service.access up until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        function = getattr(access, name)

        def wait(*arguments: Any) -> Any:
            self.reached.set()
            assert self._open.wait(10)
            return function(*arguments)

        monkeypatch.setattr(access, name, wait)

    def open(self) -> None:
        self._open.set()


class TestLogin:
    @pytest.mark.parametrize("name", ["jules@maison.mrs", "jules", "jules%maison.mrs", "JULES@Maison.MRS", " jules "])
    def test_the_names_of_a_mailbox(self, serve_mailboxes: Serve, jules: FoundMailbox, name: str) -> None:
        """Edge 26."""
        assert try_login(serve_mailboxes(), name) == b"+OK maildrop has 3 messages (600 octets)"

    @pytest.mark.parametrize("authzid", ["", JULES, "jules%maison.mrs", "JULES@Maison.mrs"])
    def test_auth_plain_opens_ones_own_mailbox(self, serve_mailboxes: Serve, jules: FoundMailbox, authzid: str) -> None:
        with serve_mailboxes().connect() as client:
            client.greet()
            word = base64.b64encode(f"{authzid}\0jules\0x".encode()).decode()
            assert client.say(f"AUTH PLAIN {word}") == b"+OK maildrop has 3 messages (600 octets)"

    @pytest.mark.parametrize("message", [f"alfred@maison.mrs\0{JULES}\0x", f"\0{JULES}\0y"])
    def test_and_no_other(self, serve_mailboxes: Serve, jules: FoundMailbox, message: str) -> None:
        make_mailbox("alfred")
        with serve_mailboxes().connect() as client:
            client.greet()
            answer = client.say(f"AUTH PLAIN {base64.b64encode(message.encode()).decode()}")
            assert answer == WRONG

    @pytest.mark.parametrize(
        ("name", "password"),
        [
            (JULES, "X"),
            (JULES, "x "),
            (JULES, ""),
            ("nobody@maison.mrs", "x"),
            ("nobody", "x"),
            ("alfred", "x"),
            (b"jules\0", "x"),
            (b"\xff\xfe", b"\xff\0"),
            ("' OR 1=1 --", "x"),
            ("%", "x"),
            ("x" * 240, "x"),
        ],
    )
    def test_unknown_suspended_and_wrong_are_one_answer(
        self, serve_mailboxes: Serve, jules: FoundMailbox, name: str | bytes, password: str | bytes
    ) -> None:
        """Promise 7; edge 25."""
        make_mailbox("alfred")
        set_active(mailboxes=Mailbox.objects.filter(local_part="alfred"), active=False)
        assert try_login(serve_mailboxes(), name, password) == WRONG
        assert lock_of(jules) is None

    @pytest.mark.parametrize("name", ["nobody", "alfred", JULES, "jules\0"])
    def test_and_take_one_hash_each(self, serve_mailboxes: Serve, jules: FoundMailbox, name: str) -> None:
        make_mailbox("alfred")
        set_active(mailboxes=Mailbox.objects.filter(local_part="alfred"), active=False)
        served = serve_mailboxes()
        verify, verified = served.checker.verify, []
        served.checker.verify = lambda *arguments: verified.append(arguments) or verify(*arguments)
        assert try_login(served, name, "wrong") == WRONG
        assert len(verified) == 1

    def test_no_hash_is_computed_for_a_client_that_has_gone(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        """Nobody can keep the processors busy by connecting, sending a password and leaving."""
        served = serve_mailboxes()
        gate, verified = threading.Event(), []
        served.checker.verify = lambda *arguments: verified.append(arguments) or gate.wait(10)
        threads = served.keeper._hashing._max_workers
        clients = [served.connect().greet() for _ in range(threads + 5)]
        for client in clients:
            client.send(b"USER nobody\r\nPASS x\r\n")
        wait_until(lambda: len(served.keeper._tasks) == threads + 5 and len(verified) == threads)
        for client in clients:
            drop(client)
        wait_until(lambda: served.open() == 0)
        gate.set()
        wait_until(lambda: not served.keeper._tasks)
        assert len(verified) == threads

    @pytest.mark.parametrize("password", ["a b", " a", "a ", "  a  b  ", "\ta", "motdepassé", "密码"])
    def test_passwords_with_spaces_and_letters_of_any_language(self, serve_mailboxes: Serve, password: str) -> None:
        """Edge 19."""
        make_mailbox("jules")
        set_password(user=User.objects.get(), password=password)
        served = serve_mailboxes()
        assert try_login(served, word=password).startswith(b"+OK")
        assert try_login(served, word=password.strip() + "!") == WRONG

    def test_a_password_as_old_clients_write_it(self, serve_mailboxes: Serve) -> None:
        make_mailbox("jules")
        set_password(user=User.objects.get(), password="motdepassé")
        assert try_login(serve_mailboxes(), word="motdepassé".encode("latin-1")).startswith(b"+OK")

    def test_a_mailbox_that_goes_between_password_and_lock(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(access, "open_maildrops", lambda requests: [MailboxGoneError(jules.id) for _ in requests])
        assert try_login(serve_mailboxes()) == WRONG

    def test_a_good_password_is_remembered_until_it_is_changed(
        self, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        served = serve_mailboxes()
        assert try_login(served).startswith(b"+OK")
        verify, served.checker.verify = served.checker.verify, None
        wait_until_free(jules)
        assert try_login(served).startswith(b"+OK")
        set_password(user=User.objects.get(), password="y")
        served.checker.verify = verify
        wait_until_free(jules)
        assert try_login(served) == WRONG
        assert try_login(served, word="y").startswith(b"+OK")

    def test_logins_are_counted_and_wrong_ones_are_not(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        activity.flush()
        DayCount.objects.all().delete()
        served = serve_mailboxes()
        try_login(served)
        try_login(served, word="wrong")
        activity.flush()
        assert DayCount.objects.get(name="logins").times == 1

    def test_a_bare_name_opens_the_mailbox_in_the_default_domain(self, serve_mailboxes: Serve) -> None:
        make_mailbox("alfred")
        other = Domain.objects.create(name="alfred.maison.mrs")
        create_account(username="charles", password="x", domains=[Domain.objects.get(is_default=True), other])
        at_home, abroad = Mailbox.objects.filter(local_part="charles").order_by("id").values_list("id", flat=True)
        fill(at_home, message(100))
        fill(abroad, message(200), message(300))
        served = serve_mailboxes()
        assert b"1 message " in try_login(served, "charles")
        assert b"2 messages " in try_login(served, "charles%alfred.maison.mrs")


class TestLock:
    """Promise 5; edge 21."""

    def test_a_maildrop_is_open_in_one_session_on_all_workers(
        self, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        one, other = serve_mailboxes(), serve_mailboxes()
        with one.connect() as client:
            client.log_in(JULES, "x")
            assert try_login(one) == try_login(other) == IN_USE
            assert client.say("STAT") == b"+OK 3 600"
            assert client.say("QUIT").startswith(b"+OK")
        assert try_login(other).startswith(b"+OK")

    def test_after_in_use_the_same_connection_tries_again(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        with served.connect() as first, served.connect() as second:
            first.log_in(JULES, "x")
            second.greet()
            for answer in (b"-ERR [IN-USE]", b"+OK"):
                second.say(f"USER {JULES}")
                assert second.say("PASS x").startswith(answer)
                first.send(b"QUIT\r\n")
                wait_until(lambda: served.open() == 1)

    def test_a_client_that_is_back_at_once_waits_for_its_old_session(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(access, "IN_USE_WAITS", (0.05,) * 100)
        served = serve_mailboxes()
        with served.connect() as old, served.connect() as new:
            old.log_in(JULES, "x")
            new.greet()
            new.send(b"USER jules\r\nPASS x\r\n")
            wait_until(lambda: bool(served.keeper.opening))
            drop(old)
            new.hear()
            assert new.hear().startswith(b"+OK maildrop")

    def test_two_logins_at_the_same_moment(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        clients = [served.connect().greet() for _ in range(5)]
        for client in clients:
            client.send(b"USER jules\r\nPASS x\r\n")
        for client in clients:
            client.hear()
        answers = sorted(client.hear() for client in clients)
        assert answers[0].startswith(b"+OK")
        assert answers[1:] == [IN_USE] * 4
        for client in clients:
            client.socket.close()

    @pytest.mark.parametrize("end", [drop, lambda client: client.socket.close(), lambda client: client.say("QUIT")])
    def test_it_ends_with_the_session(
        self, serve_mailboxes: Serve, jules: FoundMailbox, end: Callable[[Client], Any]
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            assert lock_of(jules) == served.worker
            end(client)
            wait_until_free(jules)

    def test_it_ends_with_the_worker(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            client.say("DELE 1")
            served.close()
            assert lock_of(jules) is None
            assert client.hear_all().startswith(b"-ERR [SYS/TEMP] the server is shutting down")
        assert live_messages(jules.id).count() == 3

    @pytest.mark.parametrize("name", ["find_credentials", "open_maildrops"])
    def test_a_connection_that_drops_while_its_login_is_under_way(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        gate = Gate(monkeypatch, name)
        served = serve_mailboxes()
        with served.connect() as client:
            client.greet()
            client.send(b"USER jules\r\nPASS x\r\n")
            assert gate.reached.wait(10)
            drop(client)
            wait_until(lambda: served.open() == 0)
            gate.open()
        wait_until(lambda: not served.keeper._tasks)
        assert lock_of(jules) is None
        assert try_login(served).startswith(b"+OK")

    def test_a_worker_that_died_holds_nothing(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        lock(jules, uuid.uuid4())
        assert try_login(serve_mailboxes()).startswith(b"+OK")

    def test_a_worker_that_lives_does(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        other = uuid.uuid4()
        workers.register(worker=other, arbiter=uuid.uuid4())
        lock(jules, other)
        assert try_login(serve_mailboxes()) == IN_USE
        Worker.objects.filter(pk=other).delete()
        assert try_login(serve_mailboxes()).startswith(b"+OK")

    def test_a_lock_of_ours_whose_taking_nobody_was_told(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        """The database was lost between the commit and its answer."""
        served = serve_mailboxes()
        lock(jules, served.worker)
        assert try_login(served).startswith(b"+OK")

    def test_delivery_does_not_wait_for_it(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            fill(jules.id, message(400))
            assert client.say("STAT") == b"+OK 3 600"
            assert client.ask("LIST").count(b"\r\n") == 3
            assert client.say("LIST 4") == b"-ERR no such message, only 3 messages in maildrop"
            client.say("QUIT")
        assert try_login(served) == b"+OK maildrop has 4 messages (1000 octets)"

    def test_a_session_that_lost_it_deletes_nothing(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            client.say("DELE 1")
            held = Maildrop.objects.get(mailbox_id=jules.id)
            mine = Lock(held.lock_worker, held.lock_serial)
            other = uuid.uuid4()
            (taken,) = open_maildrops([OpenRequest(jules.id, other, take_from=mine)])
            assert isinstance(taken, Opened)
            answer = client.say("QUIT")
            assert answer.startswith(b"-ERR [SYS/TEMP] this session had lost its mailbox to another one")
            assert client.closed()
        assert live_messages(jules.id).count() == 3
        assert lock_of(jules) == other
        close_maildrops([CloseRequest(jules.id, taken.lock)])

    def test_so_it_is_where_the_connection_just_drops(
        self, serve_mailboxes: Serve, jules: FoundMailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            Maildrop.objects.filter(mailbox_id=jules.id).update(lock_worker=None)
            drop(client)
            wait_until(lambda: not served.keeper.held)
        assert "had gone before it was freed" in caplog.text


class TestListing:
    def test_it_is_read_once_for_as_long_as_nothing_changes(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, times = access.read_listing, []
        monkeypatch.setattr(access, "read_listing", lambda opened: times.append(1) or read(opened))
        served = serve_mailboxes()

        def session(*commands: str) -> bytes:
            with served.connect() as client:
                client.log_in(JULES, "x")
                listing = client.ask("LIST")
                for command in commands:
                    assert client.say(command).startswith(b"+OK")
                client.say("QUIT")
            return listing

        assert session() == session() == b"1 100\r\n2 200\r\n3 300\r\n"
        assert len(times) == 1
        fill(jules.id, message(400))
        assert session("DELE 2") == b"1 100\r\n2 200\r\n3 300\r\n4 400\r\n"
        assert session() == b"1 100\r\n2 300\r\n3 400\r\n"
        assert len(times) == 3

    def test_counters_that_are_wrong_end_the_session_and_are_right_in_the_next(
        self, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        Maildrop.objects.filter(mailbox_id=jules.id).update(message_count=7)
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            assert client.say("LIST") == b"-ERR [SYS/TEMP] this mailbox was repaired just now, log in again"
            assert client.closed()
        wait_until_free(jules)
        assert try_login(served) == b"+OK maildrop has 3 messages (600 octets)"

    def test_memory_of_them_is_bounded(self) -> None:
        def opened(mailbox_id: int, version: int = 1) -> Opened:
            return Opened(mailbox_id, Lock(uuid.UUID(int=1), 1), 1, 11, 10, 100, version)

        def listing() -> Listing:
            made = Listing(1)
            for column in (made.uids, made.octets, made.wire_octets, made.header_octets):
                column.extend(range(10))
            return made

        listings = Listings(3 * (10 + access.LISTING_COST) + 5)
        first = listing()
        listings.put(opened(1), first)
        for mailbox_id in (2, 3):
            listings.put(opened(mailbox_id), listing())
        assert listings.get(opened(1)) is first
        assert listings.get(opened(1, version=2)) is None
        listings.put(opened(4), listing())
        assert listings.get(opened(2)) is None  # the one that was used least lately
        assert listings.get(opened(1)) is first
        for _ in range(100):
            listings.put(opened(1), listing())
        assert listings.get(opened(3)) is not None
        listings.put(opened(5), Listing(1, *[listing().uids * 20] * 4))
        assert listings.get(opened(5)) is None

    def test_what_was_imported_takes_more_of_it(self) -> None:
        opened = Opened(1, Lock(uuid.UUID(int=1), 1), 1, 2, 1, 8, 1)
        listing = Listing(1, *[array("Q", [8])] * 4)
        listings = Listings(1 + access.LISTING_COST)
        listings.put(opened, listing)
        assert listings.get(opened) is listing
        listings.put(opened, replace(listing, unique_ids={0: "GmailId17"}))
        assert listings.get(opened) is None


class TestUpdate:
    def test_what_quit_does(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            client.ask("RETR 3")
            client.say("DELE 1")
            assert client.say("QUIT").endswith(b" POP3 server signing off (2 messages left)")
        assert list(live_messages(jules.id).order_by("uid").values_list("uid", flat=True)) == [2, 3]
        assert Message.objects.get(mailbox_id=jules.id, uid=1).deleted_at is not None
        assert Message.objects.get(mailbox_id=jules.id, uid=3).retrieved_at is not None
        assert Message.objects.get(mailbox_id=jules.id, uid=2).retrieved_at is None
        assert lock_of(jules) is None

    def test_many_deletions_are_work_of_their_own(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(access, "MANY_DELETIONS", 1)
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            client.send(b"DELE 1\r\nDELE 3\r\nQUIT\r\n")
            assert client.hear_all().count(b"+OK") == 3
        assert live_messages(jules.id).count() == 1
        assert lock_of(jules) is None

    def test_it_goes_on_where_the_client_does_not_wait_for_the_answer(
        self,
        serve_mailboxes: Serve,
        jules: FoundMailbox,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        gate = Gate(monkeypatch, "close_maildrops")
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            client.send(b"DELE 1\r\nQUIT\r\n")
            assert gate.reached.wait(10)
            drop(client)
            wait_until(lambda: served.open() == 0)
            gate.open()
        wait_until_free(jules)
        wait_until(lambda: not served.keeper._tasks)
        assert live_messages(jules.id).count() == 2
        assert caplog.text == ""  # nobody tried to free the lock beside it


class TestDatabaseAway:
    """Promise 8."""

    def expect_error(self, client: Client, command: str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.clear()
        assert client.say(command) == OUR_ERROR
        assert Outage.DETAIL in caplog.text

    def test_a_login_fails_and_the_next_one_works(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage, caplog: pytest.LogCaptureFixture
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.greet()
            client.say("USER jules")
            with outage:
                self.expect_error(client, "PASS x", caplog)
            assert "Authenticate failed" in caplog.text
            client.say("USER jules")
            assert client.say("PASS x").startswith(b"+OK")

    @pytest.mark.parametrize("command", ["LIST", "UIDL", "LIST 2", "RETR 2", "TOP 2 1", "DELE 2"])
    def test_a_command_fails_and_the_session_goes_on(
        self,
        serve_mailboxes: Serve,
        jules: FoundMailbox,
        outage: Outage,
        caplog: pytest.LogCaptureFixture,
        command: str,
    ) -> None:
        with serve_mailboxes().connect() as client:
            client.log_in(JULES, "x")
            with outage:
                self.expect_error(client, command, caplog)
                assert client.say("STAT") == b"+OK 3 600"
            assert client.say(command).startswith(b"+OK")

    def test_a_message_cannot_be_read(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage, caplog: pytest.LogCaptureFixture
    ) -> None:
        with serve_mailboxes().connect() as client:
            client.log_in(JULES, "x")
            client.ask("LIST")
            with outage:
                self.expect_error(client, "RETR 2", caplog)
            assert len(client.ask("RETR 2")) == 200

    def test_in_the_middle_of_a_message_the_connection_ends_without_a_terminator(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage
    ) -> None:
        fill(jules.id, message(4_000_000))
        served = serve_mailboxes()
        with served.connect(receive_octets=20_000) as client:
            client.log_in(JULES, "x")
            assert client.say("RETR 4") == b"+OK 4000000 octets"
            with outage:
                heard = client.hear_all()
            assert PIECE_OCTETS <= len(heard) < 4_000_000
            assert not heard.endswith(b"\r\n.\r\n")
            assert b"-ERR" not in heard
        wait_until_free(jules)

    def test_quit_fails_deletes_nothing_and_frees_the_lock_when_it_is_back(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage, caplog: pytest.LogCaptureFixture
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            client.say("DELE 1")
            with outage:
                self.expect_error(client, "QUIT", caplog)
                assert client.closed()
        wait_until_free(jules)
        assert live_messages(jules.id).count() == 3
        assert try_login(served) == b"+OK maildrop has 3 messages (600 octets)"

    def test_the_lock_of_a_connection_that_drops_is_freed_when_it_is_back(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage, caplog: pytest.LogCaptureFixture
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            with outage:
                drop(client)
                wait_until(lambda: caplog.text.count("freeing the lock on maildrop") > 2)
            wait_until_free(jules)
        assert try_login(served).startswith(b"+OK")

    @pytest.mark.parametrize("then", ["nobody comes", "the client tries again", "another session is faster"])
    def test_a_lock_that_was_given_without_an_answer_is_freed(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch, then: str
    ) -> None:
        """The connection to the database is lost between the commit and its answer."""
        served = serve_mailboxes()

        def take_and_lose_the_answer(requests: list[OpenRequest]) -> list[Opened]:
            open_maildrops(requests)
            monkeypatch.setattr(access, "open_maildrops", open_maildrops)
            raise OperationalError(Outage.DETAIL)

        monkeypatch.setattr(access, "open_maildrops", take_and_lose_the_answer)
        if then != "nobody comes":
            monkeypatch.setattr(access, "RELEASE_WAIT", 0.5)
        assert try_login(served) == OUR_ERROR
        if then == "the client tries again":
            assert try_login(served).startswith(b"+OK")
        elif then == "another session is faster":
            other = uuid.uuid4()
            workers.register(worker=other, arbiter=uuid.uuid4())
            Maildrop.objects.filter(mailbox_id=jules.id).update(lock_worker=other)
        if then == "another session is faster":
            wait_until(lambda: not served.keeper._tasks)
            assert lock_of(jules) == other
        else:
            wait_until_free(jules)

    def test_a_worker_ends_though_it_does_not_come_back(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            with outage:
                served.close()
        assert lock_of(jules) == served.worker
        workers.retire(worker=served.worker)
        assert try_login(serve_mailboxes()).startswith(b"+OK")

    def test_a_message_whose_content_is_missing(
        self, serve_mailboxes: Serve, jules: FoundMailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        Content.objects.filter(mailbox_id=jules.id, uid=2).delete()
        with serve_mailboxes().connect() as client:
            client.log_in(JULES, "x")
            assert client.say("RETR 2") == OUR_ERROR
            assert "MessageGoneError" in caplog.text
            assert len(client.ask("RETR 3")) == 300


class TestVisit:
    """What no client can bring about, but a mistake in the protocol could."""

    def test_requests_after_the_end_are_refused(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        visit = served.keeper.visit()
        with pytest.raises(Refusal, match="over"):
            served.thread.call(visit.carry_out, ReadListing())
        with pytest.raises(Refusal, match="over"):
            served.thread.call(visit.carry_out, ReadPiece(1, 0, 100))
        served.thread.call(visit.leave)
        served.thread.call(visit.leave)
