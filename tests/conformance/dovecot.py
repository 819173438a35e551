"""Dovecot from Debian's packages as the server that is compared: told to do what it can, and why it fails where it does."""

import contextlib
import getpass
import grp
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.running import STOP_SECONDS, free_port, greets, wait_until

#: Debian installs it outside an ordinary user's PATH.
PROGRAM = Path("/usr/sbin/dovecot")
#: Whom it runs as where these tests are root's, which it refuses to be.
NOBODY = ("nobody", "nogroup")

#: What differs from its defaults for the sake of the tests: the lock, SCRAM, and bad guesses that cost no time. The rest
#: is what it takes to run as an ordinary user.
CONFIGURATION = """
pop3_lock_session = yes
auth_mechanisms = plain login scram-sha-256 scram-sha-1
auth_failure_delay = 0
protocols = pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certfile}
ssl_key = <{keyfile}
disable_plaintext_auth = no
base_dir = {folder}/run
log_path = {folder}/log
mail_location = maildir:{folder}/mail
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 100
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {plain}
  }}
  inet_listener pop3s {{
    port = {tls}
    ssl = yes
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/passwd
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}
}}
"""

_NO_UTF8 = "RFC 6856 is not implemented"

#: Test -> why it fails, as its answers show.
WHY = {
    "test_rfc1939.TestBasicOperation.test_a_dot_first": "dots are doubled behind a line end only",
    "test_rfc1939.TestTransaction.test_sizes": "LIST does not count the line end that RETR adds to a message without one",
    "test_rfc1939.TestOptionalCommands.test_top_of_a_header_alone": (
        "there is no empty line (with the setting pop3_client_workarounds = oe-ns-eoh there is)"
    ),
    "test_rfc2449.TestForm.test_overlong_lines": "it hangs up",
    "test_rfc2449.TestCapabilities.test_expire": "not announced",
    "test_rfc2449.TestCapabilities.test_implementation": "not announced",
    "test_tls.TestStls.test_what_came_before_it_is_forgotten": "PASS within TLS goes with the USER from before it",
    "test_tls.TestStls.test_arguments": "the argument is ignored",
    "test_tls.TestImplicit.test_alpn": "this version does not know ALPN",
    "test_rfc6856.TestUtf8.test_it_is_announced": _NO_UTF8,
    "test_rfc6856.TestUtf8.test_before_the_login": _NO_UTF8,
    "test_rfc6856.TestUtf8.test_without_it": "UTF-8 is sent to everybody",
    "test_rfc6856.TestUtf8.test_names_in_utf_8": _NO_UTF8,
    "test_rfc6856.TestLang.test_a_list": _NO_UTF8,
    "test_rfc6856.TestLang.test_a_choice": _NO_UTF8,
    "test_rfc6856.TestLang.test_the_default": _NO_UTF8,
    "test_rfc6856.TestLang.test_what_is_said_in_it": _NO_UTF8,
}


def version() -> str:
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, check=True, text=True).stdout
    return said.split()[0]


@contextlib.contextmanager
def running(folder: Path, *, certfile: Path, keyfile: Path, login: str, password: str) -> Iterator[dict[str, int]]:
    """Dovecot with one mailbox, whose Maildir is folder/mail; its ports, `plain` and `tls`."""
    ports = {"plain": free_port(), "tls": free_port()}
    user, group = (getpass.getuser(), grp.getgrgid(os.getgid()).gr_name) if os.getuid() else NOBODY
    for name in ("cur", "new", "tmp"):
        (folder / "mail" / name).mkdir(parents=True)
    (folder / "passwd").write_text(f"{login}:{{PLAIN}}{password}\n")
    settings = {"folder": folder, "user": user, "group": group, "certfile": certfile, "keyfile": keyfile}
    (folder / "dovecot.conf").write_text(CONFIGURATION.format(**settings, **ports))
    as_user: dict[str, object] = {}
    if not os.getuid():
        as_user = {"user": user, "group": group, "extra_groups": []}
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user, group)
    process = subprocess.Popen([PROGRAM, "-F", "-c", folder / "dovecot.conf"], stdin=subprocess.DEVNULL, **as_user)
    try:
        wait_until(lambda: greets(ports["plain"], b"+OK"), seconds=STOP_SECONDS, what="Dovecot greets")
        yield ports
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
