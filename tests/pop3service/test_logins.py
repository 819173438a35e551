"""Logins as the door of accounts decides them, over sockets: what a client sees of it."""

import base64
import contextlib
import logging
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts import door, watch
from accounts.app_passwords import create_app_password
from accounts.lookup import FoundMailbox
from accounts.models import Domain, LoginRecord, Mailbox, User
from accounts.services import create_account, create_domain, set_password
from mailstore.models import Maildrop
from mailstore.rows import live_messages
from tests.accounts.issuer import Issuer
from tests.accounts.scram_client import scram_client
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.pop3service.mailboxes import JULES, OUR_ERROR, WRONG, Gate, lock, lock_of, try_login, wait_until_free
from tests.pop3service.memory import message
from tests.pop3service.serving import Client, DatabaseServed, Tls, wait_until

Serve = Callable[..., DatabaseServed]

pytestmark = pytest.mark.usefixtures("no_patience")


def owner() -> User:
    return User.objects.get(username="jules")


def app_password(**limits: object) -> str:
    return create_app_password(user=owner(), name="telephone", **limits)[1]


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def records(served: DatabaseServed) -> list[tuple[str, str, str, str]]:
    served.thread.run(served.door.tend())
    return list(LoginRecord.objects.order_by("pk").values_list("mechanism", "result", "address", "tls"))


class TestAppPasswords:
    def test_one_opens_and_may_delete(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        with serve_mailboxes().connect() as client:
            client.log_in(JULES, app_password())
            assert client.say("DELE 1") == b"+OK message 1 deleted"
            client.say("QUIT")
        assert live_messages(jules.id).count() == 2

    def test_a_read_only_one_may_fetch_and_not_delete(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        with serve_mailboxes().connect() as client:
            client.log_in(JULES, app_password(read_only=True))
            assert len(client.ask("RETR 1")) == 100
            assert client.say("DELE 1") == (
                b"-ERR this password may fetch messages and not delete them: set your program to leave them here"
            )
            assert client.say("DELE 9").startswith(b"-ERR no such message")
            assert client.say("STAT") == b"+OK 3 600"
            assert client.say("QUIT").startswith(b"+OK")
        assert live_messages(jules.id).count() == 3

    def test_its_limits_are_a_wrong_password_to_the_outside(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        assert try_login(served, word=app_password(pop3=False)) == WRONG
        for limit in ({"network": "192.0.2.0/24"}, {"expires_at": timezone.now() + timedelta(hours=1)}):
            owner().app_passwords.all().delete()
            secret = app_password(**limit)
            owner().app_passwords.exclude(expires_at=None).update(expires_at=timezone.now())
            assert try_login(served, word=secret) == WRONG
        assert {result for _, result, _, _ in records(served)} == {"protocol", "network", "expired"}

    def test_with_two_factor_only_one_opens(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        assert try_login(served).startswith(b"+OK")
        User.objects.update(two_factor=True)
        wait_until_free(jules)
        assert try_login(served) == WRONG
        assert try_login(served, word=app_password()).startswith(b"+OK")


class TestDelegates:
    def test_one_opens_what_is_entrusted_to_him_and_nothing_else(
        self, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        other = make_mailbox("alfred")
        fill(other.id, message(400))
        served = serve_mailboxes()
        plain = f"AUTH PLAIN {in_base64(f'alfred@maison.mrs{chr(0)}jules{chr(0)}x')}"
        with served.connect() as client:
            client.greet()
            assert client.say(plain) == WRONG
            Mailbox.objects.get(pk=other.id).delegates.add(owner())
            assert client.say(plain) == b"+OK maildrop has 1 message (400 octets)"
            assert lock_of(other) == served.worker
            assert lock_of(jules) is None


class TestThrottling:
    def guess(self, client: Client, word: str, name: str = JULES) -> bytes:
        client.say(f"USER {name}")
        return client.say(f"PASS {word}")

    @pytest.mark.parametrize("name", [JULES, "nobody"])
    def test_guesses_are_slowed_and_then_refused_with_the_time_to_wait(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """RFC 3206, 4: [SYS/TEMP], for the password may be right."""
        served = serve_mailboxes()
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            clock.append(clock[-1] + seconds)

        clock = [1_800_000_000.0]
        served.door._watch._sleep = sleep
        served.door._watch._throttles._clock = lambda: clock[-1]
        for number in range(8):
            with served.connect() as client:
                assert self.guess(client.greet(), f"guess {number}", name) == WRONG
        assert slept == pytest.approx([1, 2, 4, 8], abs=0.1)
        with served.connect() as client:
            wanted = b"-ERR [SYS/TEMP] too many failed logins, try again in 16 seconds"
            assert self.guess(client.greet(), "x", name) == wanted
            clock.append(clock[-1] + 16)
            answer = self.guess(client, "x", name)
        assert answer.startswith(b"+OK" if name == JULES else WRONG)

    def test_an_old_password_again_and_again_is_never_slowed(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        served = serve_mailboxes()
        for _ in range(8):
            assert try_login(served, word="old") == WRONG
        assert try_login(served).startswith(b"+OK")

    def test_one_who_leaves_while_he_is_held_up_is_let_go(
        self, serve_mailboxes: Serve, jules: FoundMailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        served = serve_mailboxes()
        for number in range(3):
            assert try_login(served, word=f"guess {number}") == WRONG
        begun = threading.Event()

        async def for_ever(seconds: float) -> None:
            begun.set()
            await served.thread.loop.create_future()

        assert try_login(served, word="guess 4") == WRONG
        served.door._watch._sleep = for_ever
        with served.connect() as client:
            client.greet()
            client.send(f"USER {JULES}\r\nPASS guess 5\r\n".encode())
            assert begun.wait(30)
            client.reset()
            wait_until(lambda: not served.keeper._tasks)
        assert records(served)[-1][1] == "throttled"
        assert not any(record.levelname == "ERROR" for record in caplog.records)

    def test_too_many_hashes_at_once(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("accounts.hashing.MOST_WAITING", 0)
        wanted = b"-ERR [SYS/TEMP] too many logins at this moment, try again in 5 seconds"
        assert try_login(serve_mailboxes()) == wanted


class TestRecords:
    def test_every_try_is_one_with_its_connection(self, serve_mailboxes: Serve, jules: FoundMailbox, tls: Tls) -> None:
        served = serve_mailboxes(tls=tls.server)
        try_login(served, word="wrong")
        with served.connect() as client:
            client.greet()
            client.say("STLS")
            client.start_tls(tls.client)
            client.say("USER jules")
            assert client.say("PASS x").startswith(b"+OK")
        with served.connect() as client:
            client.greet()
            client.say(f"AUTH PLAIN {in_base64(f'{chr(0)}nobody{chr(0)}x')}")
        assert records(served) == [
            ("USER", "wrong", "127.0.0.1", ""),
            ("USER", "admitted", "127.0.0.1", "TLSv1.3"),
            ("PLAIN", "unknown", "127.0.0.1", ""),
        ]


class TestScram:
    """RFC 5802, with the verifiers that are kept."""

    def test_it_is_offered_and_opens_without_a_hash(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        set_password(user=owner(), password="right horse")
        served = serve_mailboxes()
        served.door._passwords.verify = None
        with served.connect() as client:
            client.greet()
            assert b"SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN" in client.capabilities()
            assert self.prove(client, "wrong horse") == WRONG
            assert self.prove(client, "right horse").startswith(b"+OK maildrop has 3")

    def test_a_delegate_opens_the_mailbox_that_is_entrusted_to_him(
        self, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        alfred = make_mailbox("alfred")
        fill(alfred.id, message(500))
        set_password(user=owner(), password="right horse")
        with serve_mailboxes().connect() as client:
            client.greet()
            assert self.prove(client, "right horse", authzid="alfred@maison.mrs") == WRONG
            Mailbox.objects.get(pk=alfred.id).delegates.add(owner())
            assert self.prove(client, "right horse", authzid="alfred@maison.mrs").endswith(b"(500 octets)")
            assert lock_of(alfred) is not None
            assert lock_of(jules) is None

    def test_guesses_on_many_connections_are_told_no_more_than_those_on_one(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each has its challenge before the first one fails."""
        monkeypatch.setattr(watch, "HELD_SECONDS", 0.5)
        set_password(user=owner(), password="right horse")
        served = serve_mailboxes()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(served.connect()) for _ in range(12)]
            proofs = []
            for number, client in enumerate(clients):
                client.greet()
                guess = "right horse" if number == 9 else f"wrong horse {number}"
                scram = scram_client("SCRAM-SHA-256", JULES, guess, authzid="")
                challenge = client.say(f"AUTH SCRAM-SHA-256 {in_base64(scram.get_client_first())}")
                scram.set_server_first(base64.b64decode(challenge[2:]).decode())
                proofs.append(in_base64(scram.get_client_final()))
            answers = [client.say(proof) for client, proof in zip(clients, proofs, strict=True)]
        assert answers[:4] == [WRONG] * 4
        assert {answer.partition(b"]")[0] for answer in answers[4:]} == {b"-ERR [SYS/TEMP"}

    def prove(self, client: Client, password: str, mechanism: str = "SCRAM-SHA-256", authzid: str = "") -> bytes:
        """The whole exchange; the last answer."""
        scram = scram_client(mechanism, JULES, password, authzid=authzid)
        challenge = client.say(f"AUTH {mechanism} {in_base64(scram.get_client_first())}")
        scram.set_server_first(base64.b64decode(challenge[2:]).decode())
        final = client.say(in_base64(scram.get_client_final()))
        if not final.startswith(b"+ "):
            return final
        scram.set_server_final(base64.b64decode(final[2:]).decode())
        return client.say("")


class TestTokens:
    @pytest.fixture
    def issuer(self, settings: Settings) -> Callable[[], Issuer]:
        with Issuer() as issuer:
            settings.OAUTH_INTROSPECTOR = "accounts.tokens.EndpointIntrospector"
            settings.OAUTH_INTROSPECTION_URL = issuer.url
            issuer.tokens = {"good": {"active": True, "username": JULES}}
            yield issuer

    def test_a_token_opens_its_owners_mailbox(
        self, issuer: Issuer, serve_mailboxes: Serve, jules: FoundMailbox
    ) -> None:
        """RFC 7628."""
        with serve_mailboxes().connect() as client:
            client.greet()
            assert b"SASL SCRAM-SHA-256 SCRAM-SHA-1 OAUTHBEARER XOAUTH2 PLAIN LOGIN" in client.capabilities()
            challenge = client.say(f"AUTH OAUTHBEARER {in_base64('n,,' + chr(1) + 'auth=Bearer bad' + chr(1) * 2)}")
            assert b"invalid_token" in base64.b64decode(challenge[2:])
            assert client.say(in_base64("\1")) == WRONG
            good = f"user={JULES}\1auth=Bearer good\1\1"
            assert client.say(f"AUTH XOAUTH2 {in_base64(good)}").startswith(b"+OK maildrop has 3")

    def test_where_the_issuer_is_away_it_is_temporary_and_in_the_log_once(
        self,
        issuer: Issuer,
        serve_mailboxes: Serve,
        jules: FoundMailbox,
        settings: Settings,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        settings.OAUTH_INTROSPECTION_URL = "http://127.0.0.1:1/"
        with serve_mailboxes().connect() as client:
            client.greet()
            good = f"user={JULES}\1auth=Bearer good\1\1"
            for _ in range(3):
                assert client.say(f"AUTH XOAUTH2 {in_base64(good)}") == OUR_ERROR
        (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
        assert "nobody can be asked about bearer tokens" in record.getMessage()


class TestPipelining:
    """Edge 16: what is sent behind a login waits for it, runs once and in order."""

    @pytest.mark.parametrize(
        "login", ["USER jules\r\nPASS x", f"AUTH PLAIN {in_base64(chr(0) + 'jules' + chr(0) + 'x')}"]
    )
    def test_behind_a_login(
        self, serve_mailboxes: Serve, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch, login: str
    ) -> None:
        gate = Gate(monkeypatch, "find_credentials", door)
        with serve_mailboxes().connect() as client:
            client.greet()
            client.send(f"{login}\r\nSTAT\r\nDELE 1\r\nSTAT\r\nQUIT\r\n".encode())
            assert gate.reached.wait(30)
            gate.open()
            answers = client.hear_all().splitlines()[-5:]
        assert answers.pop().endswith(b"signing off (2 messages left)")
        assert [answer[:7] for answer in answers] == [
            b"+OK mai",
            b"+OK 3 6",
            b"+OK mes",
            b"+OK 2 5",
        ]
        assert live_messages(jules.id).count() == 2

    def test_behind_one_that_fails(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        with serve_mailboxes().connect() as client:
            client.greet()
            client.send(b"USER jules\r\nPASS wrong\r\nDELE 1\r\nUSER jules\r\nPASS x\r\nSTAT\r\nQUIT\r\n")
            answers = client.hear_all().splitlines()
        assert [answer[:4] for answer in answers] == [b"+OK ", b"-ERR", b"-ERR", b"+OK ", b"+OK ", b"+OK ", b"+OK "]
        assert answers[1] == WRONG
        assert live_messages(jules.id).count() == 3


class TestLoginDelay:
    """RFC 2449, 6.5 and 8.1.1."""

    def test_who_comes_too_soon_is_told_when(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        Domain.objects.update(login_delay_seconds=600)
        served = serve_mailboxes()
        for began, answer in (
            (timedelta(0), b"+OK"),
            (
                timedelta(seconds=100),
                b"-ERR [LOGIN-DELAY] this mailbox was opened a moment ago, log in again in 8 minutes",
            ),
            (
                timedelta(seconds=599),
                b"-ERR [LOGIN-DELAY] this mailbox was opened a moment ago, log in again in 1 second",
            ),
            (timedelta(seconds=601), b"+OK"),
        ):
            wait_until_free(jules)
            Maildrop.objects.filter(opened_at__isnull=False).update(opened_at=timezone.now() - began)
            assert try_login(served).startswith(answer)
            if answer == b"+OK":
                wait_until_free(jules)
            else:
                assert lock_of(jules) is None

    def test_a_wrong_password_is_wrong_before_it_is_too_soon(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        Mailbox.objects.update(login_delay_seconds=600)
        served = serve_mailboxes()
        assert try_login(served).startswith(b"+OK")
        wait_until_free(jules)
        assert try_login(served, word="wrong") == WRONG
        assert try_login(served).startswith(b"-ERR [LOGIN-DELAY]")

    def test_in_use_comes_first(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        Mailbox.objects.update(login_delay_seconds=600)
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in(JULES, "x")
            assert try_login(served).startswith(b"-ERR [IN-USE]")
            assert b"LOGIN-DELAY 600" in client.capabilities()

    def test_the_lock_of_a_dead_session_does_not_help(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        Mailbox.objects.update(login_delay_seconds=600)
        lock(jules, uuid.uuid4())
        assert try_login(serve_mailboxes()).startswith(b"-ERR [LOGIN-DELAY]")


@pytest.mark.parametrize("commands", [["UTF8"], []], ids=["UTF8", "without UTF8"])
def test_rfc_6856_2_2_a_name_in_any_script_opens_its_mailbox(
    quick_hashes: None, transactional_db: None, serve_mailboxes: Serve, commands: list[str]
) -> None:
    create_account(username="zoë", password="señor", domains=[create_domain(name="münchen.example")])
    with serve_mailboxes().connect() as client:
        client.greet()
        for command in (*commands, "USER ZOË@München.example", "PASS sen\u0303or"):
            assert client.say(command.encode()).startswith(b"+OK")
