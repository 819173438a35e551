"""`adddomain NAME [--default]`: a mail domain that is delivered here."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from accounts.services import create_domain
from mailplatform.management.base import MailCommand


class Command(MailCommand):
    help = "Add a mail domain."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--default", action="store_true", help="new users get their first mailbox here")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            domain = create_domain(name=options["name"], default=options["default"])
        except ValidationError as error:
            raise CommandError(f"{options['name'] or 'NAME'}: {' '.join(error.messages)}") from error
        self.stdout.write(f"{domain.name} added" + (", the default" if domain.is_default else ""))
