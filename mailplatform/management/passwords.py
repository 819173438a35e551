"""How commands are given a password: from standard input, or typed; never as an argument, which everybody can read."""

import getpass
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser


def add_password_option(parser: CommandParser) -> None:
    parser.add_argument("--password-stdin", action="store_true", help="read the password from one line of stdin")


def read_password(options: dict[str, Any], prompt: str, *, twice: bool = False) -> str:
    """The password; a new one is typed twice. Raises CommandError."""
    try:
        password = sys.stdin.readline().rstrip("\r\n") if options["password_stdin"] else _ask(prompt, twice=twice)
        password.encode()
    except UnicodeError as error:
        raise CommandError("the password is not text in UTF-8") from error
    except EOFError as error:
        raise CommandError("no password was typed: pipe it in with --password-stdin") from error
    except KeyboardInterrupt as error:
        raise CommandError("interrupted; nothing was done", returncode=130) from error
    if not password:
        raise CommandError("the password is empty")
    return password


def _ask(prompt: str, *, twice: bool) -> str:
    password = getpass.getpass(prompt)
    if twice and getpass.getpass("Again: ") != password:
        raise CommandError("the two passwords differ")
    return password
