"""One mailbox is one shard: mailbox_id is in every key and every statement of the mail store."""

import ast
import importlib
import io
import pkgutil
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from inspect import isfunction
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

import mailstore
from accounts.lookup import FoundMailbox
from mailstore import contents, maildrop
from mailstore.browse import find_message, find_uids, overview, page_of_messages, read_message
from mailstore.delivery import Envelope, deliver
from mailstore.locks import find_holders
from mailstore.maildrop import CloseRequest, MaildropInUseError, Opened, OpenRequest, PieceRequest
from mailstore.models import PIECE_OCTETS, Maildrop
from mailstore.quota import RoomRequest, have_room
from mailstore.removal import remove_mailboxes
from mailstore.rows import recount
from mailstore.shelf import expire, purge, restore
from mailstore.surrogates import correct_surrogate, read_surrogates
from mailstore.together import Part, close_together, open_together, read_order
from tests.mailstore.mailboxes import body_of, fill, make_mailbox
from tests.mailstore.pop3_server import ScriptedPop3

pytestmark = pytest.mark.django_db

MODELS = list(apps.get_app_config("mailstore").get_models())
TABLES = [model._meta.db_table for model in MODELS]


def constraints() -> Iterator[tuple[str, str, list[str]]]:
    with connection.cursor() as cursor:
        for table in TABLES:
            for name, found in connection.introspection.get_constraints(cursor, table).items():
                if not found["check"]:
                    yield table, name, found["columns"]


def test_every_key_and_index_begins_with_the_mailbox() -> None:
    assert {model._meta.pk_fields[0].attname for model in MODELS} == {"mailbox_id"}
    found = list(constraints())
    assert {table for table, _, _ in found} == set(TABLES)
    # SQLite tells the columns of a primary key in no order
    assert [entry for entry in found if "mailbox_id" not in entry[2]] == []
    assert [entry for entry in found if entry[2][0] != "mailbox_id" and entry[1] != "__primary__"] == []


def test_no_foreign_key_leads_anywhere_but_to_the_mailbox() -> None:
    relations = [field for model in MODELS for field in model._meta.get_fields() if field.is_relation]
    assert {(field.name, field.many_to_many) for field in relations} == {("mailbox", False)}


# --- Statements ----------------------------------------------------------------------------------------------


class Statements:
    """Remembers the statements on tables of the mail store that do not name a mailbox."""

    def __init__(self) -> None:
        self.seen = 0
        self.unbound: list[str] = []

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if any(re.search(rf"\b{table}\b", sql) for table in TABLES):
            self.seen += 1
            if not self._names_a_mailbox(sql):
                self.unbound.append(sql)
        return execute(sql, params, many, context)

    @staticmethod
    def _names_a_mailbox(sql: str) -> bool:
        sql = sql.strip()
        if sql.startswith("INSERT"):
            return '"mailbox_id"' in sql.partition("VALUES")[0]
        if " JOIN " in sql:
            return False
        where = re.split(r"\bWHERE\b", sql, maxsplit=1)[-1] if re.search(r"\bWHERE\b", sql) else ""
        # What is left of the conditions without groups that have nothing to do with mailboxes: each alternative of
        # an OR has to name one.
        removed = 1
        while removed:
            where, removed = re.subn(r"\((?:(?!mailbox_id)[^()])*\)", "", where)
        return all(re.search(r'mailbox_id"? (=|IN) ', part) for part in where.split(" OR "))


class Functions:
    """Which functions of the mail store have run; those that ask the database all have to."""

    def __init__(self) -> None:
        self._ran: set[CodeType] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        def note(frame: FrameType, event: str, _: object) -> None:
            if event == "call":
                self._ran.add(frame.f_code)

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(before)

    def missed(self) -> list[str]:
        return [name for name, code in self._all() if code not in self._ran]

    def _all(self) -> Iterator[tuple[str, CodeType]]:
        """Every public function and method in modules that, themselves or by another, use the database."""
        modules = {
            found.name: importlib.import_module(found.name)
            for found in pkgutil.walk_packages(mailstore.__path__, "mailstore.")
            if ".migrations" not in found.name
        }
        for name, module in modules.items():
            if self._asks_the_database(module, modules):
                for owner in [module, *(each for each in vars(module).values() if isinstance(each, type))]:
                    for function in map(_unwrapped, vars(owner).values()):
                        if function and function.__module__ == name and not function.__name__.startswith("_"):
                            yield f"{name}.{function.__qualname__}", function.__code__

    def _asks_the_database(self, module: ModuleType, modules: dict[str, ModuleType]) -> bool:
        imported = _imports(module)
        return any(
            name == "django.db" or (name in modules and self._asks_the_database(modules[name], modules))
            for name in imported - {module.__name__}
        )


def _unwrapped(value: object) -> Any:
    """The function behind a decorator, a property or a method of a class; None where there is none."""
    value = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return value if isfunction(value) else None


def _imports(module: ModuleType) -> set[str]:
    """The modules that a module imports, as far as they are named in `import` and `from`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def sessions(mailbox: FoundMailbox) -> None:
    """All that sessions do, with one that finds the maildrop in use and one that takes it from a dead worker."""
    (first,) = maildrop.open_maildrops([OpenRequest(mailbox.id, uuid.uuid4())])
    assert isinstance(first, Opened)
    (refused,) = maildrop.open_maildrops([OpenRequest(mailbox.id, uuid.uuid4())])
    assert isinstance(refused, MaildropInUseError)
    (session,) = maildrop.open_maildrops([OpenRequest(mailbox.id, uuid.uuid4(), take_from=first.lock)])
    assert isinstance(session, Opened)
    assert find_holders([mailbox.id]) == [session.lock]
    assert list(read_surrogates(session)) == [3]
    correct_surrogate(mailbox.id, 3, 1)
    listing = maildrop.read_listing(session, maildrop.read_listing(session))
    assert listing.unique_id(0) == f"{session.uidvalidity}.1"
    listing.mark(listing.unmarked([1]))
    maildrop.read_pieces([PieceRequest(mailbox.id, 1, 0), PieceRequest(mailbox.id, 2, 0)])
    contents.read_some_pieces(mailbox.id, 1, 0, 4)
    maildrop.close_maildrops([CloseRequest(mailbox.id, session.lock, retrieved=[1], deleted=[1, 2])])
    (idle,) = maildrop.open_at_once([OpenRequest(mailbox.id, uuid.uuid4())])
    assert isinstance(idle, Opened)
    listing.gone.extend([1, 2])
    assert list(maildrop.read_listing(idle, listing).uids) == [3]
    maildrop.close_maildrops([CloseRequest(mailbox.id, idle.lock)])
    several(mailbox)


def several(mailbox: FoundMailbox) -> None:
    """What a session does that has several maildrops open."""
    other = make_mailbox("alfred")
    fill(mailbox.id, b"a")
    fill(other.id, b"b", b"c", unique_id="")
    opened = open_together([OpenRequest(each.id, uuid.uuid4()) for each in (mailbox, other)])
    Maildrop.objects.filter(mailbox_id=other.id).update(uidvalidity=opened[0].uidvalidity)
    parts = [Part(each.mailbox_id, maildrop.read_listing(each)) for each in opened]
    parts[1] = replace(parts[1], listing=replace(parts[1].listing, uidvalidity=opened[0].uidvalidity))
    assert read_order(parts).qualified == {1}
    close_together([CloseRequest(each.mailbox_id, each.lock, retrieved=[2], deleted=[1]) for each in opened])


def everything_else(mailbox: FoundMailbox, folder: Path) -> None:
    """All that admin, commands and the intake do."""
    with body_of(b"four" * PIECE_OCTETS) as body:
        assert body.header() is None  # it is larger than what is kept
        body.set_header(b"Subject: four\r\n\r\n")
        body.add_header(b"Authentication-Results: here; none\r\n")
        deliver(body=body, envelope=Envelope("a@b", b"here"), recipients=[mailbox], all_or_none=True)
    have_room([RoomRequest(mailbox, 1)])
    page_of_messages(mailbox.id, before_uid=9, search="x")
    page_of_messages(mailbox.id, shelf=True)
    find_uids(mailbox.id, most=9, shelf=True)
    overview(mailbox.id)
    find_message(mailbox.id, 3)
    b"".join(read_message(mailbox.id, 3))
    (folder / "one.eml").write_bytes(b"A: 1\n\n")
    call_command("importmail", mailbox.address, str(folder / "one.eml"), stdout=io.StringIO())
    with ScriptedPop3([(b"a", b"A: 2\r\n\r\n")], {"STLS": b"-ERR no\r\n"}).serving() as other, typed("x\n"):
        arguments = (f"pop3://charles@127.0.0.1:{other.port}", "--password-stdin", "--keep-uidls")
        call_command("importmail", mailbox.address, *arguments, stdout=io.StringIO())
    for how in ("mbox", "maildir"):
        call_command("exportmail", mailbox.address, "--format", how, str(folder / how), stdout=io.StringIO())
        call_command("importmail", mailbox.address, str(folder / how), "--skip-duplicates", stdout=io.StringIO())
    restore(mailbox_id=mailbox.id, uids=[1])
    expire(mailbox_id=mailbox.id, before=timezone.now())
    purge(mailbox_id=mailbox.id, before=timezone.now())
    fill(mailbox.id, b"\r\n" + b"x" * 2 * PIECE_OCTETS)
    recount(mailbox_id=mailbox.id)
    remove_mailboxes(mailbox_ids=[mailbox.id])


@contextmanager
def typed(text: str) -> Iterator[None]:
    """Standard input has this text."""
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        yield
    finally:
        sys.stdin = before


def test_every_operation_names_its_mailbox_in_every_statement(tmp_path: Path) -> None:
    mailbox = make_mailbox("jules", quota_octets=1_000_000_000)
    statements, functions = Statements(), Functions()
    with connection.execute_wrapper(statements), functions.watched():
        fill(mailbox.id, b"one", b"two", "Subject: é\n\nthree".encode())
        sessions(mailbox)
        everything_else(mailbox, tmp_path)
    assert statements.unbound == []
    assert statements.seen > 60
    assert functions.missed() == []


def test_a_statement_that_names_no_mailbox_would_be_seen(mailbox: FoundMailbox) -> None:
    statements = Statements()
    now: datetime = timezone.now()
    with connection.execute_wrapper(statements):
        for model in MODELS:
            list(model.objects.filter(mailbox_id=mailbox.id))
            list(model.objects.all())
            list(model.objects.filter(mailbox__local_part="jules", mailbox_id=mailbox.id))
        MODELS[1].objects.filter(deleted_at__lt=now).update(deleted_at=None)
    assert len(statements.unbound) == 2 * len(MODELS) + 1


def test_a_function_that_was_not_run_would_be_seen() -> None:
    missed = Functions().missed()
    assert {
        "mailstore.delivery.deliver",
        "mailstore.locks.take_locks",
        "mailstore.importing.Importer.add",
        "mailstore.shelf.restore",
        "mailstore.rows.recount",
        "mailstore.maildrop.Listing.unique_id",
        "mailstore.delivery.Body.octets",
        "mailstore.management.commands.importmail.Command.handle",
    } <= set(missed)
    assert not any(name.startswith(("mailstore.wire", "mailstore.mbox", "mailstore.sources")) for name in missed)
