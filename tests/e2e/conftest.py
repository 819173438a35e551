"""Fixtures of the end-to-end tests: platforms of their own, their databases copied from one that was migrated once."""

import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
import pytest
import trustme

from tests.e2e.running import Platform
from tests.run import TEMPLATE


class MakePlatform(Protocol):
    """Makes a platform; its database has the tables, or nothing at all."""

    def __call__(self, *, migrated: bool = True) -> Platform: ...


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for localhost and 127.0.0.1, and the authority that a client has to trust for it."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1", common_name="localhost")
    paths = {name: directory / f"{name}.pem" for name in ("certfile", "keyfile", "authority")}
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(paths["certfile"]), append=True)
    issued.private_key_pem.write_to_path(str(paths["keyfile"]))
    authority.cert_pem.write_to_path(str(paths["authority"]))
    return paths


@pytest.fixture(scope="session")
def make_platform(tmp_path_factory: pytest.TempPathFactory, certificate: dict[str, Path]) -> Iterator[MakePlatform]:
    """Make platforms, each with a database of its own; what they started ends with the session."""
    url = os.environ.get("DATABASE_URL", "")
    new_database = (
        _on_postgresql(url) if url.startswith("postgres") else _on_sqlite(tmp_path_factory.mktemp("databases"))
    )
    made: list[Platform] = []

    def make(*, migrated: bool = True) -> Platform:
        url = new_database(template if migrated else "")
        made.append(Platform(tmp_path_factory.mktemp("platform"), url, **certificate))
        return made[-1]

    template = os.environ.get(TEMPLATE, "")
    if not template:
        first = make(migrated=False)
        first.manage("migrate", "--verbosity", "0")
        template = first.database_url
    yield make
    for platform in made:
        platform.stop()
        _drop(platform.database_url)


def _on_sqlite(directory: Path) -> Callable[[str], str]:
    """Makes databases that are files in `directory`."""

    def new_database(template: str) -> str:
        path = directory / f"{uuid.uuid4().hex}.sqlite3"
        if template:
            shutil.copyfile(template.removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"

    return new_database


def _on_postgresql(server: str) -> Callable[[str], str]:
    """Makes databases on the server of a DATABASE_URL, beside the one it names."""

    def new_database(template: str) -> str:
        name = f"e2e_{uuid.uuid4().hex}"
        like = urlsplit(template).path[1:] or "template0"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{like}"')
        return urlsplit(server)._replace(path=f"/{name}").geturl()

    return new_database


def _drop(database_url: str) -> None:
    """Drop a database of PostgreSQL; a file of SQLite goes with its directory."""
    if database_url.startswith("postgres"):
        url = urlsplit(database_url)
        with psycopg.connect(url._replace(path="/postgres").geturl(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{url.path[1:]}" WITH (FORCE)')


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
