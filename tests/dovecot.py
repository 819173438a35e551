"""Dovecot from Debian's packages, run as one ordinary user out of one folder: for tests and benchmarks beside it.

What is compared is in the configurations of those who call; here is what every one of them needs to run at all
("rootless"), and how it is started and ended.
"""

import contextlib
import getpass
import grp
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Debian installs it outside an ordinary user's PATH.
PROGRAM = "/usr/sbin/dovecot"
#: Whom it runs as where it is started by root, which it refuses to be.
NOBODY = ("nobody", "nogroup")
#: Seconds that it may take to end.
_ENDING = 15

_ROOTLESS = """
listen = 127.0.0.1
disable_plaintext_auth = no
base_dir = {folder}/run
log_path = {folder}/log
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
"""

#: With the others, for the logins of POP3. Passwords are in {folder}/passwd: no scheme is cheaper than PLAIN.
POP3 = """
protocols = pop3
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {tls_port}
    ssl = yes
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

#: With a certificate ({certfile}, {keyfile}): TLS 1.2 and 1.3 with Dovecot's own choice of ciphers.
TLS = """
ssl = yes
ssl_cert = <{certfile}
ssl_key = <{keyfile}
"""


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


def version() -> str:
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, check=True, text=True).stdout
    return said.split()[0]


@contextlib.contextmanager
def running(configuration: str, folder: Path, **values: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Dovecot with this configuration, in which `values` are filled in, besides {folder}, {user} and {group}.

    All that it reads lies in the folder already, and becomes its user's. Whoever calls waits for its greeting, and
    finds what it says on {folder}/output and {folder}/log.
    """
    user, group = (getpass.getuser(), grp.getgrgid(os.getgid()).gr_name) if os.getuid() else NOBODY
    file = folder / "dovecot.conf"
    filled = (_ROOTLESS + configuration).format(folder=folder, user=user, group=group, **values)
    file.write_text(filled, encoding="ascii")
    as_user: dict[str, Any] = {}
    if not os.getuid():
        as_user = {"user": user, "group": group, "extra_groups": []}
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user, group)
    command = [PROGRAM, "-F", "-c", str(file)]
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **as_user)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
