"""Mailboxes and messages in great number for the end-to-end tests.

`message` is for both sides. The others work on the database of their process, which is not that of the tests: a test
has them called in its platform's by `fill`.
"""

import base64
import random
from collections.abc import Sequence
from itertools import islice, product
from typing import TYPE_CHECKING

from tests.e2e.running import PASSWORD, Platform

if TYPE_CHECKING:
    from accounts.models import Mailbox

DOMAIN = "maison.mrs"
#: Messages whose rows are in memory at one time.
_AT_ONCE = 2000
_COPY = (
    "WITH RECURSIVE turns(turn) AS (SELECT 1 UNION ALL SELECT turn + 1 FROM turns WHERE turn + 1 < %s) "
    "INSERT INTO {table} ({columns}) SELECT {new} FROM {table}, turns WHERE mailbox_id = %s"
)
_SHOW = (
    "CREATE VIEW mailstore_content AS SELECT d.mailbox_id, c.uid, c.piece, c.octets "
    "FROM mailstore_maildrop d CROSS JOIN stored_once c WHERE c.mailbox_id = {mailbox_id}"
)


def fill(platform: Platform, *calls: str) -> None:
    """Call functions of this module in the platform's database."""
    code = [f"filling.{call}" for call in calls]
    platform.manage("shell", "-c", "\n".join(["from tests.e2e import filling", *code]))


def address(name: str) -> str:
    return f"{name}@{DOMAIN}"


def message(name: str, number: int, octets: int = 200) -> bytes:
    """Message `number`, from 1, of a mailbox: like no other, of at least so many octets, with dots to stuff."""
    noise = random.Random(f"{name} {number}").randbytes(octets * 3 // 4)
    lines = base64.b64encode(noise).replace(b"A", b"\r\n.").replace(b"B", b"\r\n")
    return f"Subject: {name} {number}\r\n\r\n.".encode() + lines + b"\r\n"


def mailboxes(*names: str, messages: int = 0, octets: int = 200) -> None:
    """Make mailboxes `name@DOMAIN`, each with the messages 1 to `messages` of that name.

    They have one stored password, which costs next to nothing to check: a good one takes 20 ms of a processor each
    time, and it is not the hash that these tests are about.
    """
    from django.contrib.auth.hashers import PBKDF2PasswordHasher
    from django.db import transaction

    from accounts.models import Domain, Mailbox, User
    from accounts.services import create_domain

    encoded = PBKDF2PasswordHasher().encode(PASSWORD, salt="salt", iterations=1)
    with transaction.atomic():
        domain = Domain.objects.first() or create_domain(name=DOMAIN)
        users = User.objects.bulk_create(User(username=name, password=encoded) for name in names)
        made = Mailbox.objects.bulk_create(
            Mailbox(user=user, domain=domain, local_part=user.username, address=address(user.username))
            for user in users
        )
        _store(made, messages, octets)


def combine(name: str, *others: str) -> None:
    """Give a user the mailboxes of others too, and have the bare name open all."""
    from accounts.models import Mailbox, User

    user = User.objects.get(username=name)
    Mailbox.objects.filter(user__username__in=others).update(user=user)
    User.objects.filter(pk=user.pk).update(combined=True)


def repeat(name: str, times: int) -> None:
    """Store all messages of a mailbox again and again, until they are there so many times: message by message in turn.

    The database copies its rows itself, some 100,000 a second.
    """
    from django.db import connection, transaction

    from accounts.models import Mailbox
    from mailstore.models import Content, Maildrop, Message

    maildrop = Maildrop.objects.get(mailbox=Mailbox.objects.get(local_part=name))
    have = maildrop.message_count
    with transaction.atomic(), connection.cursor() as cursor:
        for model in (Message, Content):
            columns = [field.column for field in model._meta.concrete_fields]
            new = ["uid + turn * %s" if column == "uid" else column for column in columns]
            copy = _COPY.format(table=model._meta.db_table, columns=", ".join(columns), new=", ".join(new))
            cursor.execute(copy, [times, have, maildrop.pk])
        maildrop.next_uid += have * (times - 1)
        maildrop.message_count *= times
        maildrop.octets *= times
        maildrop.save()


def share(name: str) -> None:
    """Give every other mailbox, which has none, the messages of this one.

    Their contents are stored once, and the table of contents becomes a view that shows them in each mailbox: what the
    server reads and how is the same, without a disk full of copies. Nothing can be delivered or purged any more.
    """
    from django.db import connection, transaction

    from accounts.models import Mailbox
    from mailstore.models import Maildrop, Message

    whole = Maildrop.objects.get(mailbox=Mailbox.objects.get(local_part=name))
    empty = Maildrop.objects.filter(message_count=0)
    copies = [
        Message(**{field.attname: getattr(message, field.attname) for field in Message._meta.concrete_fields})
        for message in Message.objects.filter(mailbox_id=whole.pk)
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        for maildrop in empty:
            for copy in copies:
                copy.mailbox_id = maildrop.pk
            Message.objects.bulk_create(copies)
        empty.update(next_uid=whole.next_uid, message_count=whole.message_count, octets=whole.octets, version=1)
        cursor.execute("ALTER TABLE mailstore_content RENAME TO stored_once")
        cursor.execute(_SHOW.format(mailbox_id=whole.pk))


def _store(mailboxes: "Sequence[Mailbox]", messages: int, octets: int) -> None:
    """Fill new mailboxes row by row: quicker than deliveries by a factor of ten."""
    from django.utils import timezone

    from mailstore.models import PIECE_OCTETS, Content, Maildrop, Message
    from mailstore.rows import first_uidvalidity
    from mailstore.wire import encode

    now = timezone.now()
    maildrops = {
        mailbox: Maildrop(
            mailbox=mailbox,
            uidvalidity=first_uidvalidity(mailbox.pk, 1_700_000_000),
            next_uid=messages + 1,
            message_count=messages,
        )
        for mailbox in mailboxes
    }
    wanted = product(mailboxes, range(1, messages + 1))
    while batch := [
        (mailbox, uid, encode(message(mailbox.local_part, uid, octets))) for mailbox, uid in islice(wanted, _AT_ONCE)
    ]:
        Message.objects.bulk_create(
            Message(
                mailbox=mailbox,
                uid=uid,
                octets=one.octets,
                wire_octets=len(one.wire),
                header_octets=one.header_octets,
                received_at=now,
                subject=f"{mailbox.local_part} {uid}",
                sender="alfred@alfred.maison.mrs",
                message_id=f"<{uid}.{mailbox.local_part}@alfred.maison.mrs>",
            )
            for mailbox, uid, one in batch
        )
        Content.objects.bulk_create(
            Content(mailbox=mailbox, uid=uid, piece=piece, octets=one.wire[at : at + PIECE_OCTETS])
            for mailbox, uid, one in batch
            for piece, at in enumerate(range(0, len(one.wire), PIECE_OCTETS))
        )
        for mailbox, _, one in batch:
            maildrops[mailbox].octets += one.octets
    Maildrop.objects.bulk_create(maildrops.values())
