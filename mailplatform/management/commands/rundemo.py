"""`rundemo`, behind `make run`: the whole platform on this machine, with accounts and mail to try.

The processes are those of the Procfile, run by honcho. This command makes what they need, waits until they answer,
has the first letters sent, and says on the screen how to log in.
"""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mailplatform import demo
from mailplatform.certificate import kept_certificate

HOST = "127.0.0.1"
#: What is served -> its port. The option is called after it, and the Procfile's variable: --web-port, WEB_PORT.
PORTS = {"web": 8000, "pop3": 1110, "pop3s": 1995, "smtp": 1025, "lmtp": 1024, "submission": 1587}
#: Seconds the servers may take until they answer, and until they have ended.
START_SECONDS = 60
STOP_SECONDS = 20


class Command(BaseCommand):
    help = "Run the whole platform on this machine, with demo accounts and mail to try; Ctrl-C ends it."

    def add_arguments(self, parser: CommandParser) -> None:
        for name, port in PORTS.items():
            parser.add_argument(f"--{name}-port", type=int, default=port, metavar="PORT", help=f"default: {port}")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _interrupt)
        with suppress(KeyboardInterrupt):
            self._run({name: options[f"{name}_port"] for name in PORTS})

    def _run(self, ports: dict[str, int]) -> None:
        for name, port in ports.items():
            _refuse_taken(name, port)
        call_command("migrate", verbosity=0, interactive=False)
        directory = settings.VAR_DIR / "demo"
        directory.mkdir(mode=0o700, exist_ok=True)
        passwords = demo.kept_passwords(directory / "passwords.json")
        demo.create_demo(passwords=passwords)
        certfile, _ = kept_certificate(directory)
        with _running(ports) as servers:
            _wait_for(servers, ports)
            self._send_letters_once(ports["smtp"])
            self.stdout.write(_screen(ports, passwords, certfile))
            self.stdout.flush()
            servers.wait()
        raise CommandError("A server ended by itself, so the others were ended too; the lines above say why.")

    def _send_letters_once(self, port: int) -> None:
        if demo.letters_were_sent():
            return
        try:
            demo.send_letters(port=port)
        except OSError as error:  # smtplib's errors are such too
            self.stderr.write(f"The letters of the demo were not sent: {error}")


def _refuse_taken(name: str, port: int) -> None:
    """Say which port is taken before anything is started. Raises CommandError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror
            raise CommandError(
                f"Port {port} ({name}) cannot be served: {reason}.\n"
                f"End what runs there, or choose another port: make run ARGS='--{name}-port {port + 10000}'"
            ) from error


@contextmanager
def _running(ports: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """honcho with the processes of the Procfile; they end with the block."""
    beside_us = str(Path(sys.executable).parent)  # gunicorn and python of the same .venv
    environment = os.environ | {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
    environment |= {"PATH": os.pathsep.join([beside_us, os.environ.get("PATH", os.defpath)])}
    environment |= {"VAR_DIR": str(settings.VAR_DIR)}
    # The settings read .env themselves; honcho would let it win over the environment.
    command = [sys.executable, "-m", "honcho", "--env", os.devnull, "start"]
    servers = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment)
    try:
        yield servers
    finally:
        servers.terminate()  # no harm where Ctrl-C has told them too
        servers.wait(STOP_SECONDS)


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    """An end by SIGTERM is one by Ctrl-C."""
    raise KeyboardInterrupt


def _wait_for(servers: subprocess.Popen[bytes], ports: dict[str, int]) -> None:
    """Wait until every port takes connections. Raises CommandError."""
    deadline = time.monotonic() + START_SECONDS
    for name, port in ports.items():
        while not _answers(port):
            if servers.poll() is not None:
                raise CommandError("The servers did not start; the lines above say why.")
            if time.monotonic() > deadline:
                raise CommandError(f"Port {port} ({name}) did not answer within {START_SECONDS} seconds.")
            time.sleep(0.1)


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _screen(ports: dict[str, int], passwords: dict[str, str], certfile: Path) -> str:
    """What a newcomer reads: where things are, how to log in, and three commands to paste."""
    admin = demo.admin_login(passwords)
    logins = [(login.name, login.password or "(changed)") for login in demo.mail_logins(passwords)]
    name, password = logins[-1]
    lines = [
        "",
        f"Mailplatform is running. Ctrl-C ends it; what it holds stays in {settings.VAR_DIR}.",
        "",
        f"  Admin   http://{HOST}:{ports['web']}/admin/   login {admin.name}, password {admin.password or '(changed)'}",
        f"  POP3    {HOST}:{ports['pop3']} (STLS), localhost:{ports['pop3s']} (TLS; certificate {certfile})",
        f"  SMTP    {HOST}:{ports['smtp']}          LMTP    {HOST}:{ports['lmtp']}",
        f"  Submission   {HOST}:{ports['submission']} (STARTTLS; login as for POP3)",
        "",
        "  Mailbox, which is the login   Password",
        *(f"  {login:<28}  {shown}" for login, shown in logins),
        "",
        "Three commands to try in another terminal: list a mailbox, write to it, read the newest message by TLS.",
        "",
        f"  curl --user {name}:{password} pop3://{HOST}:{ports['pop3']}",
        "",
        f"  printf 'Subject: Hello\\r\\n\\r\\nIt works.\\r\\n' | curl smtp://{HOST}:{ports['smtp']}"
        f" --mail-from {logins[0][0]} --mail-rcpt {name} --upload-file -",
        "",
        f"""  python3 -c "import poplib, ssl; box = poplib.POP3_SSL('localhost', {ports["pop3s"]}, """
        f"""context=ssl.create_default_context(cafile='{certfile}')); """
        f"""box.user('{name}'); box.pass_('{password}'); """
        f"""print(*(line.decode() for line in box.retr(box.stat()[0])[1]), sep='\\n'); box.quit()\"""",
        "",
    ]
    return "\n".join(lines)
