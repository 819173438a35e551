"""The arbiter and its workers: which socket is what, a killed worker, HUP, TERM, TLS by address."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from mailplatform.processes import Bind, match_binds

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:25", "127.0.0.1", 25),
        ("[::1]:24", "::1", 24),
        (":110", "0.0.0.0", 110),
        ("localhost:0", "localhost", 0),
    ],
)
def test_a_bind_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert Bind.parse("smtp", text) == Bind("smtp", host, port)


@pytest.mark.parametrize("text", ["25", "localhost", "localhost:", "localhost:x", "localhost:70000", "::1:25", "a:²"])
def test_what_is_no_bind_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="PORT"):
        Bind.parse("smtp", text)


def test_sockets_are_told_apart_by_their_port_then_by_their_place() -> None:
    smtp, lmtp = Bind("smtp", "0.0.0.0", 25), Bind("lmtp", "127.0.0.1", 24)
    assert match_binds([smtp, lmtp], [24, 25]) == [lmtp, smtp]
    anywhere = Bind("smtp", "127.0.0.1", 0), Bind("lmtp", "127.0.0.1", 0)
    assert match_binds(anywhere, [5001, 5000]) == list(anywhere)
    with pytest.raises(ValueError, match="1 sockets for 2 addresses"):
        match_binds([smtp, lmtp], [25])


WORKER_THAT_BEGINS = """
import queue, signal
from types import SimpleNamespace
from mailplatform.processes import ServerApplication, ServerWorker
arbiter = SimpleNamespace(SIG_QUEUE=queue.SimpleQueue())
signal.signal(signal.SIGTERM, lambda number, _: arbiter.SIG_QUEUE.put_nowait(number))
signal.raise_signal(signal.{})
ServerApplication._in_a_worker(None, arbiter, ServerWorker.__new__(ServerWorker))
"""


@pytest.mark.parametrize(("sent", "code"), [("SIGTERM", -signal.SIGTERM), ("SIGCHLD", 0)])
def test_a_worker_that_is_asked_to_end_before_it_can_hear_ends(sent: str, code: int) -> None:
    """As the arbiter's child it has the arbiter's handler, and a queue of signals that nobody works on."""
    command = [sys.executable, "-c", WORKER_THAT_BEGINS.format(sent)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == code


class Echo:
    """The running server of echo_server.py."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.write_certificate()
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.plain, self.tls = one.getsockname()[1], other.getsockname()[1]
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.mailplatform.echo_server",
                    str(directory),
                    str(self.plain),
                    str(self.tls),
                ],
                cwd=ROOT,
                stderr=log,
            )
        wait_for(lambda: self.ask() > 0)

    def write_certificate(self) -> None:
        certificate = self.authority.issue_cert("localhost")
        self.serial = certificate.cert_chain_pems[0].bytes()
        (self.directory / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        (self.directory / "cert.pem").write_bytes(self.serial)

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def shown(self) -> str:
        """The certificate that a client is shown now, in PEM."""
        with (
            socket.create_connection(("127.0.0.1", self.tls), timeout=30) as raw,
            self.trusting().wrap_socket(raw, server_hostname="localhost") as connection,
        ):
            return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"").strip()

    def ask(self) -> int:
        """The process id of a worker that answers on the plain port; 0 where none does."""
        try:
            with socket.create_connection(("127.0.0.1", self.plain), timeout=30) as connection:
                return ask(connection)
        except OSError:
            return 0

    def workers(self) -> set[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in listed.split()}


def ask(connection: socket.socket) -> int:
    role, pid, *_ = ask_all(connection)
    return int(pid) if role in {"plain", "tls"} else 0


def ask_all(connection: socket.socket) -> list[str]:
    """Role, process id, keepalive, its seconds, the arbiter's identity, objects that are kept from the collector."""
    connection.sendall(b"?\n")
    return connection.recv(100).decode().split()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    server = Echo(tmp_path_factory.mktemp("echo"))
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


def test_a_killed_worker_is_replaced(echo: Echo) -> None:
    wait_for(lambda: len(echo.workers()) == 2)
    victim = min(echo.workers())
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(echo.workers()) == 2 and victim not in echo.workers())
    assert echo.ask() in echo.workers()


def test_hup_brings_new_workers_and_the_new_certificate_and_lets_sessions_end(echo: Echo) -> None:
    with socket.create_connection(("127.0.0.1", echo.plain), timeout=30) as connection:
        old, worker = echo.workers(), ask(connection)
        echo.write_certificate()
        echo.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(echo.workers() - old) == 2)
        assert ask(connection) == worker
    wait_for(lambda: not echo.workers() & old)
    assert (echo.directory / f"ended-{worker}").exists()
    assert echo.shown() == echo.serial.decode().strip()


def test_a_new_certificate_is_shown_by_all_workers_and_no_connection_ends_for_it(echo: Echo) -> None:
    with (
        socket.create_connection(("127.0.0.1", echo.plain), timeout=30) as plain,
        socket.create_connection(("127.0.0.1", echo.tls), timeout=30) as raw,
        echo.trusting().wrap_socket(raw, server_hostname="localhost") as encrypted,
    ):
        answered, workers = [ask(plain), ask(encrypted)], echo.workers()
        echo.write_certificate()
        wait_for(lambda: (echo.directory / "log").read_text().count("certificates were renewed: localhost") == 2)
        assert {echo.shown() for _ in range(8)} == {echo.serial.decode().strip()}
        assert [ask(plain), ask(encrypted)] == answered
        assert echo.workers() == workers


def test_rfc_8446_2_2_a_session_goes_on_with_another_worker_and_after_a_renewal(echo: Echo) -> None:
    context, answered = echo.trusting(), set()
    session: ssl.SSLSession | None = None
    deadline = time.monotonic() + 20
    while len(answered) < 2:
        assert time.monotonic() < deadline
        with (
            socket.create_connection(("127.0.0.1", echo.tls), timeout=30) as raw,
            context.wrap_socket(raw, server_hostname="localhost", session=session) as connection,
        ):
            answered.add(ask(connection))
            assert connection.session_reused is (session is not None)
            session = connection.session


def test_vanished_peers_are_noticed(echo: Echo) -> None:
    with socket.create_connection(("127.0.0.1", echo.plain), timeout=30) as connection:
        assert ask_all(connection)[2:4] == ["True", "60"]


def test_what_a_worker_shares_with_the_arbiter_is_not_copied_by_its_garbage_collector(echo: Echo) -> None:
    with socket.create_connection(("127.0.0.1", echo.plain), timeout=30) as connection:
        assert int(ask_all(connection)[5]) > 10_000  # Django alone is more


def test_the_protocol_is_agreed_upon_in_the_handshake(echo: Echo) -> None:
    context = echo.trusting()
    context.set_alpn_protocols(["other", "echo"])
    with (
        socket.create_connection(("127.0.0.1", echo.tls), timeout=30) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        assert connection.selected_alpn_protocol() == "echo"


def test_a_worker_that_cannot_begin_is_not_replaced_in_a_rush(echo: Echo) -> None:
    with socket.create_connection(("127.0.0.1", echo.plain), timeout=30) as connection:
        identity = ask_all(connection)[4]
    (echo.directory / "broken").touch()
    echo.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(list(echo.directory.glob("tried-*"))) >= 4)
    (echo.directory / "broken").unlink()
    wait_for(lambda: echo.ask() > 0)
    tried = sorted(echo.directory.glob("tried-*"), key=lambda path: path.stat().st_mtime)
    assert tried[3].stat().st_mtime - tried[0].stat().st_mtime > 0.8
    assert not any((echo.directory / path.name.replace("tried", "ended")).exists() for path in tried)
    with socket.create_connection(("127.0.0.1", echo.plain), timeout=30) as connection:
        assert ask_all(connection)[4] == identity


def test_hup_with_a_certificate_that_cannot_be_read_keeps_the_last_one(echo: Echo) -> None:
    old = echo.workers()
    (echo.directory / "cert.pem").write_text("broken")
    echo.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(echo.workers()) == 2 and not echo.workers() & old)
    assert echo.ask() in echo.workers()
    assert "stays in use" in (echo.directory / "log").read_text()


def test_term_ends_all_of_it(echo: Echo) -> None:
    workers = echo.workers()
    echo.process.terminate()
    assert echo.process.wait(20) == 0
    assert all((echo.directory / f"ended-{worker}").exists() for worker in workers)
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", echo.plain), timeout=30):
        raise AssertionError("it still listens")
