"""TERM and HUP in the middle of sessions: nothing is deleted without QUIT, and who comes next is served."""

import shutil
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from tests.e2e.conftest import MakePlatform
from tests.e2e.filling import address, fill, message
from tests.e2e.killing import delete, registered
from tests.e2e.maildrops import all_deleted, held_up, locked, stored, untouched
from tests.e2e.pop3 import Pop3
from tests.e2e.running import Platform, Server, wait_until

MANY = 600
#: Octets of a message that no buffer of the system takes in as a whole.
LARGE = 8_000_000
GOODBYE = b"-ERR [SYS/TEMP] the server is shutting down, try again later; nothing was deleted"


@pytest.fixture(scope="module")
def platform(make_platform: MakePlatform) -> Iterator[Platform]:
    """One with a certificate of its own, which can be renewed."""
    made = make_platform()
    for name in ("certfile", "keyfile"):
        setattr(made, name, shutil.copy(getattr(made, name), made.directory / name))
    fill(
        made,
        f"mailboxes('large', messages=2, octets={LARGE})",
        "mailboxes('marked', 'encrypted', 'reloaded', messages=20)",
        f"mailboxes('leaving', messages={MANY})",
    )
    yield made
    made.stop()


@pytest.fixture
def server(platform: Platform) -> Iterator[Server]:
    server = platform.start_pop3(workers=2)
    yield server
    server.stop()


def _trusting(platform: Platform) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(platform.authority))


def test_term_tells_every_session_so_and_nothing_is_deleted(server: Server, platform: Platform) -> None:
    with (
        Pop3(server.ports["plain"]) as greeted,
        Pop3(server.ports["plain"]).log_in(address("marked")) as marked,
        Pop3(server.ports["tls"], tls=_trusting(platform)).log_in(address("encrypted")) as encrypted,
        Pop3(server.ports["plain"], receive_octets=100_000).log_in(address("large")) as large,
    ):
        delete(marked, 20)
        assert encrypted.message(1) == message("encrypted", 1)
        encrypted.do("DELE 1")
        large.do("DELE 2")
        large.do("RETR 1")
        server.process.send_signal(signal.SIGTERM)
        for client in (greeted, marked, encrypted):
            assert client.rest() == GOODBYE + b"\r\n"
        assert len(large.rest()) < LARGE  # and no word in the middle of the message
        assert server.stop() == 0
    assert [stored(platform, address(name)) for name in ("marked", "encrypted")] == [untouched(20)] * 2
    assert stored(platform, address("large")) == untouched(2)
    assert (locked(platform), registered(platform)) == (0, set())


def test_term_lets_a_quit_end_that_has_begun(server: Server, platform: Platform) -> None:
    with Pop3(server.ports["plain"]).log_in(address("leaving")) as client:
        delete(client, MANY)
        with held_up(platform, address("leaving"), MANY - 1) as is_there:
            client.send("QUIT")
            wait_until(is_there, seconds=20, what="QUIT is in its transaction")
            server.process.send_signal(signal.SIGTERM)
        assert client.line().startswith(b"+OK")
    assert server.stop() == 0
    assert stored(platform, address("leaving")) == all_deleted(MANY)
    assert (locked(platform), registered(platform)) == (0, set())


def test_hup_brings_new_workers_and_the_new_certificate(server: Server, platform: Platform) -> None:
    old = server.workers()
    with Pop3(server.ports["plain"]).log_in(address("reloaded")) as client, _coming_and_going(server) as answers:
        delete(client, 20)
        renewed = _renew(platform)
        server.process.send_signal(signal.SIGHUP)
        assert client.rest() == GOODBYE + b"\r\n"
        wait_until(lambda: not server.workers() & old and len(server.workers()) == 2, seconds=20, what="new workers")
    assert stored(platform, address("reloaded")) == untouched(20)
    assert set(answers) <= {b"+OK mail.maison.mrs POP3 server ready", GOODBYE}
    with Pop3(server.ports["tls"], tls=renewed).log_in(address("reloaded")) as client:
        assert client.do("STAT").startswith(b"+OK 20 ")
        client.do("QUIT")
    with Pop3(server.ports["plain"]) as client:
        client.do("STLS")
        client.start_tls(renewed)
        client.log_in(address("reloaded"))
        client.do("QUIT")
    assert registered(platform) == server.workers()


def _renew(platform: Platform) -> ssl.SSLContext:
    """Put another certificate, of another authority, into the files; what a client has to trust from now on."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(platform.certfile))
    certificate.private_key_pem.write_to_path(str(platform.keyfile))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return trusting


@contextmanager
def _coming_and_going(server: Server) -> Iterator[list[bytes]]:
    """A client that connects all the time, and what it hears first."""
    heard: list[bytes] = []
    done = threading.Event()

    def come() -> None:
        while not done.is_set():
            try:
                with Pop3(server.ports["plain"]) as client:
                    heard.append(client.greeting)
            except OSError as error:
                heard.append(repr(error).encode())

    coming = threading.Thread(target=come)
    coming.start()
    try:
        yield heard
    finally:
        done.set()
        coming.join()
