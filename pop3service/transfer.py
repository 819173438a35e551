"""A message on its way to the client, piece by piece: what RETR and TOP send of its wire form.

The wire form is stored ready to be sent, with CRLF line ends and dots stuffed, so nothing is computed here but where
TOP stops. The next piece is asked for when the one before has been taken, so that no message is ever whole in memory.
"""

from collections.abc import Callable

from pop3service.states import Code, IfRefused, ReadPiece, Refusal, Step
from pop3service.words import _

#: Ends a multi-line reply (RFC 1939, 3). Goes out with the octets before it: a client that looks for it at the
#: end of what it has received must not see half of it.
TERMINATOR = b".\r\n"


class Top:
    """Cuts the header and the first lines of the body out of the pieces of a message."""

    __slots__ = ("_header_left", "_lines_left")

    def __init__(self, *, header_octets: int, lines: int) -> None:
        self._header_left = header_octets
        self._lines_left = lines

    def __call__(self, piece: bytes) -> tuple[bytes, bool]:
        """What to send of the next piece, and whether that was the last of it."""
        end = min(self._header_left, len(piece))
        self._header_left -= end
        while self._lines_left and (found := piece.find(b"\n", end)) >= 0:
            end = found + 1
            self._lines_left -= 1
        if self._header_left or self._lines_left:
            return piece, False
        return piece[:end], True


class Transfer:
    """One reply with a message in it. `finished` gets the number of octets when the last has been handed out."""

    __slots__ = ("_cut", "_finished", "_left", "_piece", "_reply", "_sent", "_uid", "_wire_octets")

    def __init__(
        self,
        *,
        uid: int,
        wire_octets: int,
        reply: bytes,
        cut: Callable[[bytes], tuple[bytes, bool]] | None = None,
        finished: Callable[[int], None],
    ) -> None:
        self._uid = uid
        self._wire_octets = self._left = wire_octets
        self._reply = reply
        self._piece = self._sent = 0
        self._cut = cut
        self._finished = finished

    def begin(self) -> Step:
        """Ask for the first piece; the reply waits for it, since only then is it sure that there is one."""
        return self._ask((), IfRefused.GO_ON)

    def _ask(self, output: tuple[bytes, ...], if_refused: IfRefused) -> Step:
        request = ReadPiece(self._uid, self._piece, self._wire_octets)
        return Step(output, request=request, then=self._accept, if_refused=if_refused)

    def _accept(self, piece: bytes) -> Step:
        self._left -= len(piece)
        if not piece or self._left < 0:
            raise Refusal(_("this message cannot be read now, try again later"), Code.SYS_TEMP)
        octets, enough = self._cut(piece) if self._cut else (piece, False)
        self._sent += len(octets)
        reply, self._reply = self._reply, b""
        self._piece += 1
        if self._left and not enough:
            return self._ask((reply, octets), IfRefused.ABORT)
        self._finished(self._sent)
        return Step((reply, octets, TERMINATOR))
