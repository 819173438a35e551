"""Put a scenario's mail into the database that DATABASE_URL names; a process of its own, for its own settings.

python -m benchmarks.fill                         the mailboxes of benchmarks.messages
python -m benchmarks.fill more idle 10000         and empty ones, of one user: idle0, idle1, ...
python -m benchmarks.fill copies box 1000000      a mailbox with so many copies of a small message
python -m benchmarks.fill large big 104857600 9   ten mailboxes with a message of about so many octets
python -m benchmarks.fill deliver box 100         so many further small messages into a mailbox
"""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import django
from django.core.management import call_command
from django.db import connection, transaction

from benchmarks.messages import DOMAIN, MAILBOXES, MESSAGES, PASSWORD, login, message

if TYPE_CHECKING:
    from mailstore.delivery import Body, Import

#: Doubles what is there, or adds less: messages with the uids that follow.
_COPY = (
    "INSERT INTO {table} ({columns}) SELECT {new} FROM {table} "
    "WHERE mailbox_id = %(mailbox)s AND uid >= %(first)s AND uid < %(end)s"
)


@transaction.atomic
def standard() -> None:
    """The domain, the accounts, and their messages as an import stores them: no header added."""
    from accounts.models import Mailbox
    from accounts.services import create_account
    from mailstore.delivery import append_many

    for number in range(1, MAILBOXES + 1):
        user = create_account(username=login(number).partition("@")[0], password=PASSWORD)
        append_many(mailbox_id=Mailbox.objects.get(user=user).pk, imports=imports(number))


def imports(mailbox: int) -> "list[Import]":
    from mailstore.delivery import Import

    return [Import(body_of(message(mailbox, number))) for number in range(1, MESSAGES + 1)]


def body_of(*chunks: bytes) -> "Body":
    from mailstore.delivery import Body

    body = Body()
    for chunk in chunks:
        body.write(chunk)
    body.finish()
    return body


@transaction.atomic
def more(name: str, count: str) -> None:
    """Empty mailboxes of one user: one password, one hash."""
    from accounts.models import User
    from accounts.services import create_account, create_mailbox

    user = User.objects.filter(username=name).first() or create_account(username=name, password=PASSWORD)
    domain = user.mailboxes.get(local_part=name).domain
    for number in range(int(count)):
        create_mailbox(user=user, domain=domain, local_part=f"{name}{number}")


@transaction.atomic
def copies(name: str, count: str) -> None:
    """The database copies the message itself, some 100,000 a second; the counters then say what there is."""
    from accounts.services import create_account
    from mailstore.delivery import append
    from mailstore.models import Content, Maildrop, Message

    user = create_account(username=name, password=PASSWORD)
    mailbox_id = user.mailboxes.get().pk
    first = append(mailbox_id=mailbox_id, body=body_of(b"Subject: small\r\n\r\nOne of many.\r\n"))
    have, wanted = 1, int(count)
    while have < wanted:
        adding = min(have, wanted - have)
        for model in (Message, Content):
            columns = [str(field.column) for field in model._meta.concrete_fields]
            new = [f"uid + {have}" if column == "uid" else column for column in columns]
            copy = _COPY.format(table=model._meta.db_table, columns=", ".join(columns), new=", ".join(new))
            with connection.cursor() as cursor:
                cursor.execute(copy, {"mailbox": mailbox_id, "first": first, "end": first + adding})
        have += adding
    maildrop = Maildrop.objects.get(mailbox_id=mailbox_id)
    maildrop.next_uid, maildrop.message_count, maildrop.octets = first + have, have, maildrop.octets * have
    maildrop.save()


def large(name: str, octets: str, others: str) -> None:
    """One message in the mailbox of that name, and the same in so many others of the same user: name0, name1, ..."""
    from accounts.models import Domain
    from accounts.services import create_account, create_mailbox
    from mailstore.delivery import append

    user = create_account(username=name, password=PASSWORD)
    lines = (b"x" * 76 + b"\r\n") * 1000
    domain = Domain.objects.get()
    mailboxes = [
        create_mailbox(user=user, domain=domain, local_part=f"{name}{number}") for number in range(int(others))
    ]
    with body_of(b"From: sender@example.org\r\nSubject: large\r\n\r\n", *[lines] * (int(octets) // len(lines))) as body:
        for mailbox in (user.mailboxes.get(local_part=name), *mailboxes):
            append(mailbox_id=mailbox.pk, body=body)


def deliver() -> None:
    """As each line of the input asks, NAME COUNT, and answered with an empty line when they are there."""
    from accounts.models import Mailbox
    from mailstore.delivery import Import, append_many

    for line in sys.stdin:
        name, count = line.split()
        mailbox_id = Mailbox.objects.get(local_part=name).pk
        new = [Import(body_of(b"Subject: new %d\r\n\r\nNew.\r\n" % number)) for number in range(int(count))]
        append_many(mailbox_id=mailbox_id, imports=new)
        print(flush=True)


def main(arguments: list[str]) -> None:
    """Without arguments the standard mail; otherwise what is named, with its arguments."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mailplatform.settings")
    django.setup()
    # models can be imported only after django.setup
    from accounts.models import Domain
    from accounts.services import create_domain

    if arguments[:1] != ["deliver"]:
        call_command("migrate", verbosity=0)
    if not Domain.objects.exists():
        create_domain(name=DOMAIN, default=True)
    fillings: dict[str, Callable[..., None]] = {
        "standard": standard,
        "more": more,
        "copies": copies,
        "large": large,
        "deliver": deliver,
    }
    name, *others = arguments or ["standard"]
    fillings[name](*others)
    if name != "deliver" and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")  # what its own service would have done by then


if __name__ == "__main__":
    main(sys.argv[1:])
