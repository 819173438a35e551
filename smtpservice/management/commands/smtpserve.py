"""`smtpserve`: take mail in over SMTP, LMTP and submission, and send what is queued, until a signal ends it."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mailplatform.management.base import MailCommand
from mailplatform.management.certificates import add_certificate_options, certificates_of
from mailplatform.processes import Bind, ServerApplication
from smtpservice.requests import Service
from smtpservice.worker import SOCKETMAP, IntakeWorker, SmtpWorker

#: Option, what is served there, whether it begins with the TLS handshake, and where it is by default.
BINDS = (
    ("smtp", Service.SMTP, False, "0.0.0.0:25"),
    ("lmtp", Service.LMTP, False, "127.0.0.1:24"),
    ("submission", Service.SUBMISSION, False, "0.0.0.0:587"),
    ("submission-tls", Service.SUBMISSION, True, "0.0.0.0:465"),
)
#: What is served where nothing is said; with a certificate, submission too.
PLAIN_DEFAULTS = ("smtp", "lmtp")


class Command(MailCommand):
    help = "Serve SMTP, LMTP and submission; send the mail in the queue, and collect from other accounts."

    def add_arguments(self, parser: CommandParser) -> None:
        for name, _service, tls, default in BINDS:
            needs = "" if name in PLAIN_DEFAULTS else ", with a certificate"
            parser.add_argument(
                f"--{name}-bind",
                action="append",
                default=[],
                metavar="HOST:PORT",
                help=f"where to serve {name}{' (TLS from the first octet)' if tls else ''}; may be repeated;"
                f" with no such option: {default}{needs}",
            )
        parser.add_argument(
            "--socketmap-bind",
            action="append",
            default=[],
            metavar="HOST:PORT",
            help="where to answer a Postfix that asks for domains, mailboxes and aliases (socketmap); loopback alone",
        )
        parser.add_argument(
            "--no-relay",
            action="store_true",
            help="send and collect nothing: that is left to the workers of other hosts",
        )
        add_certificate_options(parser, offers="STARTTLS")
        parser.add_argument("--workers", type=int, default=1, help="number of processes (%(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["workers"] < 1:
            raise CommandError("--workers: at least one")
        binds = self._binds(options)
        ServerApplication(
            name="smtpserve",
            worker_class=IntakeWorker if options["no_relay"] else SmtpWorker,
            binds=binds,
            workers=options["workers"],
            certificates=certificates_of(options),  # no ALPN: RFC 7301's registry has no name for SMTP
        ).run()

    def _binds(self, options: dict[str, Any]) -> list[Bind]:
        given = {name: options[f"{name.replace('-', '_')}_bind"] for name, *_ in BINDS}
        if not any(given.values()):
            wanted = [row for row in BINDS if row[0] in PLAIN_DEFAULTS or options["certfile"]]
            given = {name: [default] for name, _service, _tls, default in wanted}
        if given.get("submission-tls") and not options["certfile"]:
            raise CommandError("--submission-tls-bind needs --certfile")
        try:
            binds = [
                Bind.parse(service.value, text, tls=tls)
                for name, service, tls, _default in BINDS
                for text in given.get(name, [])
            ]
            binds += [Bind.parse(SOCKETMAP, text) for text in options["socketmap_bind"]]
        except ValueError as error:
            raise CommandError(str(error)) from error
        # Sockets from systemd are known by their port alone (mailplatform.processes.match_binds).
        if both := {bind.port for bind in binds if bind.tls} & {bind.port for bind in binds if not bind.tls} - {0}:
            raise CommandError(f"port {min(both)} is served with TLS and without?")
        # RFC 2033, 5: LMTP is never served on port 25, where a client expects SMTP.
        if any(bind.role == Service.LMTP.value and bind.port == 25 for bind in binds):
            raise CommandError("--lmtp-bind: LMTP is not served on port 25 (RFC 2033, 5)")
        return binds
