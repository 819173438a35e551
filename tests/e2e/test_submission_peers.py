"""Mail programs of other people submit: by STARTTLS and on the port with TLS, with every way to log in, and what they
are told when something is wrong. What they send is read back by POP3 or found in the queue.
"""

import poplib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import MakePlatform
from tests.e2e.running import PASSWORD, Platform, Server, free_port, greets

pytestmark = pytest.mark.once

DOMAIN = "maison.mrs"
JULES, ALFRED, OUTSIDE = f"jules@{DOMAIN}", f"alfred@{DOMAIN}", "friend@elsewhere.example"
MESSAGE = b"Subject: Bread\n\nFor Sunday, please.\n"


@pytest.fixture(scope="module")
def platform(make_platform: MakePlatform) -> Iterator[Platform]:
    made = make_platform()
    make = (
        "from accounts.services import *; domain = create_domain(name={0!r});"
        "[create_account(username=name, password={1!r}) for name in ('jules', 'alfred')];"
        "create_alias(domain=domain, local_part='bakery', targets='jules@{0}')"
    )
    made.manage("shell", "-c", make.format(DOMAIN, PASSWORD))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(platform: Platform) -> Server:
    ports = {"smtp": free_port(), "submission": free_port(), "submission-tls": free_port()}
    binds = [option for name, port in ports.items() for option in (f"--{name}-bind", f"127.0.0.1:{port}")]
    certificate = ("--certfile", str(platform.certfile), "--keyfile", str(platform.keyfile))
    # Passwords are taken over TLS alone, as from elsewhere.
    started = platform.start(
        "smtpserve", "--no-relay", *binds, *certificate, ports=ports, PLAINTEXT_NETWORKS="192.0.2.0/24"
    )
    started.wait_for(lambda: greets(ports["submission-tls"], b"220", tls=True))
    return started


@pytest.fixture(scope="module")
def pop3(platform: Platform) -> Server:
    return platform.start_pop3()


def run(*command: str, stdin: bytes = b"") -> tuple[int, str]:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def swaks(server: Server, *options: str, sender: str = JULES, to: str = ALFRED) -> tuple[int, str]:
    where = ("--server", "127.0.0.1", "--port", str(server.ports["submission"]))
    return run("swaks", *where, "--from", sender, "--to", to, "--body", "From swaks.", *options)


def login(mechanism: str, password: str = PASSWORD) -> tuple[str, ...]:
    return ("-tls", "--auth", mechanism, "--auth-user", JULES, "--auth-password", password)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in_by_starttls(mechanism: str, server: Server, require_program: Callable[[str], str]) -> None:
    require_program("swaks")
    code, said = swaks(server, *login(mechanism), to=f"{ALFRED},{OUTSIDE}")
    assert code == 0, said
    assert "250 2.0.0 Stored as" in said


def test_swaks_on_the_port_with_tls_and_by_chunks_of_its_own_alias(
    server: Server, require_program: Callable[[str], str]
) -> None:
    require_program("swaks")
    options = ("--tls-on-connect", "--port", str(server.ports["submission-tls"]), *login("PLAIN")[1:])
    code, said = swaks(server, *options, sender=f"bakery@{DOMAIN}")
    assert code == 0, said


@pytest.mark.parametrize(
    ("options", "sender", "said"),
    [
        (login("PLAIN", "wrong"), JULES, "535 5.7.8"),
        (login("PLAIN"), ALFRED, "550 5.7.1"),
        (login("PLAIN"), "jules@elsewhere.example", "550 5.7.1"),
        ((*login("PLAIN"), "--header", f"From: {ALFRED}"), JULES, "550 5.7.1"),
        (("-tls",), JULES, "530 5.7.0"),
        ((), JULES, "530 5.7.0"),
    ],
)
def test_swaks_is_told_what_is_wrong(
    options: tuple[str, ...], sender: str, said: str, server: Server, require_program: Callable[[str], str]
) -> None:
    require_program("swaks")
    code, heard = swaks(server, *options, sender=sender)
    assert code != 0
    assert said in heard
    assert "250 2.0.0 Stored" not in heard


def test_without_tls_no_login_is_offered_and_port_25_knows_none(
    server: Server, require_program: Callable[[str], str]
) -> None:
    require_program("swaks")
    port25 = ("--port", str(server.ports["smtp"]))
    for options in (login("PLAIN")[1:], (*login("PLAIN"), *port25)):
        code, said = swaks(server, *options, to=OUTSIDE)
        assert code != 0
        assert " 235 " not in said
    code, said = swaks(server, *port25, to=OUTSIDE)
    assert code != 0
    assert "550 5.7.1" in said


def msmtp(platform: Platform, server: Server, *options: str, password: str = PASSWORD) -> tuple[int, str]:
    login = (f"--user={JULES}", f"--passwordeval=echo {password}", f"--from={JULES}")
    tls = ("--tls=on", f"--tls-trust-file={platform.authority}", "--host=localhost")
    return run("msmtp", "-C", "/dev/null", *tls, *login, *options, "--", ALFRED, OUTSIDE, stdin=MESSAGE)


@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-1", "scram-sha-256"])
def test_msmtp_logs_in_by_every_mechanism_that_it_knows(
    mechanism: str, platform: Platform, server: Server, require_program: Callable[[str], str]
) -> None:
    require_program("msmtp")
    _, known = run("msmtp", "--version")
    assert mechanism in known
    code, said = msmtp(platform, server, f"--port={server.ports['submission']}", f"--auth={mechanism}")
    assert code == 0, said


def test_msmtp_on_the_port_with_tls_and_with_a_wrong_password(
    platform: Platform, server: Server, require_program: Callable[[str], str]
) -> None:
    require_program("msmtp")
    port = f"--port={server.ports['submission-tls']}"
    code, said = msmtp(platform, server, port, "--tls-starttls=off", "--auth=on")
    assert code == 0, said
    code, said = msmtp(platform, server, port, "--tls-starttls=off", "--auth=on", password="wrong")
    assert code != 0
    assert "535 5.7.8" in said


def test_what_was_submitted_is_there_with_all_that_it_lacked(platform: Platform, server: Server, pop3: Server) -> None:
    """The last one: it reads what those before it have sent."""
    client = poplib.POP3("127.0.0.1", pop3.ports["plain"], timeout=30)
    client.user(ALFRED)
    client.pass_(PASSWORD)
    messages = [b"\n".join(client.retr(number)[1]) for number in range(1, client.stat()[0] + 1)]
    client.quit()
    assert len(messages) == 8
    for message in messages:
        header = message.partition(b"\n\n")[0]
        assert header.count(b"\nDate: ") == header.count(b"\nMessage-I") == header.count(b"\nFrom: ") == 1
        assert b"with ESMTPSA id" in header
    count = "from smtpservice.models import *; print(QueuedRecipient.objects.filter(address={!r}).count())"
    assert platform.manage("shell", "--verbosity", "0", "-c", count.format(OUTSIDE)).split()[-1] == "7"
