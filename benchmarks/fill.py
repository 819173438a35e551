"""Put the benchmark's mail into the database that DATABASE_URL names; a process of its own, for its own settings."""

import os

import django
from django.core.management import call_command
from django.db import transaction

from benchmarks.messages import DOMAIN, MAILBOXES, MESSAGES, PASSWORD, login, message


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mailplatform.settings")
    django.setup()
    call_command("migrate", verbosity=0)
    fill()


@transaction.atomic
def fill() -> None:
    """The domain, the accounts, and their messages as an import stores them: no header added."""
    # models can be imported only after django.setup
    from mailstore.delivery import Body, append

    from accounts.models import Mailbox
    from accounts.services import create_account, create_domain

    create_domain(name=DOMAIN, default=True)
    for number in range(1, MAILBOXES + 1):
        user = create_account(username=login(number).partition("@")[0], password=PASSWORD)
        mailbox = Mailbox.objects.get(user=user)
        for each in range(1, MESSAGES + 1):
            with Body() as body:
                body.write(message(number, each))
                body.finish()
                append(mailbox_id=mailbox.pk, body=body, received_at=None)


if __name__ == "__main__":
    main()
