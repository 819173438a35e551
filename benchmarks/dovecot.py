"""Dovecot's two configurations, in plain sight, and its Maildirs.

Both run as one ordinary user ("rootless"), without TLS, and check passwords against a passwd-file in the PLAIN
scheme: no hash is cheaper, so what Dovecot spends on passwords is next to nothing. Mailplatform's are Argon2id behind
its memory of verified credentials.
"""

import os
from pathlib import Path

from benchmarks.messages import MAILBOXES, MESSAGES, OCTETS, PASSWORD, login, message

#: Debian installs it outside an ordinary user's PATH.
PROGRAM = "/usr/sbin/dovecot"

#: Only what it takes to run at all; the process model is Dovecot's own: new processes for every login.
DEFAULTS = """
protocols = pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
base_dir = {folder}/run
log_path = {folder}/log
mail_location = maildir:{folder}/mail/%n
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 1
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/passwd
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%n
}}
"""

#: Login processes kept ("high-performance mode" of its manual); mail processes started ahead, reused for ever and
#: shared by ten clients, which was the fastest of what was tried; no scan of a Maildir that has not changed; no rename
#: to mark as read; answers of the authentication remembered.
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


def write_maildirs(folder: Path) -> None:
    """The same mail as Mailplatform's, stored and named as Dovecot's own delivery does (LF; sizes in the name)."""
    for mailbox in range(1, MAILBOXES + 1):
        current = folder / login(mailbox).partition("@")[0] / "cur"
        for name in ("cur", "new", "tmp"):
            (current.parent / name).mkdir(parents=True)
        for number in range(1, MESSAGES + 1):
            stored = message(mailbox, number).replace(b"\r\n", b"\n")
            # S: octets of the file; W: octets with CRLF, so that no file is read to know its size
            name = f"{1_700_000_000 + number}.M{number}P1.bench,S={len(stored)},W={OCTETS}:2,"
            (current / name).write_bytes(stored)


def write_passwords(file: Path) -> None:
    lines = [f"{login(mailbox)}:{{PLAIN}}{PASSWORD}\n" for mailbox in range(1, MAILBOXES + 1)]
    file.write_text("".join(lines), encoding="ascii")


def write_configuration(template: str, *, folder: Path, port: int, user: str, group: str) -> Path:
    """Fill in a configuration; gives its path."""
    file = folder / "dovecot.conf"
    file.write_text(template.format(folder=folder, port=port, user=user, group=group), encoding="ascii")
    os.chmod(file, 0o644)
    return file
