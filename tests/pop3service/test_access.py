"""Logins, listings and deletions of real mailboxes, over sockets."""

import base64
import os
import threading
from collections.abc import Callable

import pytest

from accounts import activity
from accounts.lookup import FoundMailbox
from accounts.models import DayCount, Domain, Mailbox, User
from accounts.services import create_account, set_active, set_password
from mailstore.rows import MailboxGoneError
from pop3service import single
from pop3service.access import Visit
from pop3service.states import Ending, ReadListing, ReadPiece, Refusal
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.pop3service.mailboxes import JULES, WRONG, lock_of, try_login, wait_until_free
from tests.pop3service.memory import message
from tests.pop3service.serving import DatabaseServed, wait_until

Serve = Callable[..., DatabaseServed]

pytestmark = pytest.mark.usefixtures("no_patience")


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
        passwords = served.door._passwords
        verify, verified = passwords.verify, []
        passwords.verify = lambda *arguments: verified.append(arguments) or verify(*arguments)
        assert try_login(served, name, "wrong") == WRONG
        assert len(verified) == 1

    def test_no_hash_is_computed_for_a_client_that_has_gone(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        """Nobody can keep the processors busy by connecting, sending a password and leaving."""
        served = serve_mailboxes()
        gate, verified = threading.Event(), []
        served.door._passwords.verify = lambda *arguments: verified.append(arguments) or gate.wait(30)
        threads = os.cpu_count() or 2
        clients = [served.connect().greet() for _ in range(threads + 5)]
        for client in clients:
            client.send(b"USER nobody\r\nPASS x\r\n")
        wait_until(lambda: len(served.keeper._tasks) == threads + 5 and len(verified) == threads)
        for client in clients:
            client.reset()
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
        monkeypatch.setattr(single, "open_maildrops", lambda requests: [MailboxGoneError(jules.id) for _ in requests])
        assert try_login(serve_mailboxes()) == WRONG

    def test_a_good_password_is_remembered_until_it_is_changed(
        self, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        served = serve_mailboxes()
        assert try_login(served).startswith(b"+OK")
        passwords = served.door._passwords
        verify, passwords.verify = passwords.verify, None
        wait_until_free(jules)
        assert try_login(served).startswith(b"+OK")
        set_password(user=User.objects.get(), password="y")
        passwords.verify = verify
        wait_until_free(jules)
        assert try_login(served) == WRONG
        assert try_login(served, word="y").startswith(b"+OK")

    def test_logins_are_counted_and_wrong_ones_are_not(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
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


class TestVisit:
    """What no client can bring about, but a mistake in the protocol could."""

    def test_requests_after_the_end_are_refused(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        visit = Visit(served.keeper, "192.0.2.7", "")
        with pytest.raises(Refusal, match="over"):
            served.thread.call(visit.carry_out, ReadListing())
        with pytest.raises(Refusal, match="over"):
            served.thread.call(visit.carry_out, ReadPiece(1, 0, 100))
        served.thread.call(visit.leave, Ending.DROPPED)
        served.thread.call(visit.leave, Ending.DROPPED)
