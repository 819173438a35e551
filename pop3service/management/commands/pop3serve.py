"""`pop3serve`: serve mailboxes over POP3 until a signal ends it."""

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from mailplatform.management.base import MailCommand
from mailplatform.management.certificates import add_certificate_options, certificates_of
from mailplatform.processes import Bind, ServerApplication
from pop3service.worker import Pop3Worker

DEFAULT_BIND = "0.0.0.0:110"
DEFAULT_TLS_BIND = "0.0.0.0:995"


class Command(MailCommand):
    help = "Serve mailboxes over POP3. TERM ends it, HUP starts new workers with the certificate as it is then."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind",
            action="append",
            default=[],
            metavar="HOST:PORT",
            help=f"listen here in the clear, with STLS where there is a certificate (default {DEFAULT_BIND})",
        )
        parser.add_argument(
            "--tls-bind",
            action="append",
            default=[],
            metavar="HOST:PORT",
            help=f"listen here with TLS from the first octet (default {DEFAULT_TLS_BIND} where there is a certificate)",
        )
        add_certificate_options(parser, offers="STLS")
        parser.add_argument(
            "--workers", type=int, default=os.cpu_count() or 1, help="number of processes (one per processor)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["tls_bind"] and not options["certfile"]:
            raise CommandError("--tls-bind needs --certfile")
        if options["workers"] < 1:
            raise CommandError("--workers: at least one")
        binds = self._binds(options)
        ServerApplication(
            name="pop3serve",
            worker_class=Pop3Worker,
            binds=binds,
            workers=options["workers"],
            certificates=certificates_of(options, alpn=["pop3"]),
        ).run()

    def _binds(self, options: dict[str, Any]) -> list[Bind]:
        tls_by_default = [DEFAULT_TLS_BIND] if options["certfile"] else []
        try:
            plain = [Bind.parse("pop3", text) for text in options["bind"] or [DEFAULT_BIND]]
            tls = [Bind.parse("pop3s", text, tls=True) for text in options["tls_bind"] or tls_by_default]
        except ValueError as error:
            raise CommandError(str(error)) from error
        # Sockets from systemd are known by their port alone (mailplatform.processes.match_binds).
        if both := {bind.port for bind in plain} & {bind.port for bind in tls} - {0}:
            raise CommandError(f"port {min(both)} is in both --bind and --tls-bind: with TLS or without?")
        return [*plain, *tls]
