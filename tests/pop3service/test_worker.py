"""The worker: its row, its settings, whom it trusts with a password in the clear, and an end that leaves nothing."""

import asyncio
import base64
import functools
import logging
import os
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from gunicorn.config import Config
from pytest_django import Settings

from accounts import activity, tokens
from accounts.app_passwords import create_app_password, revoke_app_password
from accounts.callers import Caller, Protocol
from accounts.models import DayCount, Domain, Mailbox, User
from accounts.services import set_active
from mailplatform.arrivals import Arrival
from mailplatform.processes import Bind
from mailstore.locks import Lock
from mailstore.models import Maildrop
from pop3service import ending, sessions, worker, workers
from pop3service.ending import ask_to_end
from pop3service.models import EndRequest, SessionRecord, Worker
from pop3service.worker import Pop3Worker, Reception
from tests.accounts.issuer import Issuer
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.pop3service.serving import Client, LoopThread, Outage, Tls, wait_until

PLAIN, TLS = Bind("pop3", "127.0.0.1", 0), Bind("pop3s", "127.0.0.1", 0, tls=True)


class Running:
    """A worker between its begin and its end, without an arbiter."""

    def __init__(self, thread: LoopThread, tls: Tls | None = None) -> None:
        self.thread = thread
        self.listeners: list[asyncio.Server] = []
        self.app = SimpleNamespace(tls=tls.server if tls else None, identity=uuid.uuid4())
        self.worker = Pop3Worker(1, os.getpid(), [], self.app, 30, Config(), logging.getLogger("gunicorn"))
        self.worker.tmp.close()
        self.ended = False
        thread.run(self.worker.begin())

    def connect(self, bind: Bind = PLAIN, context: ssl.SSLContext | None = None) -> Client:
        """A client of a bind; with the client's `context` it begins with TLS."""
        connected = functools.partial(self.worker.connected, bind)
        gate = self.thread.call(lambda: self.worker.gate)
        listening = self.thread.loop.create_server(lambda: gate.entry(connected, tls=bind.tls), "127.0.0.1", 0)
        self.listeners.append(self.thread.run(listening))
        return Client(self.listeners[-1].sockets[0].getsockname()[1], tls=context)

    def drain(self) -> None:
        self.thread.run(self.worker.drain())

    def end(self) -> None:
        self.ended = True
        for listener in self.listeners:
            self.thread.call(listener.close)
        self.thread.run(self.worker.end())


@pytest.fixture
def run(quick_hashes: None, transactional_db: None, thread: LoopThread) -> Iterator[Callable[..., Running]]:
    begun: list[Running] = []

    def run(tls: Tls | None = None) -> Running:
        begun.append(Running(thread, tls))
        return begun[-1]

    yield run
    # Where a test has failed: a loop with servers left in it never closes.
    for running in begun:
        if not running.ended:
            running.end()
    assert thread.errors == []


def log_in_by_token(client: Client, name: str) -> None:
    """By the token of that name."""
    initial = f"n,a={name}@maison.mrs,\1auth=Bearer {name}\1\1"
    said = client.greet().say(f"AUTH OAUTHBEARER {base64.b64encode(initial.encode()).decode()}")
    assert said.startswith(b"+OK maildrop")


class TestWorker:
    def test_its_row_is_there_before_the_first_client_and_gone_after_the_last(
        self, run: Callable[..., Running]
    ) -> None:
        running = run()
        row = Worker.objects.get()
        assert (row.arbiter, row.pid) == (running.app.identity, os.getpid())
        running.end()
        assert not Worker.objects.exists()

    def test_it_clears_away_what_a_dead_sibling_left(self, run: Callable[..., Running]) -> None:
        first = run()
        Worker.objects.update(arbiter=uuid.UUID(int=7))
        Worker.objects.create(arbiter=first.app.identity, host=workers._place(), pid=os.getpid())
        thread, app = first.thread, first.app
        sibling = Pop3Worker(2, os.getpid(), [], app, 30, Config(), logging.getLogger("gunicorn"))
        sibling.tmp.close()
        thread.run(sibling.begin())
        assert Worker.objects.filter(arbiter=app.identity).count() == 1
        thread.run(sibling.end())
        first.end()

    def test_it_ends_the_session_that_somebody_wants_to_end(
        self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workers, "BEAT_SECONDS", 0.01)
        jules, alfred = make_mailbox("jules"), make_mailbox("alfred")
        fill(jules.id, b"Subject: x\r\n\r\ny\r\n")
        running = run()
        with running.connect() as client, running.connect() as other:
            client.log_in("jules@maison.mrs", "x").say("DELE 1")
            other.log_in("alfred@maison.mrs", "x")
            first = Maildrop.objects.get(mailbox_id=jules.id)
            ask_to_end(mailbox_id=jules.id, lock=Lock(first.lock_worker, first.lock_serial))
            assert client.hear_all() == f"-ERR [SYS/TEMP] {ending.TEXT}\r\n".encode()
            assert other.say("NOOP") == b"+OK"
        running.end()
        assert not EndRequest.objects.exists()
        record = SessionRecord.objects.get(mailbox_id=jules.id)
        assert (record.ending, record.deleted, record.left) == ("admin", 0, 1)
        assert SessionRecord.objects.get(mailbox_id=alfred.id).ending == "dropped"

    @pytest.mark.parametrize("change", ["revoked", "expired"])
    def test_it_ends_sessions_whose_token_is_no_longer_valid(
        self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, settings: Settings, change: str
    ) -> None:
        monkeypatch.setattr(ending, "LOOK_SECONDS", 0.01)
        monkeypatch.setattr(tokens, "REMEMBERED_SECONDS", 0.01)
        expires_at = time.time() + 3600
        jules = make_mailbox("jules")
        fill(jules.id, b"Subject: x\r\n\r\ny\r\n")
        make_mailbox("alfred")
        with Issuer() as issuer:
            settings.OAUTH_INTROSPECTOR = "accounts.tokens.EndpointIntrospector"
            settings.OAUTH_INTROSPECTION_URL = issuer.url
            issuer.tokens = {
                name: {"active": True, "username": f"{name}@maison.mrs", "exp": expires_at}
                for name in ("jules", "alfred")
            }
            running = run()
            with running.connect() as client, running.connect() as other:
                log_in_by_token(client, "jules")
                log_in_by_token(other, "alfred")
                assert client.say("DELE 1").startswith(b"+OK")
                if change == "revoked":
                    del issuer.tokens["jules"]
                else:
                    admitted = running.worker._keeper.admitted
                    (name,) = (name for name in admitted if name[0] == jules.id)
                    admission, names = admitted[name]
                    token = replace(admission.token, expires_at=time.time())
                    admitted[name] = replace(admission, token=token), names
                assert client.hear_all() == f"-ERR [SYS/TEMP] {ending.REVOKED}\r\n".encode()
                assert other.say("NOOP") == b"+OK"
                assert other.say("QUIT").startswith(b"+OK")
            running.end()
        record = SessionRecord.objects.get(mailbox_id=jules.id)
        assert (record.ending, record.deleted, record.left) == ("revoked", 0, 1)

    def test_a_token_that_is_asked_about_for_long_holds_up_no_other(
        self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        monkeypatch.setattr(ending, "LOOK_SECONDS", 0.01)
        monkeypatch.setattr(tokens, "REMEMBERED_SECONDS", 0.01)
        first, over = threading.Lock(), threading.Event()
        waited: list[bool] = []

        def revoke(handler: Any) -> None:
            if first.acquire(blocking=False):
                waited.append(over.wait(5))
            handler.say(b'{"active": false}')

        with Issuer() as issuer:
            settings.OAUTH_INTROSPECTOR = "accounts.tokens.EndpointIntrospector"
            settings.OAUTH_INTROSPECTION_URL = issuer.url
            names = ("jules", "alfred")
            issuer.tokens = {name: {"active": True, "username": f"{name}@maison.mrs"} for name in names}
            for name in names:
                make_mailbox(name)
            running = run()
            with running.connect() as client, running.connect() as other:
                log_in_by_token(client, "jules")
                log_in_by_token(other, "alfred")
                issuer.answer = revoke
                wait_until(lambda: len(running.worker._connections.open) == 1)
                over.set()
                for each in (client, other):
                    assert each.hear_all() == f"-ERR [SYS/TEMP] {ending.REVOKED}\r\n".encode()
            running.end()
        assert waited == [True]

    @pytest.mark.parametrize("change", ["revoked", "suspended"])
    def test_it_ends_sessions_whose_login_is_no_longer_allowed(
        self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, change: str
    ) -> None:
        monkeypatch.setattr(ending, "LOOK_SECONDS", 0.01)
        jules = make_mailbox("jules")
        fill(jules.id, b"Subject: x\r\n\r\ny\r\n")
        make_mailbox("alfred")
        user = User.objects.get(username="jules")
        made, secret = create_app_password(user=user, name="telephone")
        running = run()
        with running.connect() as client, running.connect() as other:
            client.log_in("jules@maison.mrs", secret).say("DELE 1")
            other.log_in("alfred@maison.mrs", "x")
            if change == "revoked":
                revoke_app_password(user=user, pk=made.pk)
            else:
                set_active(mailboxes=Mailbox.objects.filter(pk=jules.id), active=False)
            assert client.hear_all() == f"-ERR [SYS/TEMP] {ending.REVOKED}\r\n".encode()
            assert other.say("NOOP") == b"+OK"
            assert other.say("QUIT").startswith(b"+OK")
        running.end()
        record = SessionRecord.objects.get(mailbox_id=jules.id)
        assert (record.ending, record.deleted, record.left) == ("revoked", 0, 1)

    def test_its_pulse_is_that_of_its_heartbeats(
        self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, outage: Outage
    ) -> None:
        monkeypatch.setattr(workers, "BEAT_SECONDS", 0.01)
        pulse = run().worker._keeper.pulse
        first = pulse._last
        wait_until(lambda: pulse._last > first)
        with outage:
            time.sleep(0.1)
            last = pulse._last
            time.sleep(0.1)
            assert pulse._last == last

    def test_it_beats(self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "BEAT_SECONDS", 0.01)
        running = run()
        Worker.objects.all().delete()
        wait_until(Worker.objects.exists)
        running.end()
        assert not Worker.objects.exists()

    def test_a_database_that_is_away_does_not_stop_the_beat(
        self,
        run: Callable[..., Running],
        outage: Outage,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(workers, "BEAT_SECONDS", 0.01)
        running = run()
        with outage:
            wait_until(lambda: caplog.text.count(Outage.DETAIL) > 2)
        Worker.objects.all().delete()
        wait_until(Worker.objects.exists)
        running.end()

    def test_it_does_not_begin_without_its_database(self, run: Callable[..., Running], outage: Outage) -> None:
        with outage, pytest.raises(Exception, match=Outage.DETAIL):
            run()

    def test_the_binds_are_served_with_the_settings_of_the_project(
        self, run: Callable[..., Running], settings: Settings, tls: Tls
    ) -> None:
        settings.MAIL_HOSTNAME, settings.POP3_MAX_CONNECTIONS, settings.PLAINTEXT_NETWORKS = "mail.maison.mrs", 2, []
        running = run(tls)
        with running.connect(PLAIN) as plain, running.connect(TLS, tls.client) as encrypted:
            assert plain.hear() == encrypted.hear() == b"+OK mail.maison.mrs POP3 server ready"
            assert b"STLS\r\n" in plain.ask("CAPA")
            assert b"USER\r\n" in encrypted.ask("CAPA")
            with running.connect() as third:
                assert third.hear().startswith(b"-ERR [SYS/TEMP] too many connections")
        running.end()

    def test_the_timers_are_those_of_the_settings(self, run: Callable[..., Running], settings: Settings) -> None:
        settings.POP3_IDLE_SECONDS, settings.POP3_LOGIN_SECONDS = 1234, 56
        running = run()
        limits = running.worker._connections.limits
        assert (limits.idle_seconds, limits.login_seconds) == (1234, 56)
        running.end()

    def test_it_keeps_up_with_what_it_says_of_policies(
        self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def announces(line: bytes) -> bool:
            with running.connect() as client:
                return line in client.greet().capabilities()

        monkeypatch.setattr(worker, "ANNOUNCE_SECONDS", 0.01)
        make_mailbox("jules")
        Domain.objects.update(expire_days=30)
        running = run()
        assert announces(b"EXPIRE 30")
        make_mailbox("alfred")
        Mailbox.objects.filter(local_part="alfred").update(expire_days=7)
        wait_until(lambda: announces(b"EXPIRE 7 USER"))
        running.end()

    def test_logins_are_counted_while_it_runs_and_at_its_end(
        self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def logins() -> int:
            return sum(DayCount.objects.filter(name="logins").values_list("times", flat=True))

        activity.flush()
        before = logins()
        monkeypatch.setattr(worker, "FLUSH_SECONDS", 0.01)
        make_mailbox("jules")
        running = run()
        with running.connect() as client:
            client.log_in("jules", "x").say("QUIT")
            wait_until(lambda: logins() == before + 1)
        monkeypatch.setattr(worker, "FLUSH_SECONDS", 1000)
        with running.connect() as client:
            client.log_in("jules", "x")
            running.end()
        assert logins() == before + 2

    def test_records_of_sessions_that_cannot_be_written_are_tried_again(
        self, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(sessions, "FLUSH_SECONDS", 0.01)
        make_mailbox("jules")
        running = run()
        kept = running.worker._keeper.sessions
        flush, failed = kept.flush, []

        async def fail_twice(*arguments: Any, **named: Any) -> None:
            if len(failed) < 2:
                failed.append(None)
                raise OperationalError("the database is away")
            await flush(*arguments, **named)

        monkeypatch.setattr(kept, "flush", fail_twice)
        with running.connect() as client:
            client.log_in("jules", "x").say("QUIT")
        wait_until(lambda: SessionRecord.objects.count() == 1)
        assert len(failed) == 2
        assert "writing the records of sessions failed, the next turn tries again" in caplog.text
        running.end()

    def test_a_drain_tells_the_clients_and_frees_the_locks_and_the_end_leaves_no_thread(
        self, run: Callable[..., Running]
    ) -> None:
        before = set(threading.enumerate())
        make_mailbox("jules")
        running = run()
        with running.connect() as client:
            client.log_in("jules", "x")
            running.drain()
            assert client.hear_all().startswith(b"-ERR [SYS/TEMP] the server is shutting down")
            running.end()
        assert not Maildrop.objects.filter(lock_worker__isnull=False).exists()
        wait_until(lambda: not {thread.name[:6] for thread in set(threading.enumerate()) - before} & {"bridge"})

    def test_it_ends_though_the_database_is_away(
        self, run: Callable[..., Running], outage: Outage, caplog: pytest.LogCaptureFixture
    ) -> None:
        running = run()
        with outage:
            running.end()
        assert caplog.text.count(Outage.DETAIL) >= 1
        Worker.objects.get()  # it stays, and goes stale


class TestReception:
    """Promise 6: who may send a password over a connection that is not encrypted."""

    @pytest.mark.parametrize("plaintext", [False, True])
    @pytest.mark.parametrize("version", ["", "TLSv1.3"])
    def test_the_channel_is_what_arrived(self, settings: Settings, version: str, plaintext: bool) -> None:
        settings.MAIL_HOSTNAME = "mail.maison.mrs"
        door = SimpleNamespace(mechanisms=("SCRAM-SHA-1", "PLAIN"))
        reception = Reception(SimpleNamespace(door=door), starttls=True)
        session, work = reception(Arrival("192.0.2.1", version, plaintext))
        channel = session.state.channel
        assert (channel.hostname, channel.encrypted, channel.starttls) == ("mail.maison.mrs", bool(version), True)
        assert channel.plaintext is plaintext
        assert channel.mechanisms == door.mechanisms
        assert work._caller == Caller(Protocol.POP3, "192.0.2.1", version)

    @pytest.mark.parametrize("offered", [False, True])
    def test_a_refusal_says_what_to_do(
        self, run: Callable[..., Running], settings: Settings, tls: Tls, offered: bool
    ) -> None:
        settings.PLAINTEXT_NETWORKS = ["10.0.0.0/8"]
        make_mailbox("jules")
        running = run(tls if offered else None)
        with running.connect() as client:
            client.greet()
            how = b"send STLS first, or use TLS on port 995" if offered else b"use TLS on port 995"
            wanted = b"-ERR no password over a connection that is not encrypted: " + how
            assert client.say("USER jules") == client.say("PASS x") == wanted
            assert b"USER" not in client.ask("CAPA").split(b"\r\n")
            if offered:
                assert client.say("STLS").startswith(b"+OK")
                client.start_tls(tls.client)
                assert client.say("USER jules").startswith(b"+OK")
                assert client.say("PASS x").startswith(b"+OK")
        running.end()
