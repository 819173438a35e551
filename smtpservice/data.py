"""The end of a message's data and its dot-stuffing (RFC 5321, 4.5.2), as a pure function of the octets.

Only <CRLF>.<CRLF> ends the data. A line begins after CRLF and nowhere else: what stands around a bare CR or a bare LF
is content, dots included, so no other server's idea of a line end lets a second message be smuggled into the first
(CVE-2023-51764 and its kin).
"""

import re

END = b"\r\n.\r\n"
#: A line that begins with a dot, the end's too. A pattern finds that there is none in half the time that bytes.replace
#: takes, and an attachment in base64 has no dot at all.
_DOT = re.compile(rb"\r\n\.")


class DataReader:
    """Takes what comes after 354, in chunks of any size; gives the content without the stuffed dots.

    Once `ended`, `rest` holds what followed the end of data: the next commands.
    """

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self._held = b"\r\n"  # may be a part of END; data begins like a line
        self._before = 2  # octets of what is held that are not of the message

    def feed(self, chunk: bytes) -> bytes:
        """The content that is certain now; it ends in CRLF when the data has ended."""
        text = self._held + chunk
        first = _DOT.search(text) if b"." in text else None
        end = text.find(END, first.start()) if first else -1
        dotted = first is not None and first.start() != end
        if end >= 0:
            self.ended = True
            self._held, self.rest = b"", text[end + len(END) :]
            return self._content(text[: end + 2], dotted)
        keep = _begun(text)
        self._held = text[len(text) - keep :]
        return self._content(text[: len(text) - keep], dotted)

    def _content(self, text: bytes, dotted: bool) -> bytes:
        """`text` does not end between a line's end and its stuffed dot; there is none where it is not `dotted`."""
        if not text:
            return b""
        before, self._before = self._before, 0
        return (text.replace(b"\r\n.", b"\r\n") if dotted else text)[before:]


def _begun(text: bytes) -> int:
    """How many octets at the end of `text` may be the beginning of END."""
    for length in range(len(END) - 1, 0, -1):
        if text.endswith(END[:length]):
            return length
    return 0
