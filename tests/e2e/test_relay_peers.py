"""Postfix takes mail from our queue and hands it back to us over SMTP and LMTP, octet for octet; what it refuses comes
back as a notice.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailstore.wire import unstuff
from tests.e2e.database import query
from tests.e2e.postfix import Postfix, postfix
from tests.e2e.relay_kill import Sink
from tests.e2e.running import PASSWORD, Platform, Server, free_port, greets, wait_until
from tests.messages import canonical, hard_messages

pytestmark = pytest.mark.once

#: Domains of ours: whose mail Postfix brings by SMTP, whose by LMTP. And those of Postfix.
BY_SMTP, BY_LMTP, THEIRS = "smtp.example", "lmtp.example", "postfix.example"
JULES = f"jules@{BY_SMTP}"
#: Seconds a message may take through the queue, Postfix and back.
ARRIVAL = 60.0
#: Under a header that Postfix leaves as it is. It cuts lines above 998 octets, and does not take large messages here.
MESSAGES = {
    name: f"From: Jules <{JULES}>\r\nSubject: {name}\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"
    f"Message-ID: <{name}@laptop.example>\r\n\r\n".encode()
    + text
    for name, text in ((name, canonical(text)) for name, text in hard_messages().items())
    if max(len(line) for line in text.split(b"\r\n")) <= 998 and len(text) < 1_000_000
}


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("smtp", "lmtp", "submission")}


@pytest.fixture(scope="module")
def their_server(
    ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> Iterator[Postfix]:
    require_program("postfix")
    if os.getuid():
        pytest.skip("Postfix serves for root alone")
    aliases = {f"over-smtp@{THEIRS}": JULES, f"over-lmtp@{THEIRS}": f"alfred@{BY_LMTP}"}
    transports = {BY_SMTP: f"smtp:[127.0.0.1]:{ports['smtp']}", BY_LMTP: f"lmtp:inet:127.0.0.1:{ports['lmtp']}"}
    with postfix(tmp_path_factory.mktemp("postfix"), aliases=aliases, transports=transports) as running:
        yield running


@pytest.fixture(scope="module")
def server(platform: Platform, ports: dict[str, int], their_server: Postfix) -> Iterator[Server]:
    platform.manage("shell", "-c", _MAKE.format(by_smtp=BY_SMTP, by_lmtp=BY_LMTP, password=PASSWORD))
    sink = Sink()
    sink.names.records = {f"{THEIRS} MX": [f"10 {THEIRS}."], f"{THEIRS} A": ["127.0.0.1"]}
    with sink.running():
        started = platform.start(
            "smtpserve",
            *(f"--{name}-bind=127.0.0.1:{port}" for name, port in ports.items()),
            ports=ports,
            SUBMISSION_NETWORKS="127.0.0.0/8",
            RELAY_NAME_SERVERS=sink.names.address,
            RELAY_PORT=str(their_server.port),
            RELAY_IPV6="0",
        )
        started.wait_for(lambda: greets(ports["submission"], b"220"))
        yield started
        started.stop()


_MAKE = """
from accounts.services import create_account, create_domain
for domain, name in (("{by_smtp}", "jules"), ("{by_lmtp}", "alfred")):
    create_account(username=name, password="{password}", domains=[create_domain(name=domain)])
"""


def queue(platform: Platform, recipient: str, messages: dict[str, bytes], directory: Path, **more: str) -> None:
    """Put messages into the platform's queue as they are."""
    for name, message in messages.items():
        (directory / name).write_bytes(message)
    code = (
        "from pathlib import Path; from mailstore.delivery import Body; from smtpservice.queue import *\n"
        "for path in sorted(Path({folder!r}).iterdir()):\n"
        "    with Body() as body:\n"
        "        body.write(path.read_bytes()); body.finish()\n"
        "        enqueue(sender={sender!r}, recipients=[Recipient({recipient!r}, notify={notify!r})], body=body)"
    )
    notify = more.get("notify", "")
    platform.manage("shell", "-c", code.format(folder=str(directory), sender=JULES, recipient=recipient, notify=notify))


def stored(platform: Platform, address: str) -> list[bytes]:
    """The messages of a mailbox as they are kept, without stuffed dots."""
    rows = query(
        platform,
        "SELECT content.uid, content.octets FROM mailstore_content content JOIN accounts_mailbox mailbox"
        " ON mailbox.id = content.mailbox_id WHERE mailbox.address = %s ORDER BY content.uid, content.piece",
        address,
    )
    whole: dict[int, bytes] = {}
    for uid, octets in rows:
        whole[uid] = whole.get(uid, b"") + bytes(octets)
    return [b"".join(unstuff([wire])) for wire in whole.values()]


#: What we, Postfix and we again have put on top.
_TRACE = re.compile(rb"\A(?:(?:Return-Path|Delivered-To|X-Original-To|Received): .*\r\n(?:[ \t].*\r\n)*)+")


@pytest.mark.parametrize(("over", "mailbox"), [("over-smtp", JULES), ("over-lmtp", f"alfred@{BY_LMTP}")])
def test_through_postfix_and_back(
    server: Server, platform: Platform, their_server: Postfix, tmp_path: Path, over: str, mailbox: str
) -> None:
    assert len(MESSAGES) > 20
    queue(platform, f"{over}@{THEIRS}", MESSAGES, tmp_path)
    wait_until(lambda: len(stored(platform, mailbox)) >= len(MESSAGES), seconds=ARRIVAL, what="all are back")
    found = {_TRACE.sub(b"", message) for message in stored(platform, mailbox)}
    wanted = set(MESSAGES.values())
    log = their_server.log.read_text()
    assert wanted - found == set(), log[-2000:]
    assert log.count("relay=127.0.0.1[127.0.0.1]") >= len(MESSAGES)


def test_what_postfix_refuses_comes_back_as_a_notice(server: Server, platform: Platform, tmp_path: Path) -> None:
    before = len(stored(platform, JULES))
    queue(platform, f"nobody@{THEIRS}", {"one": b"Subject: to nobody\r\n\r\nhello\r\n"}, tmp_path)
    wait_until(lambda: len(stored(platform, JULES)) > before, seconds=ARRIVAL, what="the notice is there")
    notice = stored(platform, JULES)[-1]
    assert b"report-type=delivery-status" in notice
    assert b"Final-Recipient: rfc822;nobody@postfix.example\r\nAction: failed\r\nStatus: 5.1.1\r\n" in notice
    assert b"Remote-MTA: dns; postfix.example\r\n" in notice
    assert b"Subject: to nobody" in notice


def test_rfc_3461_postfix_tells_of_success_where_it_is_asked_to(
    server: Server, platform: Platform, tmp_path: Path
) -> None:
    """NOTIFY reaches Postfix, which passes the message on to us, who know no DSN, and says so to the sender."""
    before = len(stored(platform, JULES))
    queue(platform, f"over-lmtp@{THEIRS}", {"one": b"Subject: told\r\n\r\nhello\r\n"}, tmp_path, notify="SUCCESS")
    wait_until(lambda: len(stored(platform, JULES)) > before, seconds=ARRIVAL, what="Postfix has told it")
    notice = stored(platform, JULES)[-1]
    assert b"multipart/report" in notice
    assert re.search(rb"Action: (relayed|delivered|expanded)", notice)
