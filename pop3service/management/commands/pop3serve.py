"""`manage.py pop3serve`: serve mailboxes over POP3 until told to stop."""

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from pop3service.worker import Options, Pop3Application

DEFAULT_BIND = "0.0.0.0:110"
DEFAULT_TLS_BIND = "0.0.0.0:995"


class Command(BaseCommand):
    help = "Serve mailboxes over POP3. TERM ends it, HUP starts new workers with the certificate as it is then."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind",
            action="append",
            metavar="HOST:PORT",
            help=f"listen here in the clear, with STLS where there is a certificate (default {DEFAULT_BIND})",
        )
        parser.add_argument(
            "--tls-bind",
            action="append",
            metavar="HOST:PORT",
            help=f"listen here with TLS from the first octet (default {DEFAULT_TLS_BIND} where there is a certificate)",
        )
        parser.add_argument("--certfile", default="", help="certificate chain, PEM")
        parser.add_argument("--keyfile", default="", help="its private key, PEM; may be in the certificate's file")
        parser.add_argument(
            "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per processor)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        application = make_application(options)
        # The workers are forked from this process and must not share a connection it has opened.
        connections.close_all()
        application.run()


def make_application(options: dict[str, Any]) -> Pop3Application:
    """The server that the command line describes. Raises CommandError where it contradicts itself."""
    certfile = options["certfile"]
    if options["keyfile"] and not certfile:
        raise CommandError("--keyfile is the key of a certificate: give --certfile too")
    if options["tls_bind"] and not certfile:
        raise CommandError("--tls-bind needs a certificate: give --certfile and --keyfile")
    if options["workers"] < 1:
        raise CommandError("--workers is 1 or more")
    binds = options["bind"] or [DEFAULT_BIND]
    tls_binds = options["tls_bind"] or ([DEFAULT_TLS_BIND] if certfile else [])
    if both := _ports(binds) & _ports(tls_binds):
        raise CommandError(
            f"port {min(both)} cannot be with TLS and without: give --bind and --tls-bind different ports"
        )
    try:
        return Pop3Application(Options(binds, tls_binds, certfile, options["keyfile"], options["workers"]))
    except OSError as error:
        raise CommandError(f"the certificate {certfile} cannot be used: {error}") from error


def _ports(binds: list[str]) -> set[int]:
    ports = set()
    for bind in binds:
        host, _, port = bind.rpartition(":")
        if not host or not port.isdecimal():
            raise CommandError(f"{bind} is not HOST:PORT, such as 0.0.0.0:110 or [::]:110")
        ports.add(int(port))
    return ports
