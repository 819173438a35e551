"""Fixtures of the POP3 tests: a loop in a thread, and TLS for both ends."""

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from mailplatform.certificates import Certificates, Files
from pop3service import access, keeper
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.pop3service.memory import message
from tests.pop3service.serving import DatabaseServed, LoopThread, MemoryServed, Outage, Tls, loop_thread, wait_until


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certfile, keyfile = directory / "cert.pem", directory / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certfile)
    issued.private_key_pem.write_to_path(keyfile)
    authority.cert_pem.write_to_path(directory / "authority.pem")
    client = ssl.create_default_context(cafile=str(directory / "authority.pem"))
    client.set_alpn_protocols(["imap", "pop3"])  # as a client would that is told neither
    return Tls(
        Certificates([Files(certfile, keyfile)], ["pop3"]).context,
        client,
        certfile,
        keyfile,
        directory / "authority.pem",
    )


@pytest.fixture(scope="module")
def thread() -> Iterator[LoopThread]:
    with loop_thread() as thread:
        yield thread


@pytest.fixture
def serve(thread: LoopThread) -> Iterator[Callable[..., MemoryServed]]:
    """Serve maildrops in memory, for one test; no error may be left in the loop at its end."""
    running: list[MemoryServed] = []

    def serve(*messages: bytes, **options: Any) -> MemoryServed:
        running.append(MemoryServed(thread, *messages, **options))
        return running[-1]

    yield serve
    for served in running:
        served.close()
        assert served.open() == 0
        wait_until(lambda served=served: served.places.taken == served.places.told == 0)
    assert thread.errors == []


@pytest.fixture
def quick_hashes(settings: Settings) -> None:
    """Passwords are not the matter here: what their hashes cost is accounts'."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SCRAM_ITERATIONS = 4096


@pytest.fixture
def serve_mailboxes(
    quick_hashes: None, transactional_db: None, thread: LoopThread
) -> Iterator[Callable[..., DatabaseServed]]:
    """Serve the mailboxes of the database with a worker, or with several; a lock that is held at the end is an error."""
    running: list[DatabaseServed] = []

    def serve(**options: Any) -> DatabaseServed:
        running.append(DatabaseServed(thread, **options))
        return running[-1]

    yield serve
    for served in running:
        served.close()
        assert not served.keeper.held
        assert not served.keeper.opening
        assert not served.keeper.admitted
    assert thread.errors == []


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


@pytest.fixture
def jules(quick_hashes: None, transactional_db: None) -> FoundMailbox:
    """The mailbox jules@maison.mrs, password x, with messages of 100, 200 and 300 octets."""
    mailbox = make_mailbox("jules")
    fill(mailbox.id, message(100), message(200), message(300))
    return mailbox


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "IN_USE_WAITS", (0.01, 0.02))
    monkeypatch.setattr(keeper, "RELEASE_WAIT", 0.02)
    monkeypatch.setattr(access, "REFUSAL_SECONDS", 0.02)
