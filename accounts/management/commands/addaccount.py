"""`addaccount LOCALNAME [--domain D]... [--password-stdin]`: a user, and a mailbox in each domain."""

import getpass
import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Domain
from accounts.services import create_account


class Command(BaseCommand):
    help = "Add an account: a user and its mailboxes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("localname", metavar="LOCALNAME")
        parser.add_argument(
            "--domain",
            action="append",
            default=[],
            help="a domain for a mailbox; may be repeated (the default)",
        )
        parser.add_argument("--password-stdin", action="store_true", help="read the password from one line of stdin")

    def handle(self, *args: Any, **options: Any) -> None:
        names = [name.lower() for name in options["domain"]]
        domains = list(Domain.objects.filter(name__in=names))
        if missing := set(names) - {domain.name for domain in domains}:
            raise CommandError(f"no such domain: {', '.join(sorted(missing))}; add it with adddomain")
        if not names and not Domain.objects.filter(is_default=True).exists():
            raise CommandError("there is no domain yet: add one with adddomain")
        try:
            user = create_account(username=options["localname"], password=self._password(options), domains=domains)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        addresses = user.mailboxes.values_list("address", flat=True)
        self.stdout.write(f"{user.username} added: {', '.join(addresses)}")

    def _password(self, options: dict[str, Any]) -> str:
        if options["password_stdin"]:
            password = sys.stdin.readline().rstrip("\r\n")
        else:
            password = getpass.getpass("Password: ")
            if getpass.getpass("Again: ") != password:
                raise CommandError("the two passwords differ")
        if not password:
            raise CommandError("the password is empty")
        return password
