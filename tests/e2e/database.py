"""A platform's database as it is, read past Django and past the product's own code."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.e2e.running import Platform

Row = tuple[Any, ...]


@contextmanager
def connected(platform: Platform) -> Iterator[Any]:
    """A connection whose statements each count at once; parameters are written %s."""
    url = platform.database_url
    if url.startswith("postgres"):
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection
    else:
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20, isolation_level=None)
        try:
            yield _Sqlite(connection)
        finally:
            connection.close()


class _Sqlite:
    """sqlite3 with the parameters of psycopg."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql.replace("%s", "?"), parameters)


def query(platform: Platform, sql: str, *parameters: Any) -> list[Row]:
    """The rows of one SELECT."""
    with connected(platform) as connection:
        return list(connection.execute(sql, parameters).fetchall())


def execute(platform: Platform, sql: str, *parameters: Any) -> None:
    """Carry out one statement."""
    with connected(platform) as connection:
        connection.execute(sql, parameters)
