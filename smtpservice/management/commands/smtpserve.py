"""`smtpserve`: take mail in over SMTP and LMTP, and send what is queued, until a signal ends it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mailplatform.management.certificates import add_certificate_options, certificates_of
from mailplatform.processes import Bind, ServerApplication
from smtpservice.requests import Service
from smtpservice.worker import IntakeWorker, SmtpWorker

DEFAULT_BINDS = {Service.SMTP: "0.0.0.0:25", Service.LMTP: "127.0.0.1:24"}


class Command(BaseCommand):
    help = "Serve SMTP and LMTP: mail for the mailboxes of this platform; and send the mail in the queue."

    def add_arguments(self, parser: CommandParser) -> None:
        for service in Service:
            parser.add_argument(
                f"--{service.value}-bind",
                action="append",
                default=[],
                metavar="HOST:PORT",
                help=f"where to serve {service.name}; may be repeated; with none of them: {DEFAULT_BINDS[service]}",
            )
        parser.add_argument(
            "--no-relay", action="store_true", help="send nothing: the queue is left to the workers of other hosts"
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
        given = {service: options[f"{service.value}_bind"] for service in Service}
        if not any(given.values()):
            given = {service: [text] for service, text in DEFAULT_BINDS.items()}
        try:
            binds = [Bind.parse(service.value, text) for service, texts in given.items() for text in texts]
        except ValueError as error:
            raise CommandError(str(error)) from error
        # RFC 2033, 5: LMTP is never served on port 25, where a client expects SMTP.
        if any(bind.role == Service.LMTP.value and bind.port == 25 for bind in binds):
            raise CommandError("--lmtp-bind: LMTP is not served on port 25 (RFC 2033, 5)")
        return binds
