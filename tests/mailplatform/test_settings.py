"""The settings as another process reads them from its environment."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn

ROOT = Path(__file__).resolve().parent.parent.parent


def read(expression: str, var: Path, **environment: str) -> Any:
    """What an expression about `settings` is in a process of its own."""
    command = f"import json; from mailplatform import settings; print(json.dumps({expression}))"
    run = subprocess.run(
        [sys.executable, "-c", command],
        cwd=ROOT,
        env=os.environ | {"VAR_DIR": str(var)} | environment,
        capture_output=True,
        check=True,
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("", {}),
        (
            "?sslmode=verify-full&sslrootcert=/etc/db.pem",
            {"sslmode": "verify-full", "sslrootcert": "/etc/db.pem"},
        ),
    ],
)
def test_options_of_the_database_url_reach_the_database(options: str, wanted: dict[str, str], tmp_path: Path) -> None:
    url = f"postgres://mail:secret@db.example.org/mail{options}"
    found = read("settings.DATABASES['default']['OPTIONS']", tmp_path, DATABASE_URL=url)
    assert wanted.items() <= found.items()
    assert found["server_side_binding"] is True


@pytest.mark.parametrize(
    ("options", "wanted"),
    [("", [1, 10, 5, 3, 25_000]), ("?keepalives_idle=60&tcp_user_timeout=90000", [1, 60, 5, 3, 90_000])],
)
def test_the_kernel_notices_when_postgresql_has_gone_without_a_word(
    options: str, wanted: list[int], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgres://mail@127.0.0.1:{listener.getsockname()[1]}/mail"
        found = read("settings.DATABASES['default']['OPTIONS']", tmp_path, DATABASE_URL=f"{url}{options}")
        assert found["connect_timeout"] == 10
        for_psycopg = {"server_side_binding", "prepare_threshold"}
        for_libpq = {name: value for name, value in found.items() if name not in for_psycopg}
        connecting = PGconn.connect_start(make_conninfo(url, **for_libpq).encode())
        with closing(socket.socket(fileno=os.dup(connecting.socket))) as connection:
            of_tcp = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            kept = [connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
            kept += [connection.getsockopt(socket.IPPROTO_TCP, option) for option in of_tcp]
        connecting.finish()
    assert kept == wanted


def test_the_secret_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    first = read("settings.SECRET_KEY", tmp_path, SECRET_KEY="")
    assert len(first) > 50
    assert read("settings.SECRET_KEY", tmp_path, SECRET_KEY="") == first
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
    assert read("settings.SECRET_KEY", tmp_path, SECRET_KEY="another") == "another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret_key", "static"]


@pytest.mark.parametrize(("wish", "threshold"), [("", 3), ("False", None)])
def test_statements_are_prepared_unless_a_pooler_forbids_it(wish: str, threshold: int | None, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": "postgres://db.example.org/mail"}
    if wish:
        environment["DATABASE_PREPARED_STATEMENTS"] = wish
    found = read("settings.DATABASES['default']['OPTIONS']", tmp_path, **environment)
    assert found.get("prepare_threshold") == threshold


def test_a_new_sqlite_database_has_large_pages_and_waits_for_the_disk(tmp_path: Path) -> None:
    command = read("settings.DATABASES['default']['OPTIONS']['init_command']", tmp_path, DATABASE_URL="")
    with closing(sqlite3.connect(tmp_path / "new")) as database:
        database.executescript(f"{command}; CREATE TABLE message (octets BLOB)")
        names = ("page_size", "journal_mode", "synchronous")
        found = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert found == [8192, "wal", 2]  # 2: FULL
