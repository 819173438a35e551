"""`make run`: five ports that answer, a screen whose commands work when pasted, an end that leaves nothing behind."""

import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.e2e.conftest import MakePlatform
from tests.e2e.running import Platform, Server, free_port, greets

pytestmark = pytest.mark.once
PORTS = ("web", "pop3", "pop3s", "smtp", "lmtp", "submission")
#: What issue 2 allows a clean clone; the test begins with .venv in place.
START_SECONDS = 60


@dataclass
class Demo:
    """The one platform of these tests, which runs whenever a test asks for it: `make run` again and again."""

    platform: Platform
    server: Server | None = None

    def running(self) -> Server:
        if self.server is None:
            self.server = _start(self.platform)
        return self.server

    def ended(self) -> Server:
        """What has ended by now: the next test starts it again."""
        server, self.server = self.running(), None
        return server


@pytest.fixture(scope="module")
def demos(make_platform: MakePlatform) -> Demo:
    return Demo(make_platform(migrated=False))


@pytest.fixture
def demo(demos: Demo) -> Server:
    return demos.running()


@pytest.fixture
def platform(demos: Demo) -> Platform:
    return demos.platform


def _start(platform: Platform) -> Server:
    ports = {name: free_port() for name in PORTS}
    server = platform.start("rundemo", *_options(ports), ports=ports)
    server.wait_for(lambda: "python3 -c" in _screen(server), seconds=START_SECONDS)
    return server


def _options(ports: dict[str, int]) -> list[str]:
    return [f"--{name}-port={port}" for name, port in ports.items()]


def _screen(server: Server) -> str:
    return server.log.read_text(errors="replace")


def _logins(server: Server) -> list[tuple[str, str]]:
    """The mailboxes and passwords that the screen shows."""
    return re.findall(r"^  (\S+@\S+) +(\S+)$", _screen(server), re.MULTILINE)


def _commands(server: Server) -> list[str]:
    """The commands that the screen shows, to be pasted into a shell."""
    return re.findall(r"^  ((?:curl|printf|python3) .+)$", _screen(server), re.MULTILINE)


def _paste(command: str, folder: Path) -> str:
    run = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_it_answers_on_its_six_ports(demo: Server) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{demo.ports['web']}/", timeout=30) as page:
        assert page.status == 200
        assert b"username" in page.read()
    assert greets(demo.ports["pop3"], b"+OK")
    assert greets(demo.ports["pop3s"], b"+OK", tls=True)
    assert greets(demo.ports["smtp"], b"220")
    assert greets(demo.ports["lmtp"], b"220")
    assert greets(demo.ports["submission"], b"220")


def test_the_screen_shows_the_mailboxes_of_the_founding_story(demo: Server) -> None:
    assert [name for name, _ in _logins(demo)] == [
        "jules@jules.maison.mrs",
        "alfred@alfred.maison.mrs",
        "charles@jules.maison.mrs",
        "charles@alfred.maison.mrs",
    ]


def test_the_three_commands_of_the_screen_work_when_pasted(
    demo: Server, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    require_program("curl")
    listing, writing, reading = _commands(demo)
    before = _paste(listing, tmp_path).split("\n")
    _paste(writing, tmp_path)
    assert "Subject: Hello\n\nIt works." in _paste(reading, tmp_path)
    assert len(_paste(listing, tmp_path).split("\n")) == len(before) + 1


def test_the_password_of_the_screen_opens_the_admin(demo: Server) -> None:
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    page = f"http://127.0.0.1:{demo.ports['web']}/admin/login/?next=/admin/"
    browser.open(page, timeout=30).close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    shown = re.search(r"login (\S+), password (\S+)", _screen(demo))
    assert shown is not None
    form = {"username": shown[1], "password": shown[2], "csrfmiddlewaretoken": token}
    with browser.open(page, urlencode(form).encode(), timeout=30) as answer:
        assert answer.url.endswith("/admin/")
        assert b"logout" in answer.read()


def test_a_second_one_names_the_port_that_is_taken(demo: Server, platform: Platform) -> None:
    ports = {name: free_port() for name in PORTS} | {"smtp": demo.ports["smtp"]}
    second = platform.start("rundemo", *_options(ports), ports=ports)
    assert second.process.wait(30) == 1
    assert f"Port {ports['smtp']} (smtp) cannot be served: another program uses it." in _screen(second)
    assert "Traceback" not in _screen(second)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_leaves_no_port_open_and_starts_again_as_it_was(
    demo: Server, demos: Demo, tmp_path: Path, by: signal.Signals, require_program: Callable[[str], str]
) -> None:
    require_program("curl")
    logins, listing = _logins(demo), _paste(_commands(demo)[0], tmp_path)

    assert demos.ended().stop(by) == 0
    for port in demo.ports.values():
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert "Traceback" not in _screen(demo)

    again = demos.running()
    assert _logins(again) == logins
    assert _paste(_commands(again)[0], tmp_path) == listing


def test_when_a_server_dies_the_others_end_and_it_is_said(demo: Server, demos: Demo) -> None:
    started = re.search(r"pop3\.1 started \(pid=(\d+)\)", _screen(demo))
    assert started is not None
    os.kill(int(started[1]), signal.SIGKILL)
    assert demos.ended().process.wait(30) == 1
    assert "A server ended by itself" in _screen(demo)
    assert "Traceback" not in _screen(demo)
