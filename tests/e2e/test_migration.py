"""A mailbox moves from Dovecot to us under its clients, which leave mail on the server: none fetches a message again."""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import dovecot
from tests.conformance.dovecot import running
from tests.e2e.filling import address, fill
from tests.e2e.maildrops import stored
from tests.e2e.running import PASSWORD, Platform, greets
from tests.e2e.test_collecting import Maildir

MESSAGES = [b"Subject: %d\r\n\r\n.dot %d\r\n" % (number, number) for number in range(6)]
NEW = b"Subject: new\r\n\r\nafter the move\r\n"

FETCHMAIL = """
set invisible
set idfile {home}/ids
poll localhost protocol pop3 service {port} uidl
    user "charles" password "{password}" sslproto "" mda "{mda}" keep no rewrite
"""
GETMAIL = """
[retriever]
type = SimplePOP3Retriever
server = localhost
port = {port}
username = charles
password = {password}
[destination]
type = MDA_external
path = {mda}
allow_root_commands = true
[options]
read_all = false
delete = false
verbose = 0
"""
MPOP = """
account default
host localhost
port {port}
user charles
password {password}
auth user
tls off
delivery mda {mda}
uidls_file {home}/uidls
only_new on
keep on
"""
#: The command of each, and its configuration: all fetch what is new and leave it on the server.
CLIENTS = {
    "fetchmail": (["fetchmail", "--fetchmailrc", "{rc}", "--nosyslog", "--pidfile", "{home}/pid"], FETCHMAIL),
    "getmail": (["getmail", "--getmaildir={home}", "--rcfile={rc}"], GETMAIL),
    "mpop": (["mpop", "--quiet", "--file={rc}"], MPOP),
}
_MDA = """#!/bin/sh
cat >> {home}/fetched
echo >> {home}/fetched
# getmail waits a minute for a program that ends before it has begun to wait: it is not waiting while it runs.
until grep -q '^State:.*sleeping' /proc/$PPID/status; do :; done
"""


class Client:
    """A client with a home of its own, in which it keeps what it has seen."""

    def __init__(self, name: str, home: Path, port: int) -> None:
        home.mkdir()
        mda = home / "mda"
        mda.write_text(_MDA.format(home=home))
        mda.chmod(0o700)
        command, configuration = CLIENTS[name]
        rc = home / "rc"
        rc.touch(mode=0o600)
        rc.write_text(configuration.format(home=home, port=port, password=PASSWORD, mda=mda))
        self._command = [word.format(home=home, rc=rc) for word in command]
        self._home = home

    def fetch(self) -> list[str]:
        """The subjects of what it takes for new."""
        fetched = self._home / "fetched"
        fetched.write_text("")
        environment = {"HOME": str(self._home), "PATH": "/usr/bin:/bin"}
        run = subprocess.run(self._command, env=environment, capture_output=True, timeout=60, check=False)
        assert run.returncode in (0, 1), run  # 1 of fetchmail: nothing new
        lines = fetched.read_text().splitlines()
        return [line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")]


@pytest.mark.once
def test_no_client_fetches_a_message_again(
    platform: Platform, certificate: dict[str, Path], tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    for program in (*CLIENTS, dovecot.PROGRAM):
        require_program(program)
    fill(platform, "mailboxes('charles')")
    subjects = [str(number) for number in range(len(MESSAGES))]
    with tempfile.TemporaryDirectory() as name:
        files = {key: Path(name, key) for key in ("certfile", "keyfile")}
        for key, path in files.items():
            path.write_bytes(certificate[key].read_bytes())
        with running(Path(name), **files, login="charles", password=PASSWORD) as ports:
            maildir = Maildir(Path(name), ports)
            for message in MESSAGES:
                maildir.add(message)
            clients = [Client(name, tmp_path / name, ports["plain"]) for name in CLIENTS]
            assert [client.fetch() for client in clients] == [subjects] * len(clients)
            url = f"pop3s://charles@localhost:{ports['tls']}"
            platform.settings = {"SSL_CERT_FILE": str(platform.authority)}
            arguments = ("importmail", address("charles"), url, "--keep-uidls", "--password-stdin")
            said = [platform.manage(*arguments, stdin=f"{PASSWORD}\n".encode()) for _ in range(2)]
            assert said[0].endswith(f"{len(MESSAGES)} messages imported\n")
            assert said[1].endswith(f"0 messages imported, {len(MESSAGES)} skipped as duplicates\n")
    bind = f"127.0.0.1:{ports['plain']}"
    server = platform.start("pop3serve", "--bind", bind, "--workers", "1", ports={"plain": ports["plain"]})
    server.wait_for(lambda: greets(ports["plain"], b"+OK"))
    assert [client.fetch() for client in clients] == [[]] * len(clients)
    platform.manage("importmail", address("charles"), "-", stdin=NEW)
    assert [client.fetch() for client in clients] == [["new"]] * len(clients)
    assert len(stored(platform, address("charles")).live) == len(MESSAGES) + 1
