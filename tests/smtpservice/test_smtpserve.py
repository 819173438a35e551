"""`smtpserve`: what its command line makes, and what it says of one that cannot work."""

from pathlib import Path

import pytest
import trustme
from django.core.management import CommandError, call_command

from mailplatform.processes import Bind, ServerApplication
from smtpservice.worker import IntakeWorker, SmtpWorker


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerApplication]:
    """The applications that would run."""
    made: list[ServerApplication] = []
    monkeypatch.setattr(ServerApplication, "run", lambda application: made.append(application))
    return made


def test_with_nothing_said_it_serves_the_ports_of_both_protocols(started: list[ServerApplication]) -> None:
    call_command("smtpserve", skip_checks=True)
    (application,) = started
    assert application.binds == (Bind("smtp", "0.0.0.0", 25), Bind("lmtp", "127.0.0.1", 24))
    assert (application.worker_class, application.workers, application.tls) == (SmtpWorker, 1, None)


@pytest.mark.parametrize(
    ("options", "binds"),
    [
        (["--smtp-bind=:2525"], [Bind("smtp", "0.0.0.0", 2525)]),
        (["--submission-bind=127.0.0.1:1587"], [Bind("submission", "127.0.0.1", 1587)]),
        (["--lmtp-bind=[::1]:2424"], [Bind("lmtp", "::1", 2424)]),
        (
            ["--lmtp-bind=127.0.0.1:24", "--smtp-bind=127.0.0.1:25", "--smtp-bind=[::1]:25"],
            [Bind("smtp", "127.0.0.1", 25), Bind("smtp", "::1", 25), Bind("lmtp", "127.0.0.1", 24)],
        ),
    ],
)
def test_it_serves_what_was_said_and_nothing_else(
    started: list[ServerApplication], options: list[str], binds: list[Bind]
) -> None:
    call_command("smtpserve", *options, "--workers=3", skip_checks=True)
    assert started[0].binds == tuple(binds)
    assert started[0].workers == 3


def test_a_certificate_makes_starttls_and_submission(started: list[ServerApplication], tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    call_command("smtpserve", "--certfile", str(tmp_path / "both.pem"), skip_checks=True)
    assert started[0].tls is not None
    assert started[0].binds == (
        Bind("smtp", "0.0.0.0", 25),
        Bind("lmtp", "127.0.0.1", 24),
        Bind("submission", "0.0.0.0", 587),
        Bind("submission", "0.0.0.0", 465, tls=True),
    )
    with pytest.raises(CommandError, match="port 587 is served with TLS and without"):
        call_command(
            *("smtpserve", "--certfile", str(tmp_path / "both.pem")),
            *("--submission-bind=:587", "--submission-tls-bind=:587"),
            skip_checks=True,
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--submission-tls-bind=:465"], "--submission-tls-bind needs --certfile"),
        (["--smtp-bind=25"], "'25' is not HOST:PORT"),
        (["--smtp-bind=::1:25"], "an IPv6 address is written"),
        (["--smtp-bind=localhost:smtp"], "not HOST:PORT"),
        (["--lmtp-bind=127.0.0.1:25"], "RFC 2033, 5"),
        (["--lmtp-bind=127.0.0.1:24", "--lmtp-bind=[::1]:25"], "RFC 2033, 5"),
        (["--workers=0"], "--workers: at least one"),
        (["--workers=two"], "invalid int value"),
        (["--keyfile=key.pem"], "--keyfile needs --certfile"),
        (["--certfile=missing.pem"], "the certificate cannot be read: missing.pem: "),
        (["--pop3-bind=:110"], "unrecognized arguments"),
    ],
)
def test_a_command_line_that_cannot_work_is_said(
    started: list[ServerApplication], options: list[str], said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("smtpserve", *options, skip_checks=True)
    assert started == []


def test_the_queue_can_be_left_to_other_workers(started: list[ServerApplication]) -> None:
    call_command("smtpserve", "--no-relay", skip_checks=True)
    assert started[0].worker_class is IntakeWorker
