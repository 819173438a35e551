"""fetchmail fetches from a mailbox by POP3 and hands over by LMTP: what is in the other mailbox is what was in the first."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import maildrops
from tests.e2e.filling import address, fill
from tests.e2e.running import PASSWORD, Platform

MESSAGES = [b"Subject: %d\r\n\r\n.dots\r\n..\r\n\r\nend %d\r\n" % (number, number) for number in range(5)]


@pytest.mark.once
def test_mail_is_moved_from_one_mailbox_to_another(
    platform: Platform, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    require_program("fetchmail")
    fill(platform, "mailboxes('jules', 'alfred')")
    files = [tmp_path / f"{number}.eml" for number in range(len(MESSAGES))]
    for file, message in zip(files, MESSAGES, strict=True):
        file.write_bytes(message)
    platform.manage("importmail", address("jules"), *files)
    pop3, smtp = platform.start_pop3(), platform.start_smtp()
    control = tmp_path / "fetchmailrc"
    control.write_text(f"""
        set invisible
        poll localhost protocol pop3 service {pop3.ports["plain"]}
            user "{address("jules")}" password "{PASSWORD}" sslproto "" fetchall no keep no rewrite
            smtphost 127.0.0.1/{smtp.ports["lmtp"]} lmtp smtpname {address("alfred")}
    """)
    control.chmod(0o600)
    command = ["fetchmail", "--fetchmailrc", control, "--nosyslog", "--pidfile", tmp_path / "fetchmail.pid"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert not maildrops.stored(platform, address("jules")).live
    contents = exported(platform, tmp_path / "out")
    assert sorted(content.partition(b"Subject: ")[2] for content in contents) == [
        message.removeprefix(b"Subject: ") for message in MESSAGES
    ]
    assert all(b"with LMTP id" in content for content in contents)


def exported(platform: Platform, folder: Path) -> list[bytes]:
    """The messages of alfred, with CRLF."""
    platform.manage("exportmail", address("alfred"), "--format", "maildir", folder)
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name in {"cur", "new"}]
    return [content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for content in found]
