"""importmail and exportmail as an operator runs them: processes, with pipes, terminals, signals and exit codes."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import ROOT, Platform
from tests.messages import all_messages

FROM_LINE = b"From jules@maison.mrs Thu Apr  3 15:45:22 2014\n"
MESSAGES = [message for message in all_messages().values() if message]


@pytest.fixture(scope="module")
def house(platform: Platform) -> Platform:
    """One process makes an account for each test, called as it begins."""
    platform.manage("shell", "-c", _ACCOUNTS)
    return platform


_ACCOUNTS = """
from accounts.services import create_account, create_domain
create_domain(name="maison.mrs")
for name in ("every", "skipped", "watched", "interrupted", "killed", "export"):
    create_account(username=name, password="x")
"""


def start(house: Platform, *arguments: str | Path, **how: object) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "manage.py", *map(str, arguments)]
    environment = house.environment(TERM="xterm", COLUMNS="100")
    return subprocess.Popen(command, cwd=ROOT, env=environment, **(streams | how))


def run(house: Platform, *arguments: str | Path, stdin: bytes = b"") -> tuple[int, str, str]:
    """The exit code of a command, and what it wrote to standard output and standard error."""
    process = start(house, *arguments, stdin=subprocess.PIPE)
    out, err = process.communicate(stdin, timeout=100)
    return process.returncode, out.decode(), err.decode()


def read_terminal(descriptor: int) -> str:
    """All that was written to a terminal until its last writer closed it."""
    octets = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # Linux: the other side is closed
            break
        octets += chunk
    os.close(descriptor)
    return octets.decode()


def test_every_message_goes_in_by_files_and_a_pipe_and_comes_out(house: Platform, tmp_path: Path) -> None:
    """What comes out is the same to the octet: taken in again, every message is a duplicate."""
    address, out, files = "every@maison.mrs", tmp_path / "out.mbox", []
    for number, message in enumerate(MESSAGES[1:]):
        files.append(tmp_path / f"{number:03}.eml")
        files[-1].write_bytes(message)
    count = f"{len(MESSAGES)} messages"
    imported = run(house, "importmail", address, "-", *files, stdin=MESSAGES[0])
    assert imported == (0, f"{address}: {count} imported\n", "")
    exported = run(house, "exportmail", address, "--format", "mbox", out)
    assert exported == (0, f"{address}: {count} exported to {out}\n", "")
    again = run(house, "importmail", "EVERY@Maison.mrs", out, "--skip-duplicates")
    assert again == (0, f"{address}: 0 messages imported, {len(MESSAGES)} skipped as duplicates\n", "")


def test_what_was_skipped_is_named_and_in_the_exit_code(house: Platform, tmp_path: Path) -> None:
    (tmp_path / "good.eml").write_bytes(b"A: 1\n\n")
    code, printed, said = run(house, "importmail", "skipped@maison.mrs", tmp_path / "bad.eml", tmp_path / "good.eml")
    assert (code, printed) == (1, "skipped@maison.mrs: 1 message imported\n")
    assert said == (f"{tmp_path}/bad.eml: No such file or directory; skipped\nCommandError: 1 could not be imported\n")


def test_an_unknown_address_is_said_without_a_traceback(house: Platform) -> None:
    code, printed, said = run(house, "importmail", "nobody@maison.mrs", "-")
    assert (code, printed) == (1, "")
    assert said == "CommandError: no such mailbox: nobody@maison.mrs; add it with addaccount, or in admin\n"


@pytest.mark.once
def test_a_person_who_watches_sees_a_bar(house: Platform, tmp_path: Path) -> None:
    mbox, address = tmp_path / "all.mbox", "watched@maison.mrs"
    mbox.write_bytes((FROM_LINE + b"A: 1\n\n" + b"some text\n" * 20_000 + b"\n") * 10)
    for title, arguments in {
        "Importing": ["importmail", address, mbox],
        "Exporting": ["exportmail", address, "--format", "mbox", tmp_path / "out.mbox"],
    }.items():
        ours, theirs = pty.openpty()
        process = start(house, *arguments, stderr=theirs)
        os.close(theirs)
        seen = read_terminal(ours)
        printed = process.communicate(timeout=100)[0].decode()
        assert process.returncode == 0
        assert re.search(title + r".*\d/2\.\d MB", seen)
        assert printed.startswith(f"{address}: 10 messages {title[:2].lower()}ported")
        assert "\x1b" not in printed


class TestBrokenOff:
    """An import is stopped while it waits in the middle of a message, and gone on with afterwards."""

    MESSAGES = [b"Subject: %04d\n\n%s" % (number, b"some text\n" * 60) for number in range(1500)]

    def stopped(self, house: Platform, address: str, pipe: Path, by: signal.Signals) -> tuple[int, str]:
        """The exit code and the last words of an import that was stopped after more than 1000 messages."""
        os.mkfifo(pipe)
        process = start(house, "importmail", address, pipe)
        with pipe.open("wb") as mbox:
            # A pipe holds 64 KiB: when the last of this is in, all but some hundred messages have been taken out.
            for message in self.MESSAGES[:1300]:
                mbox.write(FROM_LINE + message + b"\n")
            mbox.write(FROM_LINE + b"Subject: half")
            mbox.flush()
            process.send_signal(by)
            _, said = process.communicate(timeout=100)
        return process.returncode, said.decode()

    def test_an_interrupt_says_how_to_go_on(self, house: Platform, tmp_path: Path) -> None:
        code, said = self.stopped(house, "interrupted@maison.mrs", tmp_path / "pipe", signal.SIGINT)
        assert code == 130
        assert said == (
            "CommandError: interrupted; 1000 messages imported so far; run it again with --skip-duplicates to go on\n"
        )

    def test_a_kill_leaves_whole_messages_and_it_can_be_gone_on_with(self, house: Platform, tmp_path: Path) -> None:
        address, mbox = "killed@maison.mrs", tmp_path / "all.mbox"
        code, _ = self.stopped(house, address, tmp_path / "pipe", signal.SIGKILL)
        assert code == -signal.SIGKILL
        mbox.write_bytes(b"".join(FROM_LINE + message + b"\n" for message in self.MESSAGES))
        again = run(house, "importmail", address, mbox, "--skip-duplicates")
        assert again == (0, f"{address}: 500 messages imported, 1000 skipped as duplicates\n", "")
        assert house.manage("shell", "-v0", "-c", _LOOK.format(address=address)).split() == [
            f"{n:04}" for n in range(1500)
        ]


_LOOK = """
from accounts.lookup import find_mailboxes
from mailstore.rows import live_messages
from tests.mailstore.mailboxes import assert_counters_fit
mailbox_id = find_mailboxes(["{address}"])[0].id
assert_counters_fit(mailbox_id)
print(*live_messages(mailbox_id).order_by("uid").values_list("subject", flat=True))
"""


def test_an_export_that_is_killed_leaves_nothing_that_looks_whole(house: Platform, tmp_path: Path) -> None:
    address, mbox, out = "export@maison.mrs", tmp_path / "all.mbox", tmp_path / "out"
    mbox.write_bytes((FROM_LINE + b"A: 1\n\n" + b"some text\n" * 100_000 + b"\n") * 20)
    assert run(house, "importmail", address, mbox)[0] == 0
    process = start(house, "exportmail", address, "--format", "mbox", out)
    while not any(name.startswith(".out.") for name in os.listdir(tmp_path)):
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert not out.exists()
