"""What is in deploy/ fits the commands it starts, and fails in plain words."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from django.core.management import get_commands, load_command_class

from tests.markdown import ROOT, read

DEPLOY = ROOT / "deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
SERVICES = ("pop3", "smtp")


def started(text: str) -> list[tuple[str, list[str]]]:
    """Commands of manage.py in a script or unit, each with its options."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"^(?:ExecStart=|\s*exec ).*?manage\.py ([a-z]\w+)(.*)$", joined, re.MULTILINE)
    return [(name, re.findall(r"--[\w-]+", rest)) for name, rest in found]


@pytest.mark.parametrize("path", [*SCRIPTS, *sorted(DEPLOY.glob("*.service"))], ids=lambda path: path.name)
def test_the_commands_have_these_options(path: Path) -> None:
    for name, options in started(path.read_text(encoding="utf-8")):
        command = load_command_class(get_commands()[name], name)
        known = {option for action in command.create_parser("", name)._actions for option in action.option_strings}
        assert set(options) <= known


def test_some_commands_are_started() -> None:
    names = [name for path in DEPLOY.glob("*.service") for name, _ in started(path.read_text(encoding="utf-8"))]
    assert {"pop3serve", "smtpserve", "purge"} <= set(names)
    assert {name for name, _ in started(read("deploy/entrypoint.sh"))} == {"pop3serve", "smtpserve"}


@pytest.mark.parametrize("name", SERVICES)
def test_the_sockets_of_systemd_are_those_that_the_service_binds(name: str) -> None:
    held = re.findall(r"^ListenStream=(?:.*:)?(\d+)$", read(f"deploy/mailplatform-{name}.socket"), re.MULTILINE)
    bound = re.findall(r"-bind \S*:(\d+)", read(f"deploy/mailplatform-{name}.service"))
    bound += re.findall(r" --bind \S*:(\d+)", read(f"deploy/mailplatform-{name}.service"))
    assert sorted(held) == sorted(set(bound))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run(path: Path) -> None:
    assert os.access(path, os.X_OK)
    subprocess.run(["sh", "-n", str(path)], check=True)


def enter(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if name not in {"SECRET_KEY", "DATABASE_URL"}}
    base["PATH"] = f"{Path(sys.executable).parent}:{base['PATH']}"
    return subprocess.run(
        [str(DEPLOY / "entrypoint.sh"), *arguments],
        cwd=ROOT,
        env=base | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("missing", ["SECRET_KEY", "DATABASE_URL"])
def test_a_container_without_its_secrets_says_which(missing: str) -> None:
    given = {"SECRET_KEY": "x", "DATABASE_URL": "sqlite://:memory:"}
    del given[missing]
    ran = enter("web", **given)
    assert ran.returncode != 0
    assert missing in ran.stderr


def test_any_other_command_is_one_of_manage_py(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mail.sqlite3"
    ran = enter("check", SECRET_KEY="x", DATABASE_URL=url, VAR_DIR=str(tmp_path))
    assert "no issues" in ran.stdout


@pytest.fixture
def healthy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("healthy", DEPLOY / "healthy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "answer", "code"),
    [
        ("pop3", b"+OK mail.example.org POP3 server ready\r\n", 0),
        ("pop3", b"-ERR [SYS/TEMP] too many connections, try again later\r\n", 1),
        ("smtp", b"220 mail.example.org ESMTP ready\r\n", 0),
        ("smtp", b"421 4.3.2 Too many connections, try again later\r\n", 1),
        ("web", b"HTTP/1.1 200 OK\r\n\r\n", 0),
        ("web", b"HTTP/1.1 301 Moved Permanently\r\n\r\n", 0),
        ("web", b"HTTP/1.1 500 Internal Server Error\r\n\r\n", 1),
        ("web", b"", 1),
    ],
)
def test_health_is_what_the_server_says(healthy: ModuleType, name: str, answer: bytes, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(512)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        _, *rest = healthy.SERVERS[name]
        healthy.SERVERS[name] = (listener.getsockname()[1], *rest)
        assert healthy.main(name) == code
        server.join()


def test_a_server_that_does_not_run_is_not_healthy(healthy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    healthy.SERVERS["pop3"] = (port, b"", (b"+OK",))
    assert healthy.main("pop3") == 1
    assert "refused" in capsys.readouterr().err
