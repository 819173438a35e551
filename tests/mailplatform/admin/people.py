"""Who sits before the admin, and what is stored behind it."""

import re
from html import unescape

from django.contrib.auth.models import Permission
from django.db.models import Q
from django.test import Client

from accounts.models import Domain, Mailbox, User
from accounts.services import create_domain
from mailstore.models import Maildrop
from tests.mailstore.mailboxes import fill


def browser_of(user: User) -> Client:
    """A browser in which the user has logged in. It sends no CSRF token unless the test does; see `strict`."""
    client = Client()
    client.force_login(user)
    return client


def superuser(name: str = "root") -> User:
    return User.objects.create_superuser(name)


def staff(*permissions: str, name: str = "helpdesk") -> User:
    """A member of staff with just these permissions, such as "accounts.view_mailbox"."""
    user = User.objects.create_user(name, is_staff=True)
    wanted = Q()
    for permission in permissions:
        app, codename = permission.split(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    if permissions:
        found = list(Permission.objects.filter(wanted))
        assert len(found) == len(permissions), f"no such permission among {permissions}"
        user.user_permissions.set(found)
    return user


def make_domain(name: str = "maison.mrs") -> Domain:
    return Domain.objects.filter(name=name).first() or create_domain(name=name)


def make_mailbox(name: str, *messages: bytes, **columns: object) -> Mailbox:
    """The mailbox `name@maison.mrs` of the user `name`, with these messages in it. Nobody can log in."""
    make_domain()
    user = User.objects.create_user(name)
    mailbox = user.mailboxes.get()
    fill(mailbox.pk, *messages)
    Mailbox.objects.filter(pk=mailbox.pk).update(**columns)
    return Mailbox.objects.get(pk=mailbox.pk)


def make_many(number: int, *, domain: Domain | None = None, start: int = 0) -> None:
    """So many users with a mailbox each, which holds a few messages; as rows, without the messages themselves."""
    domain = domain or make_domain()
    names = [f"many{serial:05}" for serial in range(start, start + number)]
    users = User.objects.bulk_create([User(username=name, password="!") for name in names], batch_size=1000)
    mailboxes = Mailbox.objects.bulk_create(
        [
            Mailbox(
                user=user,
                domain=domain,
                local_part=user.username,
                address=f"{user.username}@{domain.name}",
                quota_octets=10_000_000,
            )
            for user in users
        ],
        batch_size=1000,
    )
    Maildrop.objects.bulk_create(
        [
            Maildrop(mailbox=mailbox, uidvalidity=1, message_count=serial % 50, octets=serial * 700)
            for serial, mailbox in enumerate(mailboxes)
        ],
        batch_size=1000,
    )


def text_of(html: bytes) -> str:
    """What a page shows: its text, without scripts, styles and markup, blanks made one."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", html.decode(), flags=re.DOTALL | re.IGNORECASE)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
