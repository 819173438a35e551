"""The real servers as subprocesses, as an operator runs them, on a database and a VAR_DIR of their own."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
#: Seconds a server may take to answer, and to end.
START_SECONDS = 40
STOP_SECONDS = 20
#: The password of every account that a test does not give another one.
PASSWORD = "correct horse"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Ask every 50 ms until it holds; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def greets(port: int, greeting: bytes, *, tls: bool = False) -> bool:
    """Does a server on this port say `greeting` first?"""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) if tls else plain as connection,
    ):
        return connection.recv(512).startswith(greeting)
    return False


def listens(port: int) -> bool:
    """Does a server take connections on this port?"""
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    return False


@dataclass
class Server:
    """One running command of manage.py with its workers; its output goes to a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    ports: dict[str, int]

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, as an operator does, and wait; answers its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def workers(self) -> set[int]:
        """The process ids of its workers."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in listed.split()}

    def wait_for(self, answers: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Wait until `answers` holds; an AssertionError with the server's output where it ends before."""
        wait_until(lambda: self.process.poll() is not None or answers(), seconds=seconds, what=f"{self.name} answers")
        assert self.process.poll() is None, f"{self.name} ended:\n{self.log.read_text(errors='replace')}"


@dataclass
class Platform:
    """A mail platform of its own: database, VAR_DIR, certificate, and the servers started on them."""

    directory: Path
    database_url: str
    certfile: Path
    keyfile: Path
    authority: Path
    servers: list[Server] = field(default_factory=list)
    #: What its commands are run by, such as `ip netns exec NAME`, and settings that differ from those of the tests.
    prefix: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of its commands: that of the tests, with the settings of this platform."""
        ours = {
            "DATABASE_URL": self.database_url,
            "VAR_DIR": str(self.directory / "var"),
            "MAIL_HOSTNAME": "mail.maison.mrs",
            "RELAY_NAME_SERVERS": "127.0.0.1#9",  # nobody: no test sends mail into the world, nor asks for it
            "PYTHONUNBUFFERED": "1",
        }
        return os.environ | ours | self.settings | more

    def manage(self, *arguments: str | Path, stdin: bytes = b"") -> str:
        """Run a command of manage.py to its end; answers what it printed. An AssertionError where it failed."""
        run = subprocess.run(
            [*self.prefix, sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment(),
            input=stdin,
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert run.returncode == 0, f"manage.py {arguments}: {run.stdout.decode()}{run.stderr.decode()}"
        return run.stdout.decode()

    def add_account(self, name: str, *domains: str, password: str = PASSWORD) -> None:
        """Add a user with a mailbox in each domain, or in the default one."""
        options = [option for domain in domains for option in ("--domain", domain)]
        self.manage("addaccount", name, *options, "--password-stdin", stdin=password.encode() + b"\n")

    def start_pop3(self, *options: str, workers: int = 1, **environment: str) -> Server:
        """Serve POP3 on two free ports, `plain` (with STLS) and `tls`."""
        ports = {"plain": free_port(), "tls": free_port()}
        server = self.start(
            *("pop3serve", "--bind", f"127.0.0.1:{ports['plain']}", "--tls-bind", f"127.0.0.1:{ports['tls']}"),
            *("--certfile", str(self.certfile), "--keyfile", str(self.keyfile), "--workers", str(workers)),
            *options,
            ports=ports,
            **environment,
        )
        server.wait_for(lambda: greets(ports["plain"], b"+OK"))
        server.wait_for(lambda: greets(ports["tls"], b"+OK", tls=True))
        return server

    def start_smtp(self, *options: str, workers: int = 1, **environment: str) -> Server:
        """Serve mail intake on two free ports, `smtp` and `lmtp`."""
        ports = {"smtp": free_port(), "lmtp": free_port()}
        server = self.start(
            *("smtpserve", "--smtp-bind", f"127.0.0.1:{ports['smtp']}", "--lmtp-bind", f"127.0.0.1:{ports['lmtp']}"),
            *("--workers", str(workers), *options),
            ports=ports,
            **environment,
        )
        server.wait_for(lambda: greets(ports["smtp"], b"220"))
        server.wait_for(lambda: greets(ports["lmtp"], b"220"))
        return server

    def start_web(self, **environment: str) -> Server:
        """Serve the web on a free port, `http`, as the Procfile does."""
        ports = {"http": free_port()}
        command = ["-m", "gunicorn", "--bind", f"127.0.0.1:{ports['http']}", "--threads", "4", "--no-control-socket"]
        server = self._start("web", [*command, "mailplatform.wsgi"], ports, environment)
        server.wait_for(lambda: listens(ports["http"]))
        return server

    def start(self, command: str, *options: str, ports: dict[str, int], **environment: str) -> Server:
        """Run a command of manage.py that stays; the caller waits for what it needs of it."""
        return self._start(command, ["manage.py", command, *options], ports, environment)

    def _start(self, name: str, arguments: list[str], ports: dict[str, int], environment: dict[str, str]) -> Server:
        log = self.directory / f"{len(self.servers)}-{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self.prefix, sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.servers.append(Server(name, process, log, ports))
        return self.servers[-1]

    def stop(self) -> None:
        """End every server that runs."""
        for server in reversed(self.servers):
            server.stop()

    def logs(self) -> str:
        """The end of each server's output, for the report of a failed test."""
        return "\n".join(
            f"--- {server.log.name}\n{server.log.read_text(errors='replace')[-6000:]}" for server in self.servers
        )
