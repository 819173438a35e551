"""Dovecot's configurations, in plain sight, its Maildirs, and its start.

All run as one ordinary user ("rootless"; that part is in tests/dovecot.py) and check passwords against a passwd-file
in the PLAIN scheme: no hash is cheaper, so what Dovecot spends on passwords is next to nothing. Mailplatform's are
Argon2id behind its memory of verified credentials.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.certificate import write_certificate
from benchmarks.messages import MAILBOXES, MESSAGES, OCTETS, PASSWORD, login, message
from benchmarks.servers import Server, free_port, until_greeted
from tests import dovecot

#: Only what it takes to run at all; the process model is Dovecot's own: new processes for every login.
DEFAULTS = (
    dovecot.POP3
    + dovecot.TLS
    + """
mail_location = maildir:{folder}/mail/%n
"""
)

#: Login processes kept ("high-performance mode" of its manual), which also speak TLS for the sessions behind them; mail
#: processes started ahead, reused for ever and shared by ten clients, which was the fastest of what was tried; no scan
#: of a Maildir that has not changed; no rename to mark as read; answers of the authentication remembered.
TUNED = (
    DEFAULTS
    + """
service pop3-login {{
  service_count = 0
  process_min_avail = 1
  client_limit = 1000
}}
service pop3 {{
  service_count = 0
  process_min_avail = 2
  client_limit = 10
}}
auth_cache_size = 10 M
auth_cache_ttl = 1 hour
maildir_very_dirty_syncs = yes
pop3_no_flag_updates = yes
"""
)

#: Processes that stay and are shared: with a new one for each connection, its default, it was slower.
LMTP = """
protocols = lmtp
ssl = no
hostname = mail.bench.test
postmaster_address = postmaster@bench.test
mail_location = maildir:{folder}/mail/%n
mail_fsync = always
service lmtp {{
  service_count = 0
  process_min_avail = 2
  client_limit = 1
  inet_listener lmtp {{
    port = {port}
  }}
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%n allow_all_users=yes
}}
"""


@contextlib.contextmanager
def pop3(configuration: str, folder: Path, *, mailboxes: int = MAILBOXES, messages: int = MESSAGES) -> Iterator[Server]:
    """DEFAULTS or TUNED, with Maildirs of its own, on two ports."""
    write_maildirs(folder / "mail", mailboxes, messages)
    write_passwords(folder / "passwd", mailboxes)
    port, tls_port = free_port(), free_port()
    files = write_certificate(folder)
    with dovecot.running(
        configuration, folder, port=port, tls_port=tls_port, certfile=files.certfile, keyfile=files.keyfile
    ) as process:
        until_greeted(process, port, log=folder / "output")
        yield Server(port, [process.pid], tls_port)


@contextlib.contextmanager
def lmtp(folder: Path) -> Iterator[Server]:
    """LMTP, with Maildirs that it makes itself."""
    (folder / "mail").mkdir()
    port = free_port()
    with dovecot.running(LMTP, folder, port=port) as process:
        until_greeted(process, port, log=folder / "output", greeting=b"220")
        yield Server(port, [process.pid])


def write_maildirs(folder: Path, mailboxes: int, messages: int) -> None:
    """The same mail as Mailplatform's, stored and named as Dovecot's own delivery does (LF; sizes in the name)."""
    for mailbox in range(1, mailboxes + 1):
        current = folder / login(mailbox).partition("@")[0] / "cur"
        for name in ("cur", "new", "tmp"):
            (current.parent / name).mkdir(parents=True)
        for number in range(1, messages + 1):
            stored = message(mailbox, number).replace(b"\r\n", b"\n")
            # S: octets of the file; W: octets with CRLF, so that no file is read to know its size
            name = f"{1_700_000_000 + number}.M{number}P1.bench,S={len(stored)},W={OCTETS}:2,"
            (current / name).write_bytes(stored)


def write_passwords(file: Path, mailboxes: int) -> None:
    lines = [f"{login(mailbox)}:{{PLAIN}}{PASSWORD}\n" for mailbox in range(1, mailboxes + 1)]
    file.write_text("".join(lines), encoding="ascii")
