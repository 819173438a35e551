"""The mail that every measured server holds, made the same way each time.

Mailbox 1..MAILBOXES holds messages 1..MESSAGES, each of exactly OCTETS octets with CRLF line ends, each different
from all others, with lines that begin with a dot, so that a server that stuffs wrongly is found out.
"""

import random

MAILBOXES = 100
MESSAGES = 100
OCTETS = 10_000
DOMAIN = "bench.test"
PASSWORD = "correct horse battery"

_LINES_BETWEEN_DOTS = 25


def login(mailbox: int) -> str:
    """The login name, which is the address, of a mailbox."""
    return f"user{mailbox}@{DOMAIN}"


def message(mailbox: int, number: int) -> bytes:
    """The message as it was sent: CRLF line ends, no dot stuffed."""
    letters = random.Random(mailbox * 1_000_003 + number)
    head = (
        f"From: sender@example.org\r\nTo: {login(mailbox)}\r\nSubject: Message {number} of mailbox {mailbox}\r\n"
        f"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{mailbox}.{number}@example.org>\r\n\r\n"
    ).encode()
    lines = [head]
    room = OCTETS - len(head)
    while room:
        take = 78 if room >= 80 + 2 else room - 2 if room <= 80 else 40  # never leave room for half a line end
        line = letters.randbytes(take // 2 + 1).hex()[:take].encode()
        if len(lines) % _LINES_BETWEEN_DOTS == 0:
            line = b"." + line[1:]
        lines.append(line + b"\r\n")
        room -= take + 2
    return b"".join(lines)


def reply_body(sent: bytes) -> bytes:
    """What a correct reply to RETR holds after its first line: dots stuffed, then the terminator (RFC 1939, 3)."""
    return sent.replace(b"\r\n.", b"\r\n..") + b".\r\n"
