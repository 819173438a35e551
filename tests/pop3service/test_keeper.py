"""A maildrop is open in one session, whose lock ends with it however it ends (promise 5; edge 21)."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from accounts import door
from accounts.lookup import FoundMailbox
from mailstore import maildrop
from mailstore.locks import Lock
from mailstore.maildrop import CloseRequest, Opened, OpenRequest, close_maildrops, open_maildrops
from mailstore.models import Maildrop
from mailstore.rows import live_messages
from pop3service import keeper, single, workers
from pop3service.models import Worker
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.pop3service.mailboxes import IN_USE, JULES, Gate, lock, lock_of, try_login, wait_until_free
from tests.pop3service.memory import message
from tests.pop3service.serving import Client, DatabaseServed, wait_until

Serve = Callable[..., DatabaseServed]

pytestmark = pytest.mark.usefixtures("no_patience")


def beat_for_long(pulse: workers.Pulse) -> None:
    """As if a worker's heartbeats had gone through for an hour."""
    pulse._since -= 3600


class TestLock:
    """Promise 5; edge 21."""

    def test_a_maildrop_is_open_in_one_session_on_all_workers(
        self, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        one, other = serve_mailboxes(), serve_mailboxes()
        with one.connect() as client:
            client.log_in(JULES, "x")
            for served in (one, other):
                Maildrop.objects.update(locked_at=timezone.now() - timedelta(minutes=5, seconds=1))
                assert try_login(served) == IN_USE + b"5 minutes, try again when it has ended"
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

    def test_it_lasts_though_another_of_the_same_moment_ends(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Locks that are taken with one statement have the same serial."""
        now = timezone.now()
        monkeypatch.setattr(maildrop, "timezone", SimpleNamespace(now=lambda: now))
        alfred = make_mailbox("alfred")
        served = serve_mailboxes()
        with served.connect() as client, served.connect() as other:
            client.log_in(JULES, "x").say("DELE 1")
            other.log_in("alfred", "x")
            serials = Maildrop.objects.values_list("lock_serial", flat=True)
            assert len(serials) == 2
            assert len(set(serials)) == 1
            assert other.say("QUIT").startswith(b"+OK")
            wait_until_free(alfred)
            wait_until(lambda: len(served.keeper.held) == 1)
            assert try_login(served).startswith(IN_USE)
            assert client.say("QUIT").endswith(b"(2 messages left)")

    def test_a_client_that_is_back_at_once_waits_for_its_old_session(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "IN_USE_WAITS", (0.05,) * 100)
        served = serve_mailboxes()
        with served.connect() as old, served.connect() as new:
            old.log_in(JULES, "x")
            new.greet()
            new.send(b"USER jules\r\nPASS x\r\n")
            wait_until(lambda: bool(served.keeper.opening))
            old.reset()
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
        assert all(answer.startswith(IN_USE) for answer in answers[1:])
        for client in clients:
            client.socket.close()

    @pytest.mark.parametrize(
        "end", [Client.reset, lambda client: client.socket.close(), lambda client: client.say("QUIT")]
    )
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

    @pytest.mark.parametrize(("module", "name"), [(door, "find_credentials"), (single, "open_maildrops")])
    def test_a_connection_that_drops_while_its_login_is_under_way(
        self,
        serve_mailboxes: Serve,
        jules: FoundMailbox,
        monkeypatch: pytest.MonkeyPatch,
        module: ModuleType,
        name: str,
    ) -> None:
        gate = Gate(monkeypatch, name, module)
        served = serve_mailboxes()
        with served.connect() as client:
            client.greet()
            client.send(b"USER jules\r\nPASS x\r\n")
            gate.open_when_gone(client, served)
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
        assert try_login(serve_mailboxes()).startswith(IN_USE)
        Worker.objects.filter(pk=other).delete()
        assert try_login(serve_mailboxes()).startswith(b"+OK")

    def test_a_worker_that_is_silent_does_until_it_could_have_beaten(
        self, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        """The database was away for everybody, and the other's heartbeat is not the first one to come through."""
        served, other = serve_mailboxes(), serve_mailboxes()
        with other.connect() as client:
            client.log_in(JULES, "x").say("DELE 1")
            Worker.objects.filter(pk=other.worker).update(beat_at=Now() - timedelta(hours=1))
            assert try_login(served).startswith(IN_USE)
            assert client.say("QUIT").endswith(b"(2 messages left)")
        with other.connect() as client:
            client.log_in(JULES, "x").say("DELE 1")
            beat_for_long(served.keeper.pulse)
            assert try_login(served).startswith(b"+OK")
            assert client.say("QUIT").startswith(b"-ERR [SYS/TEMP] this session had lost its mailbox")

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

    @pytest.mark.parametrize(
        "end", [Client.reset, lambda client: client.say("QUIT").startswith(b"+OK")], ids=["drop", "QUIT"]
    )
    def test_so_it_is_where_nothing_was_to_be_deleted(
        self,
        serve_mailboxes: Serve,
        jules: FoundMailbox,
        caplog: pytest.LogCaptureFixture,
        end: Callable[[Client], Any],
    ) -> None:
        """The client need not hear of it then."""
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            Maildrop.objects.filter(mailbox_id=jules.id).update(lock_worker=None)
            assert end(client) in (None, True)
            wait_until(lambda: not served.keeper.held)
        assert "had gone before it was freed" in caplog.text
