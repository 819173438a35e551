"""Who sits before the admin, and what is stored behind it."""

import re
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser

from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Model, Q
from django.test import Client
from django.utils import timezone

from accounts.models import Domain, LoginRecord, Mailbox, User
from accounts.services import create_domain
from pop3service.models import SessionRecord
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


def make_login(mailbox: Mailbox | None, result: str = "admitted", **columns: object) -> LoginRecord:
    """The record of a login just now."""
    at = columns.pop("at", timezone.now())
    usual = {"login": mailbox.address if mailbox else "nobody", "protocol": "pop3", "address": "192.0.2.7"}
    rest = {"last_at": at, "mechanism": "USER", "tls": "TLSv1.3", "milliseconds": 12, "result": result}
    return LoginRecord.objects.create(**usual | rest | {"mailbox": mailbox, "at": at} | columns)


def make_session(mailbox: Mailbox, serial: int = 1, **columns: object) -> SessionRecord:
    """The record of a session that ended just now, ten seconds after it began."""
    ended = columns.pop("ended_at", timezone.now())
    began = columns.pop("began_at", (ended or timezone.now()) - timedelta(seconds=10))
    usual = {"login": mailbox.address, "address": "192.0.2.7", "tls": "TLSv1.3", "ending": "quit" if ended else ""}
    return SessionRecord.objects.create(
        **usual | {"mailbox_id": mailbox.pk, "serial": serial, "began_at": began, "ended_at": ended} | columns
    )


def make_many(number: int, *, start: int = 0) -> None:
    """So many users many10000, many10001, ... with a mailbox each, which holds messages by its counters alone.

    The first is made as others are, the rest are copies of its rows: fifteen thousand take a second.
    """
    first, last = 10_000 + start, 10_000 + start + number - 1
    mailbox = Mailbox.objects.filter(local_part="many10000").first()
    if mailbox is None:
        mailbox = make_mailbox("many10000", b"x", quota_octets=10_000_000)
        first += 1
    _copy(mailbox.user, _NUMBERS.format(first=first, last=last), "true", username="'many' || source.number")
    new = f"'many{first}' AND 'many{last}'"
    columns = {"user_id": "source.id", "local_part": "source.username"}
    address = f"source.username || '@{mailbox.domain.name}'"
    _copy(mailbox, "accounts_user", f"source.username BETWEEN {new}", **columns, address=address)
    counters = {"message_count": "source.id % 50", "octets": "source.id * 700"}
    _copy(mailbox.maildrop, "accounts_mailbox", f"source.local_part BETWEEN {new}", mailbox_id="source.id", **counters)


def make_copies(row: Model, number: int, **changed: str) -> None:
    """So many copies of a row, with columns that differ: SQL, in which `source.number` goes up from 1."""
    _copy(row, _NUMBERS.format(first=1, last=number), "true", **changed)


_NUMBERS = (
    "(WITH RECURSIVE n (number) AS (SELECT {first} UNION ALL SELECT number + 1 FROM n WHERE number < {last})"
    " SELECT number FROM n WHERE number <= {last})"
)
_COPY = "INSERT INTO {table} ({names}) SELECT {values} FROM {table} AS old, {source} AS source WHERE old.{key} = {row} AND {which}"


def _copy(row: Model, source: str, which: str, **changed: str) -> None:
    """Insert a copy of `row` for each row of `source` that is meant, with the columns that differ."""
    names = [field.column for field in row._meta.concrete_fields if not field.primary_key or field.column in changed]
    values = [changed.get(name, f"old.{name}") for name in names]
    parts = {"names": ", ".join(names), "values": ", ".join(values), "source": source, "which": which}
    with connection.cursor() as cursor:
        cursor.execute(_COPY.format(table=row._meta.db_table, key=row._meta.pk.column, row=row.pk, **parts))


def text_of(html: bytes) -> str:
    """What a page shows: its text, without scripts, styles and markup, blanks made one."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", html.decode(), flags=re.DOTALL | re.IGNORECASE)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


class _Form(HTMLParser):
    """What a browser would send of one form if nothing were changed in it."""

    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.form_id = form_id
        self.inside = False
        self.select = self.textarea = ""
        self.values: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.inside = given.get("id") == self.form_id
        name = given.get("name", "")
        if not self.inside or "__prefix__" in name or "disabled" in given:
            return
        if tag == "input" and name and given.get("type") not in ("submit", "file"):
            is_box = given.get("type") in ("checkbox", "radio")
            if not is_box or "checked" in given:
                self.values[name] = given.get("value", "on" if is_box else "")
        elif tag == "select":
            self.select = name
        elif tag == "textarea":
            self.textarea = name
        elif tag == "option" and "selected" in given and self.select:
            self.values[self.select] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False
        elif tag == "textarea":
            self.textarea = ""

    def handle_data(self, data: str) -> None:
        if self.textarea:
            self.values[self.textarea] = data


def filled_in(browser: Client, url: str, form_id: str) -> dict[str, str]:
    """What a browser sends when this page is saved as it is."""
    form = _Form(form_id)
    form.feed(browser.get(url).content.decode())
    assert form.values, f"no form {form_id} on {url}"
    return form.values
