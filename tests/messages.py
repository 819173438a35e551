"""Messages for tests: the project's own hard cases, and the files of CPython's email tests where they are installed.

Each is as it lies in a file: any line ends, any octets. What RETR makes of one is `canonical(message)`. All are made
by code, so that no editor and no checkout can change an octet of them.
"""

import random
import re
from importlib import resources

CRLF = b"\r\n"
_ENDS = re.compile(rb"\r\n|\r|\n")


def canonical(message: bytes) -> bytes:
    """What a POP3 client gets of `message`, dots unstuffed; defined apart from the code under test."""
    text = _ENDS.sub(CRLF, message)
    if text and not text.endswith(CRLF):
        text += CRLF
    if not text.startswith(CRLF) and CRLF + CRLF not in text:
        text += CRLF
    return text


def retrieved(message: bytes) -> bytes:
    """What a client gets of `message` that did not say UTF8 (RFC 6856): another one where its header holds UTF-8."""
    return canonical(message).replace(
        "X-Name: Zoë Müller <zoë@maison.mrs>".encode(),
        b"X-Name: =?utf-8?b?Wm/DqyBNw7xsbGVyIDx6b8OrQG1haXNvbi5tcnM+?=",
    )


def hard_messages() -> dict[str, bytes]:
    """Name -> message: what POP3 servers and clients got wrong, one difficulty each. Always the same octets."""
    made = {**_dots(), **_line_ends(), **_octets(), **_headers(), **_structures()}
    return {name: made[name] for name in sorted(made)}


def cpython_messages() -> dict[str, bytes]:
    """Name -> message: the `msg_*.txt` of CPython's own email tests; empty where Python comes without them."""
    try:
        folder = resources.files("test.test_email") / "data"
        files = [file for file in folder.iterdir() if file.name.startswith("msg_") and file.name.endswith(".txt")]
    except (ImportError, OSError):
        return {}
    return {file.name.removesuffix(".txt"): file.read_bytes() for file in sorted(files, key=lambda file: file.name)}


def all_messages() -> dict[str, bytes]:
    """Both of the above."""
    return hard_messages() | cpython_messages()


def _message(name: str, *body: bytes, end: bytes = CRLF, header: tuple[bytes, ...] = ()) -> bytes:
    """A message with an ordinary header and the lines of `body`."""
    lines = [
        b"From: Jules <jules@jules.maison.mrs>",
        b"To: Alfred <alfred@alfred.maison.mrs>",
        b"Subject: " + name.encode("ascii"),
        b"Date: Mon, 02 Nov 2026 10:20:30 +0100",
        b"Message-ID: <" + name.encode("ascii") + b"@jules.maison.mrs>",
        *header,
        b"",
        *body,
    ]
    return end.join(lines) + end


def _dots() -> dict[str, bytes]:
    """Lines that begin with a dot, where a server has to add one (RFC 1939, 3)."""
    name = "dot-"
    return {
        name + "first-octet": b".From: jules@jules.maison.mrs\r\nSubject: a dot before all\r\n\r\ntext\r\n",
        name + "alone": b".",
        name + "first-in-body": _message(name + "first-in-body", b".first", b"second"),
        name + "terminator": _message(name + "terminator", b"before", b".", b"after"),
        name + "lines": _message(name + "lines", *(b"." * length for length in range(1, 80))),
        name + "last-line": _message(name + "last-line", b"the end", b"."),
        name + "last-line-no-end": _message(name + "last-line-no-end", b"the end") + b".",
        name + "after-bare-lf": _message(name + "after-bare-lf", b"one\n.two\n.\n..three", b"four"),
        name + "after-bare-cr": _message(name + "after-bare-cr", b"one\r.two\r.\r..three", b"four"),
        name + "after-empty-line": _message(name + "after-empty-line", b"", b".", b"", b".."),
        name + "in-header": _message(name + "in-header", b"text", header=(b".X-Odd: a name with a dot", b"X-Even: 1")),
        name + "every-line": _message(name + "every-line", *([b".x"] * 5000)),
    }


def _line_ends() -> dict[str, bytes]:
    """Line ends of every kind, missing ones, and more than enough."""
    name = "end-"
    text = (b"first", b"", b"last")
    return {
        name + "lf": _message(name + "lf", *text, end=b"\n"),
        name + "cr": _message(name + "cr", *text, end=b"\r"),
        name + "mixed": _message(name + "mixed", b"crlf", b"lf\ncr\rlf lf\n\ncr cr\r\rlf cr\n\rcr crlf\r\r\nthe end"),
        name + "header-lf-body-crlf": _message(name + "header-lf-body-crlf", end=b"\n") + b"one\r\ntwo\r\n",
        name + "none": _message(name + "none", *text).removesuffix(CRLF),
        name + "in-cr": _message(name + "in-cr", *text).removesuffix(b"\n"),
        name + "in-lf": _message(name + "in-lf", *text).removesuffix(CRLF) + b"\n",
        name + "in-two-cr": _message(name + "in-two-cr", *text).removesuffix(CRLF) + b"\r\r",
        name + "empty-lines": _message(name + "empty-lines", b"text", *([b""] * 20)),
        name + "empty-lines-only": b"\r\n" * 5,
        name + "blanks": _message(name + "blanks", b"trailing blank ", b"tab\t", b" ", b"\t", b"-- ", b"Jules"),
    }


def _octets() -> dict[str, bytes]:
    """Octets that are no text, and very many of them."""
    name = "octets-"
    noise = random.Random(1939).randbytes(100_000)
    return {
        name + "all": _message(name + "all", bytes(range(256))),
        name + "nul": _message(name + "nul", b"before\0after", b"\0", b"\0\0.\0"),
        name + "noise": _message(name + "noise", noise),
        name + "latin-1": _message(name + "latin-1", "Ça déborde à Noël".encode("latin-1")),
        name + "utf-8": _message(name + "utf-8", "Ça déborde à Noël, 日本語, 🐟".encode()),
        name + "line-998": _message(name + "line-998", b"x" * 998, b"." * 998),
        name + "line-100k": _message(name + "line-100k", b"x" * 100_000, b"short", b"." * 100_000),
        name + "many-lines": _message(name + "many-lines", *(b"%d" % number for number in range(30_000))),
        name + "2-mib": _message(name + "2-mib", *([b".quoted " + b"0123456789" * 7] * 27_000)),
    }


def _headers() -> dict[str, bytes]:
    """Headers that are odd, missing, all there is, or huge."""
    name = "header-"
    recipients = b",\r\n\t".join(b"member%05d@alfred.maison.mrs" % number for number in range(5000))
    return {
        name + "empty-message": b"",
        name + "only": _message(name + "only").removesuffix(CRLF),
        name + "only-no-end": _message(name + "only-no-end").removesuffix(CRLF + CRLF),
        name + "none": b"\r\nNo header at all.\r\n",
        name + "no-body": _message(name + "no-body"),
        name + "no-name": b"This is text, not a header.\r\nStill text.\r\n\r\nAnd a second paragraph.\r\n",
        name + "huge": _message(name + "huge", b"text", header=(b"Cc: " + recipients,)),
        name + "long-line": _message(name + "long-line", b"text", header=(b"X-Long: " + b"y" * 70_000,)),
        name + "utf-8": _message(name + "utf-8", b"text", header=("X-Name: Zoë Müller <zoë@maison.mrs>".encode(),)),
        name + "latin-1": _message(name + "latin-1", b"text", header=(b"X-Name: Zo\xeb M\xfcller",)),
        name + "nul": _message(name + "nul", b"text", header=(b"X-Nul: a\0b",)),
        name + "folded-blank": _message(name + "folded-blank", b"text", header=(b"X-Folded: a", b" ", b"\tb")),
        name + "twice": _message(name + "twice", b"text", header=(b"Subject: another", b"Date: yesterday")),
        name + "mbox-lines": _message(name + "mbox-lines", b"", b"From now on", b">From then", b"", b">>From there"),
        name + "from-line": b"From jules Mon Nov  2 10:20:30 2026\n" + _message(name + "from-line", b"x", end=b"\n"),
        name + "encoded": _message(
            name + "encoded", b"text", header=(b"X-A: =?utf-8?q?caf=C3=A9?= =?no-such?x?=3F?=", b"X-B: =?utf-8?b?!!!?=")
        ),
    }


def _structures() -> dict[str, bytes]:
    """Messages in messages, whose inner octets are signed or have dots of their own."""
    name = "mime-"
    inner = _message(name + "inner", b".", b"..", b"inner text")
    mixed = (b"MIME-Version: 1.0", b"Content-Type: multipart/mixed; boundary=b")
    signed = (
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="s"',
    )
    binary = (b"Content-Type: application/octet-stream", b"Content-Transfer-Encoding: binary")
    return {
        name + "rfc822": _message(
            name + "rfc822",
            b"--b",
            b"Content-Type: message/rfc822",
            b"",
            inner.removesuffix(CRLF),
            b"--b--",
            header=mixed,
        ),
        name + "signed": _message(
            name + "signed",
            b"This is an S/MIME signed message",
            b"",
            b"--s",
            b"Content-Type: text/plain; charset=utf-8",
            b"Content-Transfer-Encoding: 8bit",
            b"",
            "Signé: every octet counts, these too:   ".encode(),
            b".",
            b"--s",
            b"Content-Type: application/pkcs7-signature; name=smime.p7s",
            b"Content-Transfer-Encoding: base64",
            b"",
            b"MIIGygYJKoZIhvcNAQcCoIIGuzCCBrcCAQExDzANBglghkgBZQMEAgEFADALBgkq",
            b"--s--",
            header=signed,
        ),
        name + "binary": _message(name + "binary", bytes(range(255, -1, -1)) * 40, header=binary),
        name + "boundary-like-dots": _message(
            name + "boundary-like-dots", b"--.", b"", b".", b"--.--", b".", header=(mixed[0], mixed[1][:-1] + b"'.'")
        ),
        name + "preamble-only": _message(name + "preamble-only", b"no part follows", header=mixed),
    }
