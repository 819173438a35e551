"""Dovecot from Debian's packages as the server that is compared: told to do what it can, and why it fails where it does."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests import dovecot
from tests.e2e.running import STOP_SECONDS, free_port, greets, wait_until

#: What differs from its defaults for the sake of the tests: the lock, SCRAM, and bad guesses that cost no time.
CONFIGURATION = (
    dovecot.POP3
    + dovecot.TLS
    + """
pop3_lock_session = yes
auth_mechanisms = plain login scram-sha-256 scram-sha-1
auth_failure_delay = 0
mail_location = maildir:{folder}/mail
mail_max_userip_connections = 100
"""
)

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


@contextlib.contextmanager
def running(folder: Path, *, certfile: Path, keyfile: Path, login: str, password: str) -> Iterator[dict[str, int]]:
    """Dovecot with one mailbox, whose Maildir is folder/mail; its ports, `plain` and `tls`."""
    ports = {"plain": free_port(), "tls": free_port()}
    for name in ("cur", "new", "tmp"):
        (folder / "mail" / name).mkdir(parents=True)
    (folder / "passwd").write_text(f"{login}:{{PLAIN}}{password}\n")
    files = {"certfile": certfile, "keyfile": keyfile}
    with dovecot.running(CONFIGURATION, folder, port=ports["plain"], tls_port=ports["tls"], **files):
        wait_until(lambda: greets(ports["plain"], b"+OK"), seconds=STOP_SECONDS, what="Dovecot greets")
        yield ports
