"""What sessions say and do while the database is away, and when it is back (promise 8)."""

import uuid
from collections.abc import Callable

import pytest
from django.db import OperationalError

from accounts.lookup import FoundMailbox
from mailstore.maildrop import Opened, OpenRequest, open_maildrops
from mailstore.models import PIECE_OCTETS, Content, Maildrop
from mailstore.rows import live_messages
from pop3service import keeper, single, workers
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.pop3service.mailboxes import JULES, OUR_ERROR, lock_of, try_login, wait_until_free
from tests.pop3service.memory import message
from tests.pop3service.serving import Client, DatabaseServed, Outage, wait_until

Serve = Callable[..., DatabaseServed]

pytestmark = pytest.mark.usefixtures("no_patience")


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
        fill(jules.id, message(12_000_000))  # more than the kernel takes, however well it knows the way
        served = serve_mailboxes()
        with served.connect(receive_octets=20_000) as client:
            client.log_in(JULES, "x")
            assert client.say("RETR 4") == b"+OK 12000000 octets"
            with outage:
                heard = client.hear_all()
            assert PIECE_OCTETS <= len(heard) < 12_000_000
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

    def test_quit_with_nothing_to_write_does_not_and_the_lock_is_freed_when_it_is_back(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            with outage:
                assert client.say("QUIT").startswith(b"+OK")
                wait_until(lambda: outage.refused > 2)
                assert served.keeper.held
        wait_until_free(jules)
        wait_until(lambda: not served.keeper.held)

    def test_the_lock_of_a_connection_that_drops_is_freed_when_it_is_back(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            with outage:
                client.reset()
                wait_until(lambda: outage.refused > 2)
            wait_until_free(jules)
        assert try_login(served).startswith(b"+OK")

    def test_that_locks_cannot_be_freed_is_said_once_and_that_they_can_be_again(
        self, serve_mailboxes: Serve, jules: FoundMailbox, outage: Outage, caplog: pytest.LogCaptureFixture
    ) -> None:
        alfred = make_mailbox("alfred")
        served = serve_mailboxes()
        for _ in range(2):
            caplog.clear()
            with served.connect() as client, served.connect() as other:
                client.log_in(JULES, "x")
                other.log_in("alfred", "x")
                outage.refused = 0
                with outage:
                    assert client.say("QUIT").startswith(b"+OK")
                    other.reset()
                    wait_until(lambda: outage.refused > 5)
                for mailbox in (jules, alfred):
                    wait_until_free(mailbox)
            wait_until(lambda: not served.keeper._tasks)
            lines = [(record.getMessage(), record.exc_info is not None) for record in caplog.records]
            assert lines == [
                ("locks of maildrops cannot be freed, which is tried until they can be", True),
                ("locks of maildrops can be freed again", False),
            ]
            assert Outage.DETAIL in caplog.text

    @pytest.mark.parametrize("then", ["nobody comes", "the client tries again", "another session is faster"])
    def test_a_lock_that_was_given_without_an_answer_is_freed(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch, then: str
    ) -> None:
        """The connection to the database is lost between the commit and its answer."""
        served = serve_mailboxes()

        def take_and_lose_the_answer(requests: list[OpenRequest]) -> list[Opened]:
            open_maildrops(requests)
            monkeypatch.setattr(single, "open_maildrops", open_maildrops)
            raise OperationalError(Outage.DETAIL)

        monkeypatch.setattr(single, "open_maildrops", take_and_lose_the_answer)
        if then != "nobody comes":
            monkeypatch.setattr(keeper, "RELEASE_WAIT", 0.5)
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
            wanted = b"-ERR [SYS/PERM] something is lost or damaged on our side, tell your postmaster"
            assert client.say("RETR 2") == wanted
            assert "MessageGoneError" in caplog.text
            assert len(client.ask("RETR 3")) == 300
