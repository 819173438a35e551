"""The POP3 server's side of one connection, without the connection: octets in, octets and requests for work out.

The caller gives `receive` what came and calls `advance`, sends what `output` hands out, carries out `request` and
gives its result to `answer`, or calls `fail`. Commands run in `advance` and nowhere else: while a client does not take
its output the caller does not call it, and nothing piles up. At most one request is open; while it is, commands stay in
the buffer, so replies leave in the order of the commands whatever the client pipelines. No exception comes out of a
Session, whatever octets go in: any that does is a bug.
"""

import functools
from collections.abc import Iterator
from typing import Any

from pop3service import sasl
from pop3service.commands import carry_out
from pop3service.logins import login_failed
from pop3service.states import (
    FAILED,
    Authorization,
    Channel,
    Closed,
    Code,
    IfRefused,
    Negotiation,
    Refusal,
    Reply,
    Request,
    StartTls,
    State,
    Transaction,
)
from pop3service.words import Text, Words, _

#: Octets of a command line with its line end (RFC 2449, 4); of a response within AUTH, also in the line of AUTH itself:
#: clients send longer ones than RFC 5034, 4 allows.
MAX_LINE = 255
MAX_RESPONSE = 12 * 1024
#: Refused commands in a row, and commands before the login, after which the connection is closed.
MAX_REFUSALS = 20
MAX_COMMANDS_BEFORE_LOGIN = 100
#: Octets of output after which commands wait until it is taken.
OUTPUT_HIGH = 64 * 1024
#: Octets of commands that wait, above which the caller should stop reading.
INPUT_HIGH = 16 * 1024


class Session:
    """One POP3 session, from the greeting to the end."""

    __slots__ = (
        "_at",
        "_if_refused",
        "_input",
        "_more",
        "_output",
        "_output_octets",
        "_overlong",
        "_refusals",
        "_then",
        "closed",
        "commands",
        "request",
        "state",
    )

    def __init__(self, channel: Channel) -> None:
        self.state: State = Authorization(channel)
        #: The work that is asked for; None: the session waits for octets.
        self.request: Request | None = None
        #: Whether the connection is to be closed once the output is sent.
        self.closed = False
        #: Command lines so far.
        self.commands = 0
        self._then: Any = None
        self._if_refused = IfRefused.GO_ON
        self._input = b""
        self._at = 0  # where in the input the next line begins
        self._overlong = False  # in the middle of a line whose beginning was thrown away
        self._refusals = 0
        self._output: list[bytes] = []
        self._output_octets = 0
        self._more: Iterator[bytes] | None = None  # the rest of a reply that has begun
        self._send(_greeting(channel.words, channel.hostname))

    # --- What the caller looks at ---

    @property
    def logged_in(self) -> bool:
        return not isinstance(self.state, Authorization | Negotiation)

    @property
    def full(self) -> bool:
        """Whether so many commands wait that nothing should be read."""
        return len(self._input) - self._at > INPUT_HIGH

    # --- What the caller does ---

    def receive(self, octets: bytes) -> None:
        """Take in what the client sent, in pieces of any size, for `advance` to work through."""
        if self.closed or isinstance(self.request, StartTls):
            return  # RFC 2595, 4: what comes before the handshake is not to be trusted
        self._input = self._input[self._at :] + octets if self._input else octets
        self._at = 0

    def output(self) -> list[bytes]:
        """Hand out what is to be sent, in order; it counts as sent."""
        output, self._output = self._output, []
        self._output_octets = 0
        return output

    def answer(self, result: Any) -> None:
        """Give the result of the request, or the Refusal that came instead."""
        if self.request is None:
            return  # the session was ended meanwhile
        then, if_refused = self._then, self._if_refused
        self.request = self._then = None
        try:
            if not isinstance(result, Refusal):
                self._take(then(result))
            elif isinstance(self.state, Negotiation):
                self._take(sasl.refused(self.state, result))
            else:
                raise result
        except Refusal as refusal:
            self._request_refused(refusal, if_refused)

    def fail(self, *, permanent: bool = False) -> None:
        """The request could not be carried out, by no fault of the client (promise 8; RFC 3206, 4)."""
        if permanent:
            refusal = Refusal(_("something is lost or damaged on our side, tell your postmaster"), Code.SYS_PERM)
        else:
            refusal = Refusal(FAILED, Code.SYS_TEMP)
        self.answer(refusal)

    def end(self, text: Text) -> None:
        """End the session from our side, and say why unless a reply has begun. Nothing is deleted.

        An UPDATE that has begun is waited for: its reply is the session's last.
        """
        if isinstance(self.state, Authorization | Negotiation | Transaction):
            if self._more is None and (self._if_refused is not IfRefused.ABORT or self.request is None):
                self._say(Refusal(text, Code.SYS_TEMP))
            self._close()

    def advance(self) -> bool:
        """Go on with a long reply and run the commands that wait, until one asks for work or there is output enough.

        True: it was the output, and there may be more to do once that is taken.
        """
        while self.request is None and self._output_octets < OUTPUT_HIGH:
            if self._more is not None:
                self._go_on(self._more)
            elif self._input and (line := self._next_line()) is not None:
                self._run(line)
            else:
                return False
        return self.request is None

    # --- Inside ---

    def _next_line(self) -> bytes | None:
        """The next command line without its end, CRLF or LF alone; None: none is complete.

        Of a line that is too long nothing is kept but that it was.
        """
        start, waiting = self._at, self._input
        end = waiting.find(b"\n", start)
        if end < 0:
            if self._overlong or self._exceeds(start, len(waiting)):
                self._overlong = True
                self._input, self._at = b"", 0
            return None
        if end - start >= MAX_LINE and self._exceeds(start, end):
            self._overlong = True
        self._at = end + 1
        if self._at == len(waiting):
            self._input, self._at = b"", 0
        if self._overlong:
            return b""
        return waiting[start : end - 1] if end > start and waiting[end - 1] == 13 else waiting[start:end]

    def _exceeds(self, start: int, end: int) -> bool:
        """Whether what lies there is longer than a line may be."""
        within_auth = isinstance(self.state, Negotiation) or self._input[start : start + 5].upper() == b"AUTH "
        return end - start >= (MAX_RESPONSE if within_auth and not self.logged_in else MAX_LINE)

    def _go_on(self, more: Iterator[bytes]) -> None:
        """Send the next part of a long reply."""
        octets = next(more, None)
        if octets is None:
            self._more = None
        else:
            self._send(octets)

    def _run(self, line: bytes) -> None:
        self.commands += 1
        try:
            if self._overlong:
                self._overlong = False
                raise Refusal(_("line too long: a command has at most %(most)d octets"), most=MAX_LINE)
            self._take(carry_out(self.state, line))
            self._refusals = 0
        except Refusal as refusal:
            self._refuse(refusal)
        if self.commands >= MAX_COMMANDS_BEFORE_LOGIN and self.request is None and not self.logged_in:
            self.end(_("too many commands without a login, connect again"))

    def _take(self, step: Reply) -> None:
        if isinstance(step, bytes):
            self._output.append(step)
            self._output_octets += len(step)
            return
        if isinstance(step, tuple):
            self._output += step
            self._output_octets += sum(map(len, step))
            return
        for octets in step.output:
            self._send(octets)
        if step.state is not None:
            self.state = step.state
        self.request, self._then, self._if_refused = step.request, step.then, step.if_refused
        self._more = step.more
        self.closed = isinstance(step.state, Closed)
        if self.closed or isinstance(step.request, StartTls):
            self._input, self._at = b"", 0

    def _request_refused(self, refusal: Refusal, then: IfRefused) -> None:
        if then is IfRefused.ABORT:
            self._close()
            return
        self._fail_login(refusal)
        self._say(refusal)
        if refusal.ends or then is IfRefused.END:
            self._close()

    def _refuse(self, refusal: Refusal) -> None:
        self._fail_login(refusal)
        self._refusals += 1
        if self._refusals < MAX_REFUSALS:
            self._say(refusal)
        else:
            self._say(Refusal(_("too many bad commands, connect again")))
        if self._refusals >= MAX_REFUSALS or refusal.ends:
            self._close()

    def _fail_login(self, refusal: Refusal) -> None:
        """Before the login: what was refused may be one, and behind AUTH the next line is a command again."""
        if isinstance(self.state, Negotiation):
            self.state = self.state.authorization
        if isinstance(self.state, Authorization):
            login_failed(self.state, refusal)

    def _close(self) -> None:
        self.state = Closed(self.state.channel)
        self.closed = True
        self.request = self._then = self._more = None
        self._input, self._at = b"", 0

    def _say(self, refusal: Refusal) -> None:
        self._send(refusal.reply(self.state.channel.words))

    def _send(self, octets: bytes) -> None:
        if octets:
            self._output.append(octets)
            self._output_octets += len(octets)


@functools.lru_cache(maxsize=16)
def _greeting(words: Words, hostname: str) -> bytes:
    return words.ok(_("%(hostname)s POP3 server ready"), hostname=hostname)
