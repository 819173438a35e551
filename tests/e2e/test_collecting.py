"""Mailboxes that collect, for real: from Debian's Dovecot by TLS and STLS, with workers that are killed meanwhile."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import dovecot
from tests.conformance.dovecot import running
from tests.e2e.conftest import MakePlatform
from tests.e2e.database import execute, query
from tests.e2e.filling import address, fill
from tests.e2e.running import PASSWORD, Platform, wait_until
from tests.messages import canonical, hard_messages

#: Seconds until all has been collected, which takes a second or two.
SECONDS = 60.0


class Maildir:
    """The mailbox of `charles` at a running Dovecot."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.folder, self.ports, self._number = folder / "mail", ports, 0

    def add(self, message: bytes) -> None:
        """Mail comes in, later than what was there."""
        self._number += 1
        path = self.folder / "tmp" / f"{1_700_000_000 + self._number}.M{self._number}P1.test"
        path.write_bytes(message.replace(b"\r\n", b"\n"))
        if not os.getuid():
            shutil.chown(path, *dovecot.NOBODY)
        path.rename(self.folder / "new" / path.name)

    def clear(self) -> None:
        for path in [path for name in ("cur", "new") for path in (self.folder / name).iterdir()]:
            path.unlink()

    def left(self) -> int:
        return sum(1 for name in ("cur", "new") for _ in (self.folder / name).iterdir())


@pytest.fixture(scope="module")
def dovecots(certificate: dict[str, Path], require_program: Callable[[str], str]) -> Iterator[Maildir]:
    """Dovecot as an ordinary user, who may not look into the folders of the tests."""
    require_program(dovecot.PROGRAM)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {name: Path(shutil.copy(certificate[name], folder)) for name in ("certfile", "keyfile")}
        with running(folder, **files, login="charles", password=PASSWORD) as ports:
            yield Maildir(folder, ports)


@pytest.fixture
def source(dovecots: Maildir) -> Maildir:
    dovecots.clear()
    return dovecots


@pytest.fixture
def platform(make_platform: MakePlatform) -> Iterator[Platform]:
    made = make_platform()
    made.settings = {"COLLECT_NETWORKS": "127.0.0.0/8,::1/128", "SSL_CERT_FILE": str(made.authority)}
    made.settings["RELAY_NAME_SERVERS"] = ""  # the system's know localhost
    fill(made, "mailboxes('charles')")
    yield made
    made.stop()


def collect_from(platform: Platform, url: str, *options: str) -> None:
    said = platform.manage(
        "collect", address("charles"), "--from", url, "--password-stdin", *options, stdin=f"{PASSWORD}\n".encode()
    )
    assert "collects from" in said


def collected(platform: Platform) -> list[bytes]:
    """The messages of charles in order, without what collecting put on top; dots are stuffed."""
    pieces = query(platform, "SELECT uid, octets FROM mailstore_content ORDER BY uid, piece")
    messages: dict[int, bytes] = {}
    for uid, octets in pieces:
        messages[uid] = messages.get(uid, b"") + bytes(octets)
    top = b"Delivered-To: charles@maison.mrs\r\nReceived: from localhost (account charles)\r\n\tby mail.maison.mrs with POP3 "
    assert all(message.startswith(top) for message in messages.values())
    return [message.split(b"\r\n", 4)[4] for message in messages.values()]


def stuffed(message: bytes) -> bytes:
    return (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]


def test_hard_messages_come_from_dovecot_byte_for_byte_once_and_stay_there(platform: Platform, source: Maildir) -> None:
    # Those whose only line ends are CRLF, which a Maildir can hold; what Dovecot makes of others is its own.
    # A dot at the very beginning it does not double, and a header of more than 64 KiB nobody collects.
    texts = [canonical(each) for each in hard_messages().values()]
    messages = [each for each in texts if b"\r" not in each.replace(b"\r\n", b"") and not each.startswith(b".")]
    messages = [each for each in messages if b"\r\n\r\n" in each[: 64 * 1024]]
    for message in messages:
        source.add(message)
    collect_from(platform, f"pop3s://charles@localhost:{source.ports['tls']}")
    platform.start_smtp()
    wait_until(
        lambda: (
            query(platform, "SELECT collected, claimed_by IS NULL FROM collecting_source") == [(len(messages), True)]
        ),
        seconds=SECONDS,
        what="all is collected",
    )
    assert collected(platform) == [stuffed(message) for message in messages]
    assert source.left() == len(messages)
    source.add(b"Subject: new\r\n\r\nnew\r\n")
    assert platform.manage("collect", address("charles")) == "charles at localhost: 1 collected\n"
    assert collected(platform)[len(messages) :] == [b"Subject: new\r\n\r\nnew\r\n"]


@pytest.mark.once
def test_workers_that_are_killed_lose_nothing_and_double_nothing(platform: Platform, source: Maildir) -> None:
    messages = [f"Subject: {number}\r\n\r\n{number}\r\n".encode() for number in range(200)]
    for message in messages:
        source.add(message)
    collect_from(platform, f"pop3://charles@localhost:{source.ports['plain']}", "--delete")
    server = platform.start_smtp(workers=2)
    for part in (30, 90, 150):
        wait_until(partial(are_stored, platform, part), seconds=SECONDS, what=f"{part} are there")
        for worker in server.workers():
            os.kill(worker, signal.SIGKILL)
        # As after the claim's time; where it was not claimed, the look had ended, and the next one is due.
        execute(platform, "UPDATE collecting_source SET claimed_by = NULL, claimed_until = NULL")
        execute(platform, "UPDATE collecting_source SET next_look_at = last_look_at")
    wait_until(lambda: source.left() == 0, seconds=SECONDS, what="all is collected")
    assert sorted(collected(platform)) == sorted(messages)


def are_stored(platform: Platform, number: int) -> bool:
    ((stored,),) = query(platform, "SELECT count(*) FROM mailstore_message")
    return bool(stored >= number)
