"""POP3 clients that people use, each behind one function: log in, fetch all there is, keep or delete it, quit.

`fetch` answers the messages in the server's order, as the client wrote them. Each client is run with the options that
make it change as little as it can. Where it changes something all the same, `as_written` says what it makes of a
message, and `carries` which messages it spoils by itself, whatever the server. All else has to be there to the byte.
"""

import email
import os
import poplib
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path

#: Seconds one client may take.
CLIENT_SECONDS = 60
CRLF = b"\r\n"


@dataclass(frozen=True)
class Account:
    """Where to log in, and as whom.

    With `authority`, the file of a certificate, by TLS: from the first octet, or after STLS where `stls` says so, which
    curl, fetchmail and mpop can be made to insist on.
    """

    port: int
    login: str
    password: str
    authority: Path | None = None
    stls: bool = False

    @property
    def implicit_tls(self) -> bool:
        return self.authority is not None and not self.stls


@dataclass(frozen=True)
class Client:
    """A client: the program it needs, how it fetches into a home directory and keeps or deletes, what it changes."""

    program: str
    fetch: Callable[[Account, Path, bool], list[bytes]]
    as_written: Callable[[bytes], bytes] = bytes
    carries: Callable[[bytes], bool] = lambda message: True


def _run(command: list[str | Path], home: Path, *, stdin: bytes = b"") -> bytes:
    """Run a client with `home` as its home, so that no configuration of the machine's user gets in."""
    run = subprocess.run(
        command,
        env=os.environ | {"HOME": str(home), "FETCHMAILHOME": str(home)},
        input=stdin,
        capture_output=True,
        timeout=CLIENT_SECONDS,
        check=False,
    )
    assert run.returncode == 0, f"{command}: exit code {run.returncode}\n{run.stdout[-3000:]!r}\n{run.stderr[-3000:]!r}"
    return run.stdout


def _config(path: Path, text: str) -> Path:
    path.touch(mode=0o600)  # holds a password: the clients refuse a file that others may read
    path.write_text(text)
    return path


def _crlf(written: list[Path]) -> list[bytes]:
    """Files of a client that ends lines as Unix does. Nothing else can end a line in what a POP3 server sends."""
    return [path.read_bytes().replace(b"\n", CRLF) for path in sorted(written)]


_MDA = """#!/bin/sh
read -r n < {home}/count
echo $((n + 1)) > {home}/count
"""
_TAKE = "exec cat > {home}/$n.msg\n"
# getmail waits a minute for a program that ends before it has begun to wait: it is not waiting while it runs.
_TAKE_SLOWLY = """cat > {home}/$n.msg
until grep -q '^State:.*sleeping' /proc/$PPID/status; do :; done
"""


def _mda(home: Path, take: str = _TAKE) -> Path:
    """A program that clients hand a message to, one by one: it writes them to numbered files."""
    (home / "count").write_text("10000\n")
    script = home / "mda"
    script.write_text((_MDA + take).format(home=home))
    script.chmod(0o700)
    return script


def _curl(account: Account, home: Path, keep: bool) -> list[bytes]:
    """curl numbers the messages itself: first LIST, then one URL for each message, then DELE for each."""
    scheme = "pop3s" if account.implicit_tls else "pop3"
    url = f"{scheme}://localhost:{account.port}/"
    config = f'user = "{account.login}:{account.password}"\nsilent\nshow-error\nfail\nipv4\n'
    if account.authority:
        config += f'cacert = "{account.authority}"\nssl-reqd\n'
    curl: list[str | Path] = ["curl", "--disable", "--config", _config(home / "curl", config)]
    count = len(_run([*curl, url], home).splitlines())
    _run([*curl, f"{url}[1-{count}]", "--output", home / "#1.eml"], home)
    if not keep:
        _run([*curl, "--list-only", "--request", "DELE", f"{url}[1-{count}]"], home)
    return [(home / f"{number}.eml").read_bytes() for number in range(1, count + 1)]


def _fetchmail(account: Account, home: Path, keep: bool) -> list[bytes]:
    # A version without `ssl` is STLS, and nothing without it.
    how = 'sslproto "tls1.2+"' if account.stls else "ssl"
    tls = f'{how} sslcertck sslcertfile "{account.authority}"' if account.authority else 'sslproto ""'
    config = f"""
        set invisible
        poll localhost protocol pop3 service {account.port} bad-header accept
            user "{account.login}" password "{account.password}" {tls} mda "{_mda(home)}"
            {"keep" if keep else "no keep"} fetchall no rewrite no mimedecode no dropstatus no dropdelivered
    """
    # Run by root it takes a lock for the whole machine, unless it is told where.
    lock = ["--pidfile", home / "fetchmail.pid"]
    _run(["fetchmail", "--fetchmailrc", _config(home / "fetchmailrc", config), "--nosyslog", *lock], home)
    return _crlf(list(home.glob("*.msg")))


def _fetchmail_carries(message: bytes) -> bool:
    """Read in fetchmail 6.4's transact.c, and seen with any server."""
    header = message.partition(CRLF + CRLF)[0]
    return (
        max(map(len, message.split(CRLF))) < 8000  # a longer line is cut up, with octets of its buffer in between
        and not message.startswith(CRLF)  # a message without a header gets one
        and b"\0" not in header  # dropped
        and CRLF + b"From " not in CRLF + header  # mbox's line is dropped
        and CRLF + b"." not in header  # the dot that the server adds stays
    )


def _getmail(account: Account, home: Path, keep: bool) -> list[bytes]:
    tls = f"ca_certs = {account.authority}" if account.authority else ""
    config = f"""
[retriever]
type = SimplePOP3{"SSL" if account.authority else ""}Retriever
server = localhost
port = {account.port}
username = {account.login}
password = {account.password}
{tls}
[destination]
type = MDA_external
path = {_mda(home, _TAKE_SLOWLY)}
allow_root_commands = true
[options]
read_all = true
delete = {str(not keep).lower()}
delivered_to = false
received = false
verbose = 0
"""
    _run(["getmail", f"--getmaildir={home}", f"--rcfile={_config(home / 'getmailrc', config)}"], home)
    return _crlf(list(home.glob("*.msg")))


def _as_getmail_writes(message: bytes) -> bytes:
    """getmail reads a message with Python's email package and writes what that makes of it, under a Return-Path."""
    parsed = email.message_from_bytes(message.replace(CRLF, b"\n"))
    sender = parseaddr(parsed["Return-Path"] or parsed["Sender"] or "unknown")[1]
    del parsed["Return-Path"]
    written = f"Return-Path: <{sender}>\n".encode() + parsed.as_bytes()
    return written.replace(b"\n", CRLF)


def _mpop(account: Account, home: Path, keep: bool) -> list[bytes]:
    how = f"tls on\ntls_starttls {'on' if account.stls else 'off'}"
    tls = f"{how}\ntls_trust_file {account.authority}" if account.authority else "tls off"
    config = f"""
account default
host localhost
port {account.port}
user {account.login}
password {account.password}
auth user
{tls}
delivery mda {_mda(home)}
uidls_file {home}/uidls
received_header off
only_new off
keep {"on" if keep else "off"}
"""
    _run(["mpop", "--quiet", f"--file={_config(home / 'mpoprc', config)}"], home)
    return _crlf(list(home.glob("*.msg")))


def _poplib(account: Account, _home: Path, keep: bool) -> list[bytes]:
    if account.authority:
        trusting = ssl.create_default_context(cafile=str(account.authority))
        box: poplib.POP3 = poplib.POP3_SSL("localhost", account.port, context=trusting, timeout=CLIENT_SECONDS)
    else:
        box = poplib.POP3("localhost", account.port, timeout=CLIENT_SECONDS)
    box.user(account.login)
    box.pass_(account.password)
    numbers = [int(line.split()[0]) for line in box.list()[1]]
    fetched = [b"".join(line + CRLF for line in box.retr(number)[1]) for number in numbers]
    if not keep:
        for number in numbers:
            box.dele(number)
    box.quit()
    return fetched


_PERL = r"""
use strict; use warnings; use Net::POP3;
my ($port, $login, $password, $home, $keep, $authority) = @ARGV;
my @tls = $authority ? (SSL => 1, SSL_ca_file => $authority) : ();
my $box = Net::POP3->new("localhost", Port => $port, Timeout => 60, @tls) or die "connect: $@";
defined $box->login($login, $password) or die "login: " . $box->message;
my $list = $box->list;
for my $number (sort { $a <=> $b } keys %$list) {
    open my $file, ">:raw", sprintf("%s/%05d.msg", $home, $number) or die $!;
    $box->get($number, $file) or die "get $number: " . $box->message;
    close $file or die $!;
    $keep or $box->delete($number) or die "delete $number: " . $box->message;
}
$box->quit or die "quit: " . $box->message;
"""


def _net_pop3(account: Account, home: Path, keep: bool) -> list[bytes]:
    options = (str(account.port), account.login, account.password, home, "1" if keep else "", account.authority or "")
    _run(["perl", "-", *options], home, stdin=_PERL.encode())
    written = sorted(home.glob("*.msg"))
    # In the clear its lines end as Unix's do; by TLS they keep their CRLF (IO::Socket::SSL reads them, not Net::Cmd).
    return [path.read_bytes() for path in written] if account.authority else _crlf(written)


CLIENTS = {
    "curl": Client("curl", _curl),
    "fetchmail": Client("fetchmail", _fetchmail, carries=_fetchmail_carries),
    "getmail": Client("getmail", _getmail, _as_getmail_writes),
    "mpop": Client("mpop", _mpop),
    "poplib": Client("python3", _poplib),
    "net-pop3": Client("perl", _net_pop3),
}
