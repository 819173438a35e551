"""Statements that every login, RETR or QUIT waits for, straight to the drivers: for small ones Django's cursor, and
psycopg's below it, take longer than the database does.

    FIND = Statement("SELECT id, name FROM things WHERE owner = $owner::bigint AND id = ANY($ids::bigint[])")
    rows = FIND.fetch(owner=7, ids=[1, 2, 3])

One text serves both databases. PostgreSQL is sent it as it is, prepared once for each connection, lists as arrays, so
that there is one plan however long they are; the answer comes by one call of libpq, during which other threads have
the interpreter (psycopg's cursor takes it back for each 8 kB that arrive). For SQLite a parameter is `?`, and
`= ANY(...)` is an IN with as many of them as the list has items.

A statement joins the transaction that is under way; without one it is one by itself. Errors are Django's.
"""

import functools
import itertools
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import psycopg
from django.db import DEFAULT_DB_ALIAS, DataError, connections
from psycopg.adapt import Transformer
from psycopg.pq import DiagnosticField, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

#: A parameter, and a list of which a column is to be one.
_PARAMETER = re.compile(r"(= ANY\()?\$(\w+)(::\w+(?(1)\[\]\)))")
_names = itertools.count(1)


_of_thread = threading.local()


def thread_connection() -> Any:
    """Django's connection of this thread, which it always is; to look for it takes as long as a small statement."""
    try:
        return _of_thread.connection
    except AttributeError:
        _of_thread.connection = connections[DEFAULT_DB_ALIAS]
        return _of_thread.connection


class _Prepared:
    """What one connection to PostgreSQL knows."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self.names: set[bytes] = set()
        self.transformer = Transformer.from_context(connection)


_prepared: "WeakKeyDictionary[psycopg.Connection[Any], _Prepared]" = WeakKeyDictionary()


class Statement:
    """One statement with rows as its answer, on either database."""

    def __init__(self, text: str, **only_postgresql: str) -> None:
        """`only_postgresql`: what stands there for `{name}` in the text; nothing does on SQLite."""
        self.text = text
        self.only_postgresql = only_postgresql
        self._name = b"ours_%d" % next(_names)
        here = text.format(**only_postgresql)
        #: The parameters in PostgreSQL's order.
        self._places = list(dict.fromkeys(found[2] for found in _PARAMETER.finditer(here)))
        self._postgresql = _PARAMETER.sub(
            lambda found: f"{found[1] or ''}${self._places.index(found[2]) + 1}{found[3]}", here
        ).encode()
        self._of_sqlite = text.format(**dict.fromkeys(only_postgresql, ""))
        #: And in SQLite's.
        self._order = [found[2] for found in _PARAMETER.finditer(self._of_sqlite)]
        self._with_lists = functools.lru_cache(maxsize=256)(self._make_with_lists)

    def fetch(self, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows. Parameters are int, str, datetime, UUID, and lists of int or str that are not empty."""
        connection = thread_connection()
        if connection.connection is None:
            connection.ensure_connection()
        if connection.force_debug_cursor:
            connection.queries_log.append({"sql": self._postgresql.decode(), "time": "0"})
        with connection.wrap_database_errors:
            if connection.vendor == "postgresql":
                values = [_as_text(parameters[name]) for name in self._places]
                return self._fetch_from_postgresql(connection.connection, values)
            return self._fetch_from_sqlite(connection, parameters)

    def _fetch_from_sqlite(self, connection: Any, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        lengths, values = [], []
        for name in self._order:
            value = parameters[name]
            if isinstance(value, list):
                lengths.append(len(value))
                values += value
            elif isinstance(value, datetime):
                values.append(connection.ops.adapt_datetimefield_value(value))
            else:
                values.append(value.hex if isinstance(value, UUID) else value)
        rows: list[tuple[Any, ...]] = connection.connection.execute(self._with_lists(*lengths), values).fetchall()
        return rows

    def _make_with_lists(self, *lengths: int) -> str:
        """SQLite's text for lists of these lengths, in their order."""
        missing = iter(lengths)
        return _PARAMETER.sub(
            lambda found: f"IN ({', '.join('?' * next(missing))})" if found[1] else "?", self._of_sqlite
        )

    def _fetch_from_postgresql(
        self, connection: "psycopg.Connection[Any]", values: Sequence[bytes]
    ) -> list[tuple[Any, ...]]:
        prepared = _prepared.get(connection)
        if prepared is None:
            prepared = _prepared[connection] = _Prepared(connection)
        if not connection.autocommit and connection.pgconn.transaction_status == TransactionStatus.IDLE:
            connection.execute("SELECT")  # psycopg begins the transaction with its first statement
        result = self._send(connection, prepared, values)
        if result.status != ExecStatus.TUPLES_OK:
            raise psycopg.errors.error_from_result(result)
        transformer = prepared.transformer
        transformer.set_pgresult(result)
        try:
            return transformer.load_rows(0, result.ntuples, tuple)
        finally:
            transformer.set_pgresult(None)  # it would keep the octets

    def _send(self, connection: "psycopg.Connection[Any]", prepared: _Prepared, values: Sequence[bytes]) -> "PGresult":
        server = connection.pgconn
        # Within a transaction there is no second try, so nothing is relied on.
        if connection.prepare_threshold is not None and server.transaction_status == TransactionStatus.IDLE:
            if self._name not in prepared.names:
                result = server.prepare(self._name, self._postgresql)
                if result.status != ExecStatus.COMMAND_OK:
                    raise psycopg.errors.error_from_result(result)
                prepared.names.add(self._name)
            result = server.exec_prepared(self._name, values, result_format=Format.BINARY)
            if result.error_field(DiagnosticField.SQLSTATE) != b"26000":
                return result
            prepared.names.clear()  # psycopg tells the server to forget all statements after a rollback
        return server.exec_params(self._postgresql, values, result_format=Format.BINARY)


def _as_text(value: Any) -> bytes:
    """A parameter in PostgreSQL's text format."""
    if isinstance(value, list):
        return b"{%s}" % b",".join([b"%d" % item if isinstance(item, int) else _quoted(item) for item in value])
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return _encoded(text)


def _quoted(item: str) -> bytes:
    """An item of an array of texts."""
    return b'"%s"' % _encoded(item.replace("\\", "\\\\").replace('"', '\\"'))


def _encoded(text: str) -> bytes:
    if "\0" in text:
        raise DataError("PostgreSQL's texts have no NUL")  # libpq would cut it off there
    return text.encode()
