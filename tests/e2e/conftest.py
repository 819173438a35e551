"""Fixtures of the end-to-end tests: platforms of their own, made from a database that was migrated once."""

import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import trustme
from psycopg import sql

from tests.e2e.running import Platform

MakePlatform = Callable[[], Platform]


class Databases:
    """Makes databases beside the one of DATABASE_URL: files for SQLite, databases of its cluster for PostgreSQL."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        url = os.environ.get("DATABASE_URL", "")
        self._server = url if url.startswith(("postgres://", "postgresql://")) else ""
        self._made: list[str] = []

    def make(self, *, template: str = "") -> str:
        """The URL of a new database, a copy of `template` where one is given."""
        name = f"e2e_{uuid.uuid4().hex}"
        if not self._server:
            path = self._directory / f"{name}.sqlite3"
            if template:
                shutil.copyfile(template.removeprefix("sqlite:///"), path)
            return f"sqlite:///{path}"
        like = sql.Identifier(urlsplit(template).path[1:] if template else "template0")
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), like))
        self._made.append(name)
        return urlunsplit(urlsplit(self._server)._replace(path=f"/{name}"))

    def drop_all(self) -> None:
        for name in self._made:
            self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for localhost and 127.0.0.1, and the authority that a client has to trust for it."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1", "mail.maison.mrs")
    paths = {name: directory / f"{name}.pem" for name in ("certfile", "keyfile", "authority")}
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(paths["certfile"]), append=True)
    issued.private_key_pem.write_to_path(str(paths["keyfile"]))
    authority.cert_pem.write_to_path(str(paths["authority"]))
    return paths


@pytest.fixture(scope="session")
def make_platform(
    tmp_path_factory: pytest.TempPathFactory, certificate: dict[str, Path]
) -> Iterator[MakePlatform]:
    """Make platforms, each with its own migrated database; what they started ends with the session."""
    databases = Databases(tmp_path_factory.mktemp("databases"))
    made: list[Platform] = []

    def build(database_url: str) -> Platform:
        directory = tmp_path_factory.mktemp("platform")
        platform = Platform(directory=directory, database_url=database_url, **certificate)
        made.append(platform)
        return platform

    template = build(databases.make())
    template.manage("migrate", "--verbosity", "0")

    yield lambda: build(databases.make(template=template.database_url))

    for platform in made:
        platform.stop()
    databases.drop_all()


@pytest.fixture(scope="module")
def platform(make_platform: MakePlatform) -> Iterator[Platform]:
    """One platform for all tests of a module, with no server running and nobody in it."""
    made = make_platform()
    yield made
    made.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the servers wrote."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, Platform):
                report.sections.append(("servers", value.logs()))
    return report
