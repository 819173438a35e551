"""One maildrop that a session has open: its listing, and what QUIT does."""

from collections.abc import Callable, Sequence

import pytest

from accounts.lookup import FoundMailbox
from mailstore.maildrop import Closed, CloseRequest, Listing, LockLostError, Opened, close_maildrops
from mailstore.models import Maildrop, Message
from mailstore.rows import live_messages
from pop3service import entering, keeper, single
from tests.mailstore.mailboxes import fill
from tests.pop3service.mailboxes import JULES, Gate, lock_of, try_login, wait_until_free
from tests.pop3service.memory import message
from tests.pop3service.serving import DatabaseServed, wait_until

Serve = Callable[..., DatabaseServed]

#: As it is; the other tests have next to none.
PATIENCE = keeper.IN_USE_WAITS

pytestmark = pytest.mark.usefixtures("no_patience")


class TestListing:
    def test_it_is_read_once_for_as_long_as_nothing_changes(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, known = single.read_listing, []

        def noted(opened: Opened, listing: Listing | None) -> Listing:
            known.append((len(listing), list(listing.gone)) if listing else None)
            return read(opened, listing)

        monkeypatch.setattr(single, "read_listing", noted)
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
        assert known == [None]
        fill(jules.id, message(400))
        assert session("DELE 2") == b"1 100\r\n2 200\r\n3 300\r\n4 400\r\n"
        assert session() == b"1 100\r\n2 300\r\n3 400\r\n"
        assert known == [None, (3, []), (4, [2])]  # what it has deleted itself it need not find out

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

    def test_with_nothing_to_write_it_is_answered_before_the_lock_is_free(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            gate = Gate(monkeypatch, "close_maildrops", entering)
            client.ask("LIST")
            assert client.say("QUIT").endswith(b" POP3 server signing off (3 messages left)")
            assert client.closed()
        assert gate.reached.wait(30)
        assert lock_of(jules) == served.worker
        assert served.keeper.held
        gate.open()
        wait_until(lambda: not served.keeper.held)
        assert lock_of(jules) is None

    def test_who_comes_again_at_once_is_let_in(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the same worker or by another one (promise 5), with as much patience as there is on a busy machine."""
        monkeypatch.setattr(keeper, "IN_USE_WAITS", PATIENCE)
        served = [serve_mailboxes(), serve_mailboxes()]
        for turn in range(40):
            with served[turn // 2 % 2].connect() as client:
                client.log_in(JULES, "x")
                assert client.say("QUIT").startswith(b"+OK")

    def test_the_end_of_the_worker_waits_for_it(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            client.say("QUIT")
        served.close()
        assert lock_of(jules) is None

    def test_what_is_marked_as_retrieved_is_not_marked_again(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[list[int]] = []

        def close(requests: Sequence[CloseRequest]) -> list[Closed | LockLostError]:
            asked.extend([*request.retrieved] for request in requests)
            return close_maildrops(requests)

        monkeypatch.setattr(single, "close_maildrops", close)
        served = serve_mailboxes()
        for number in (1, 3):
            with served.connect() as client:
                client.log_in(JULES, "x")
                client.ask(f"RETR {number}")
                client.ask("RETR 1")
                assert client.say("QUIT").startswith(b"+OK")
        assert asked == [[1], [3]]
        marked = live_messages(jules.id).filter(retrieved_at__isnull=False).order_by("uid")
        assert [message.uid for message in marked] == [1, 3]

    @pytest.mark.parametrize(
        ("commands", "alone"),
        [(["DELE 1"], False), (["DELE 1", "DELE 3"], True), (["RETR 1", "RETR 3"], True), (["RETR 1", "DELE 3"], True)],
    )
    def test_much_to_write_is_work_of_its_own(
        self,
        serve_mailboxes: Serve,
        jules: FoundMailbox,
        monkeypatch: pytest.MonkeyPatch,
        commands: list[str],
        alone: bool,
    ) -> None:
        monkeypatch.setattr(single, "MANY_CHANGES", 1)
        closed_alone, seen = [], single._close_alone

        def close(closing: CloseRequest) -> Closed:
            closed_alone.append(closing)
            return seen(closing)

        monkeypatch.setattr(single, "_close_alone", close)
        with serve_mailboxes().connect() as client:
            client.log_in(JULES, "x")
            for command in commands:
                assert client.say(command).startswith(b"+OK")
                if command.startswith("RETR"):
                    client.hear_lines()
            assert client.say("QUIT").startswith(b"+OK")
        assert len(closed_alone) == alone
        changed = Message.objects.exclude(retrieved_at=None, deleted_at=None).order_by("uid")
        assert [f"{message.uid}" for message in changed] == [command[-1] for command in commands]
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
            gate.open_when_gone(client, served)
        wait_until_free(jules)
        wait_until(lambda: not served.keeper._tasks)
        assert live_messages(jules.id).count() == 2
        assert caplog.text == ""  # nobody tried to free the lock beside it
