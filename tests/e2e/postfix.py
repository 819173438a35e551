"""Debian's Postfix as another mail server: an instance with files of its own, which need root and go with the test."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.running import free_port, greets, wait_until

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
myhostname = postfix.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtp_dns_support_level = disabled
smtp_host_lookup = native
relay_domains = {domains}
relay_recipient_maps = inline:{{ {recipients} }}
virtual_alias_maps = inline:{{ {aliases} }}
transport_maps = inline:{{ {transports} }}
local_recipient_maps =
alias_maps =
alias_database =
smtputf8_enable = yes
message_size_limit = 50000000
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = reject_unlisted_recipient, permit_mynetworks, reject
biff = no
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A running instance that serves SMTP on a port of 127.0.0.1."""

    port: int
    log: Path


@contextmanager
def postfix(directory: Path, *, aliases: Mapping[str, str], transports: Mapping[str, str]) -> Iterator[Postfix]:
    """Serve mail for the domains of `aliases`, who lead to other addresses, by `transports` of their domains."""
    port = free_port()
    _write(directory, port, aliases, transports)
    program = shutil.which("postfix") or "/usr/sbin/postfix"
    command = [program, "-c", str(directory / "conf")]
    with (directory / "output").open("wb") as output:
        running = subprocess.Popen([*command, "start-fg"], stdout=output, stderr=output)
    try:
        wait_until(
            lambda: running.poll() is not None or greets(port, b"220"), seconds=40, what="Postfix answers on its port"
        )
        assert running.poll() is None, (directory / "output").read_text()
        yield Postfix(port, directory / "log")
    finally:
        if running.poll() is None:
            # Its own command: what was started is a shell that waits for the server, which would outlive it.
            subprocess.run([*command, "stop"], check=True, capture_output=True, timeout=40)
        running.wait(20)


def _write(directory: Path, port: int, aliases: Mapping[str, str], transports: Mapping[str, str]) -> None:
    for name in ("conf", "queue", "data"):
        (directory / name).mkdir()
    shutil.chown(directory / "data", "postfix")
    # Postfix's own user goes into the queue's folder through those above it, which pytest makes for one user alone.
    for folder in (directory, *directory.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    domains = sorted({address.rpartition("@")[2] for address in aliases})
    main = _MAIN.format(
        directory=directory,
        domains=", ".join(domains),
        recipients=", ".join(f"{{{address} = ok}}" for address in aliases),
        aliases=", ".join(f"{{{address} = {target}}}" for address, target in aliases.items()),
        transports=", ".join(f"{{{domain} = {transport}}}" for domain, transport in transports.items()),
    )
    (directory / "conf" / "main.cf").write_text(main)
    (directory / "conf" / "master.cf").write_text(_MASTER.format(port=port))
