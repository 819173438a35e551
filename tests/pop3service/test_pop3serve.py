"""`pop3serve`: what its command line makes, what it says of one that cannot work, and the processes it runs."""

import os
import signal
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from django.core.management import CommandError, call_command
from django.db import connection

from mailplatform.processes import Bind, ServerApplication
from mailstore.models import Maildrop
from mailstore.rows import live_messages
from pop3service.management.commands import pop3serve
from pop3service.models import Worker
from pop3service.worker import Pop3Worker
from tests.e2e.running import Platform
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.pop3service.memory import message
from tests.pop3service.serving import Client, Tls

POP3, POP3S = Bind("pop3", "0.0.0.0", 110), Bind("pop3s", "0.0.0.0", 995, tls=True)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerApplication]:
    """The applications that would run."""
    made: list[ServerApplication] = []
    monkeypatch.setattr(ServerApplication, "run", lambda application: made.append(application))
    return made


def serve(*options: str) -> None:
    call_command("pop3serve", *options, skip_checks=True)


def test_with_nothing_said_it_serves_port_110(started: list[ServerApplication]) -> None:
    serve()
    (application,) = started
    assert application.binds == (POP3,)
    assert (application.worker_class, application.tls) == (Pop3Worker, None)
    assert application.workers == os.cpu_count()
    assert isinstance(application.identity, uuid.UUID)


@pytest.mark.parametrize(
    ("options", "binds"),
    [
        ([], [POP3, POP3S]),
        (["--bind=127.0.0.1:1110"], [Bind("pop3", "127.0.0.1", 1110), POP3S]),
        (["--tls-bind=:1995"], [POP3, Bind("pop3s", "0.0.0.0", 1995, tls=True)]),
        (
            ["--bind=[::]:110", "--tls-bind=[::1]:995", "--bind=127.0.0.1:1110", "--tls-bind=127.0.0.1:1995"],
            [
                Bind("pop3", "::", 110),
                Bind("pop3", "127.0.0.1", 1110),
                Bind("pop3s", "::1", 995, tls=True),
                Bind("pop3s", "127.0.0.1", 1995, tls=True),
            ],
        ),
        (
            ["--bind=127.0.0.1:0", "--tls-bind=127.0.0.1:0"],
            [Bind("pop3", "127.0.0.1", 0), Bind("pop3s", "127.0.0.1", 0, tls=True)],
        ),
    ],
)
def test_with_a_certificate_there_is_tls(
    started: list[ServerApplication], tls: Tls, options: list[str], binds: list[Bind]
) -> None:
    serve("--certfile", str(tls.certfile), "--keyfile", str(tls.keyfile), "--workers=3", *options)
    assert started[0].binds == tuple(binds)
    assert started[0].workers == 3
    assert started[0].tls is not None
    assert started[0].certificates is not None
    assert started[0].certificates._alpn == ("pop3",)


def test_the_key_may_be_in_the_certificate_s_file(started: list[ServerApplication], tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    serve("--certfile", str(tmp_path / "both.pem"))
    assert started[0].tls is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bind=110"], "'110' is not HOST:PORT"),
        (["--bind=::1:110"], "an IPv6 address is written"),
        (["--bind=localhost:pop3"], "not HOST:PORT"),
        (["--tls-bind=:995"], "--tls-bind needs --certfile"),
        (["--keyfile=key.pem"], "--keyfile needs --certfile"),
        (["--certfile=missing.pem"], "the certificate cannot be read: missing.pem: "),
        (["--certfile=CERT"], "the certificate cannot be read"),  # its key is in another file
        (["--certfile=CERT", "--keyfile=CERT"], "the certificate cannot be read"),
        (["--certfile=CERT", "--certfile=CERT", "--keyfile=KEY"], "one --keyfile for each --certfile"),
        (["--certfile=CERT", "--keyfile=KEY", "--tls-bind=x"], "'x' is not HOST:PORT"),
        (["--certfile=CERT", "--keyfile=KEY", "--tls-bind=:110"], "port 110 is in both --bind and --tls-bind"),
        (["--certfile=CERT", "--keyfile=KEY", "--bind=:995"], "port 995 is in both --bind and --tls-bind"),
        (["--workers=0"], "--workers: at least one"),
        (["--workers=two"], "invalid int value"),
        (["--smtp-bind=:25"], "unrecognized arguments"),
    ],
)
def test_a_command_line_that_cannot_work_is_said(
    started: list[ServerApplication], tls: Tls, options: list[str], said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        serve(*(each.replace("CERT", str(tls.certfile)).replace("KEY", str(tls.keyfile)) for each in options))
    assert started == []


def test_the_help_names_the_default_ports() -> None:
    words = pop3serve.Command().create_parser("manage.py", "pop3serve").format_help()
    assert "0.0.0.0:110" in words
    assert "0.0.0.0:995" in words


def database_url() -> str:
    """The database of the tests, for another process."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    host = quote(found["HOST"], safe="") or "localhost"
    return f"postgres://{found['USER']}:{quote(found['PASSWORD'])}@{host}:{found['PORT']}/{found['NAME']}"


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_the_life_of_a_server(transactional_db: None, tmp_path: Path, tls: Tls) -> None:
    """Started, a session and its end; a worker that is killed, whose locks go with it; the words of the shutdown."""
    mailbox = make_mailbox("jules")
    fill(mailbox.id, message(100))
    platform = Platform(tmp_path, database_url(), tls.certfile, tls.keyfile, tls.certfile)
    server = platform.start_pop3()
    try:
        with Client(server.ports["tls"], tls=tls.client) as client:
            client.log_in("jules", "x")
            first = Worker.objects.get()
            assert children(server.process.pid) == {first.pid}
            os.kill(first.pid, signal.SIGKILL)
            assert client.closed()
        with Client(server.ports["plain"]) as client:
            client.log_in("jules", "x")
            assert client.say("DELE 1").startswith(b"+OK")
            second = Worker.objects.get()
            assert (second.arbiter, second.pid) != (first.arbiter, first.pid)
            assert second.arbiter == first.arbiter
            server.process.terminate()
            assert client.hear_all().startswith(b"-ERR [SYS/TEMP] the server is shutting down")
        assert server.process.wait(20) == 0
    finally:
        platform.stop()
    assert not Worker.objects.exists()
    assert not Maildrop.objects.filter(lock_worker__isnull=False).exists()
    assert live_messages(mailbox.id).count() == 1
    log = server.log.read_text()
    for role, port in (("pop3", server.ports["plain"]), ("pop3s", server.ports["tls"])):
        assert f"pop3serve: serving {role} on 127.0.0.1 port {port}" in log
    assert "Traceback" not in log
