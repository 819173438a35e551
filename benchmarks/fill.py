"""Put the benchmark's mail into the database that DATABASE_URL names; a process of its own, for its own settings."""

import os
from typing import TYPE_CHECKING

import django
from django.core.management import call_command
from django.db import transaction

from benchmarks.messages import DOMAIN, MAILBOXES, MESSAGES, PASSWORD, login, message

if TYPE_CHECKING:
    from mailstore.delivery import Import


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mailplatform.settings")
    django.setup()
    call_command("migrate", verbosity=0)
    fill()


@transaction.atomic
def fill() -> None:
    """The domain, the accounts, and their messages as an import stores them: no header added."""
    # models can be imported only after django.setup
    from accounts.models import Mailbox
    from accounts.services import create_account, create_domain
    from mailstore.delivery import append_many

    create_domain(name=DOMAIN, default=True)
    for number in range(1, MAILBOXES + 1):
        user = create_account(username=login(number).partition("@")[0], password=PASSWORD)
        append_many(mailbox_id=Mailbox.objects.get(user=user).pk, imports=imports(number))


def imports(mailbox: int) -> "list[Import]":
    from mailstore.delivery import Body, Import

    made = []
    for number in range(1, MESSAGES + 1):
        body = Body()
        body.write(message(mailbox, number))
        body.finish()
        made.append(Import(body))
    return made


if __name__ == "__main__":
    main()
