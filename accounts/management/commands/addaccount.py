"""`addaccount LOCALNAME [--domain D]... [--combined] [--password-stdin]`: a user, and a mailbox in each domain."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from accounts.addresses import normal_domain
from accounts.models import Domain
from accounts.passwords import OpaqueStringValidator
from accounts.services import create_account
from mailplatform.management.base import MailCommand
from mailplatform.management.passwords import add_password_option, read_password


class Command(MailCommand):
    help = "Add an account: a user and its mailboxes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("localname", metavar="LOCALNAME")
        parser.add_argument(
            "--domain",
            action="append",
            default=[],
            help="a domain for a mailbox; may be repeated (the default)",
        )
        parser.add_argument("--combined", action="store_true", help="the bare name opens all mailboxes as one maildrop")
        add_password_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        names = [normal_domain(name) for name in options["domain"]]
        domains = list(Domain.objects.filter(name__in=names))
        if missing := set(names) - {domain.name for domain in domains}:
            raise CommandError(f"no such domain: {', '.join(sorted(missing))}; add it with adddomain")
        if not names and not Domain.objects.filter(is_default=True).exists():
            raise CommandError("there is no domain yet: add one with adddomain")
        try:
            user = create_account(
                username=options["localname"],
                password=self._password(options),
                domains=domains,
                combined=options["combined"],
            )
        except ValidationError as error:
            raise CommandError(f"{options['localname'] or 'LOCALNAME'}: {' '.join(error.messages)}") from error
        addresses = user.mailboxes.values_list("address", flat=True)
        self.stdout.write(f"{user.username} added: {', '.join(addresses)}")

    def _password(self, options: dict[str, Any]) -> str:
        password = read_password(options, "Password: ", twice=True)
        try:
            OpaqueStringValidator().validate(password)
        except ValidationError as error:
            raise CommandError(error.messages[0]) from error
        return password
