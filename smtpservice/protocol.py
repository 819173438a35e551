"""An SMTP or LMTP session without a socket: octets in, replies and requests for work out (RFC 5321, RFC 2033).

`receive` takes what the client sent; `take_output` gives what is to be sent to it. Where the session needs work done
it stops and `take_request` tells which, once; the method named in the request's docstring brings the answer, and the
session goes on with what it had received meanwhile. So replies come in the order of the commands (RFC 2920), however
they were cut into packets.

R is the caller's own idea of a recipient; the session keeps what it was given and hands it back to be delivered to.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from smtpservice import commands, replies
from smtpservice.commands import Address, RefusedError
from smtpservice.replies import Reply
from smtpservice.requests import Close, Deliver, Discard, FindRecipients, Request, Service, StartTls, Write
from smtpservice.states import Closed, Open, Ready, Receiving, Start, State

R = TypeVar("R")

#: Octets of a command line with its CRLF. RFC 5321, 4.5.3.1.4 has 512, which parameters may widen.
LINE_OCTETS = 2048
#: Recipients of a transaction; RFC 5321, 4.5.3.1.8 has 100 at least.
MAX_RECIPIENTS = 100
#: What a connection may do between two messages: bad commands, refused recipients, commands that move nothing.
MAX_ERRORS = 20
MAX_REFUSED = 100
MAX_IDLE_COMMANDS = 100

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Session(Generic[R]):
    """One connection's conversation. `tls_offered`: STARTTLS can be done; `tls_active`: it is encrypted."""

    def __init__(
        self, service: Service, *, hostname: str, max_octets: int, tls_offered: bool, tls_active: bool = False
    ) -> None:
        self.service = service
        self.hostname = hostname
        self.max_octets = max_octets
        self.tls_offered = tls_offered
        self.tls_active = tls_active
        self._state: State[R] = Start()
        self._input = bytearray()
        self._output = bytearray()
        self._request: Request[R] | None = None
        self._waiting = False
        self._overlong = self._nul = False
        self._asked: list[Address | Reply] = []  # RCPTs that are looked up, and the replies that come after them
        self._errors = self._refused = self._idle_commands = 0
        self._farewell: Reply | None = None
        self._output += f"220 {hostname} {'ESMTP' if service is Service.SMTP else 'LMTP'} ready\r\n".encode()

    # --- What the server calls ---

    @property
    def buffered(self) -> int:
        """Octets received that wait for an answer to a request."""
        return len(self._input)

    @property
    def in_transaction(self) -> bool:
        """Whether a client would lose what it has begun."""
        return isinstance(self._state, Open | Receiving)

    def receive(self, data: bytes) -> None:
        """Take what came from the client; after the last reply nothing is heard any more."""
        if not isinstance(self._state, Closed):
            self._input += data
            self._advance()

    def take_output(self) -> bytes:
        """What is to be sent now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def take_request(self) -> Request[R] | None:
        """The work that is to be done, told once."""
        request, self._request = self._request, None
        return request

    def recipients_found(self, found: Sequence[R | Reply]) -> None:
        """The answer to FindRecipients: for each address a recipient, or the reply that refuses it."""
        asked, self._asked = self._asked, []
        answers = iter(found)
        for item in asked:
            if not isinstance(self._state, Open):  # ended, now or while it waited
                return
            if isinstance(item, Reply):
                self._reply(item)
            elif isinstance(answer := next(answers), Reply):
                self._refuse_recipient(answer)
            else:
                self._state.recipients.append(answer)
                self._send(replies.RECIPIENT_OK)
        if isinstance(self._state, Open):
            self._state.pending = 0
            self._go_on()

    def written(self, failure: Reply | None = None) -> None:
        """The answer to Write, and to Discard; a failure is what the client will be told at the end of data."""
        if not isinstance(self._state, Receiving):
            return
        if failure is not None:
            self._state.failure = failure
            self._ask(Discard())
        elif self._state.reader.ended:
            self._end_of_data(self._state)
        else:
            self._go_on()

    def delivered(self, answers: Sequence[Reply]) -> None:
        """The answer to Deliver: one reply in SMTP, one for each recipient in LMTP (RFC 2033, 4.2)."""
        if not isinstance(self._state, Receiving):
            return
        self._state = self._state.transaction.ready
        for answer in answers:
            self._send(answer)
        if all(answer.code >= 500 for answer in answers):
            self._count_error()
        else:
            self._errors = self._refused = self._idle_commands = 0
        if isinstance(self._state, Ready):
            self._go_on()

    def tls_started(self) -> None:
        """The answer to StartTls: the session begins anew (RFC 3207, 4.2).

        What came behind STARTTLS in the clear is thrown away (CVE-2011-0411).
        """
        if isinstance(self._state, Start):
            self.tls_active = True
            self._input.clear()
            self._go_on()

    def refuse(self, reply: Reply) -> None:
        """Say this in place of the greeting, and close."""
        self._output.clear()
        self.end(reply)

    def end_soon(self, reply: Reply) -> None:
        """Say why and close as soon as no transaction is under way, whatever else was received."""
        self._farewell = reply
        self._advance()

    def end(self, reply: Reply) -> None:
        """Say why and close, whatever is under way."""
        if not isinstance(self._state, Closed):
            self._send(reply)
            self._state = Closed()
            self._input.clear()
            self._ask(Close())

    # --- The loop ---

    def _go_on(self) -> None:
        self._waiting = False
        self._advance()

    def _ask(self, request: Request[R]) -> None:
        self._request = request
        self._waiting = True

    def _advance(self) -> None:
        while not self._waiting:
            if self._farewell is not None and not self.in_transaction:
                self.end(self._farewell)
            elif not self._input or not self._step():
                break

    def _step(self) -> bool:
        """Take a line, or what there is of a message's data; False where the line is not whole yet."""
        if isinstance(self._state, Receiving):
            self._read_data(self._state)
            return True
        line = self._take_line()
        if line is None:
            return False
        self._command(line)
        if isinstance(self._state, Open) and self._state.pending and not self._another_rcpt():
            self._ask_for_recipients(self._state)
        return True

    def _take_line(self) -> bytes | None:
        """The next line with its line end; None where it is not there yet. Of an overlong one only the end is kept."""
        end = self._input.find(b"\n") + 1
        if not end:
            if len(self._input) > LINE_OCTETS:
                self._overlong = True
                self._input.clear()
            return None
        line = bytes(self._input[:end])
        del self._input[:end]
        return line

    def _another_rcpt(self) -> bool:
        """RCPTs that were sent together are looked up together."""
        return self._input[:5].upper() == b"RCPT " and b"\n" in self._input

    def _ask_for_recipients(self, state: Open[R]) -> None:
        addresses = [item for item in self._asked if isinstance(item, Address)]
        self._ask(FindRecipients(addresses, state.mail.size))

    # --- Commands ---

    def _command(self, line: bytes) -> None:
        if line[:6] == b"PROXY " or (line == b"QUIT\n" and self._nul):  # versions 1 and 2 of a proxy's header
            return self.end(replies.NOT_A_PROXY)
        self._nul = line == b"\0\r\n"
        overlong, self._overlong = self._overlong or len(line) > LINE_OCTETS, False
        if overlong:
            return self._reply(replies.LINE_TOO_LONG)
        if not line.endswith(b"\r\n"):
            return self._reply(replies.BARE_LINE_FEED)
        if _CONTROL.search(line, 0, len(line) - 2):
            return self._reply(replies.NOT_A_COMMAND)
        name, _, argument = line[:-2].decode("latin-1").rstrip(" ").partition(" ")
        if name.upper() in _HTTP:
            return self.end(replies.NOT_HTTP)
        verb = VERBS.get(name.upper())
        if verb is None or self.service not in verb.services:
            return self._reply(replies.UNKNOWN_VERB)
        if verb.argument is not None and verb.argument is not bool(argument):
            return self._reply(replies.NEEDS_ARGUMENT if verb.argument else replies.NO_ARGUMENT)
        if verb.state is not None and not isinstance(self._state, verb.state):
            return self._reply(self._wrong_state())
        try:
            verb.run(self, self._state, argument)
        except RefusedError as error:
            return self._reply(error.reply)
        return self._count_idle(verb)

    def _count_idle(self, verb: "Verb") -> None:
        self._idle_commands += verb.idle
        if self._idle_commands > MAX_IDLE_COMMANDS:
            self.end(replies.TOO_MANY_COMMANDS)

    def _wrong_state(self) -> Reply:
        if isinstance(self._state, Start):
            return replies.EHLO_FIRST if self.service is Service.SMTP else replies.LHLO_FIRST
        return replies.MAIL_FIRST if isinstance(self._state, Ready) else replies.MAIL_TWICE

    def _reply(self, reply: Reply) -> None:
        """Send it, or let it wait behind the recipients that are being looked up."""
        if self._asked:
            self._asked.append(reply)
            return
        self._send(reply)
        if reply.code >= 500:
            self._count_error()

    def _send(self, reply: Reply) -> None:
        self._output += reply.encode()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors > MAX_ERRORS:
            self.end(replies.TOO_MANY_ERRORS)

    def _refuse_recipient(self, reply: Reply) -> None:
        """Guessing of addresses has its own limit; a relay that speaks LMTP has none."""
        self._send(reply)
        self._refused += reply.code >= 500
        if self._refused > MAX_REFUSED and self.service is Service.SMTP:
            self.end(replies.TOO_MANY_ERRORS)

    def _helo(self, state: object, argument: str) -> None:
        """HELO (RFC 5321, 4.1.1.1): it ends a transaction, as RSET does."""
        self._state = Ready(commands.client_name(argument), extended=False)
        self._reply(Reply(250, "", self.hostname))

    def _ehlo(self, state: object, argument: str) -> None:
        """EHLO, and LHLO (RFC 2033, 4.1)."""
        self._state = Ready(commands.client_name(argument), extended=True)
        offered = ["PIPELINING", f"SIZE {self.max_octets}", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self.tls_offered and not self.tls_active:
            offered.append("STARTTLS")
        self._reply(Reply(250, "", "\n".join([self.hostname, *offered])))

    def _starttls(self, state: object, argument: str) -> None:
        """STARTTLS (RFC 3207): what was said before is forgotten."""
        if not self.tls_offered:
            raise RefusedError(replies.NOT_IMPLEMENTED)
        if self.tls_active:
            raise RefusedError(replies.TLS_TWICE)
        self._reply(replies.READY_FOR_TLS)
        self._state = Start()
        self._ask(StartTls())

    def _mail(self, state: Ready, argument: str) -> None:
        mail = commands.mail(argument, extended=state.extended, max_octets=self.max_octets)
        self._state = Open(state, mail)
        self._reply(replies.SENDER_OK)

    def _rcpt(self, state: Open[R], argument: str) -> None:
        address = commands.recipient(argument)
        state.asked += 1
        if len(state.recipients) + state.pending >= MAX_RECIPIENTS:
            raise RefusedError(replies.TOO_MANY_RECIPIENTS)
        state.pending += 1
        self._asked.append(address)

    def _data(self, state: Open[R], argument: str) -> None:
        if not state.recipients:
            # RFC 2033, 4.2 has 503 where every RCPT failed; RFC 5321, 3.3 allows 554.
            nobody = self.service is Service.SMTP and state.asked
            raise RefusedError(replies.NO_RECIPIENT if nobody else replies.RECIPIENT_FIRST)
        self._state = Receiving(state)
        self._reply(replies.SEND_DATA)

    def _rset(self, state: object, argument: str) -> None:
        if isinstance(state, Open):
            self._state = state.ready
        self._reply(replies.RESET)

    def _noop(self, state: object, argument: str) -> None:
        self._reply(replies.NOTHING_DONE)

    def _vrfy(self, state: object, argument: str) -> None:
        self._reply(replies.NOT_VERIFIED)

    def _expn(self, state: object, argument: str) -> None:
        self._reply(replies.NOT_IMPLEMENTED)

    def _help(self, state: object, argument: str) -> None:
        names = [name for name, verb in VERBS.items() if self.service in verb.services]
        self._reply(Reply(214, "2.0.0", f"Commands: {' '.join(names)}"))

    def _quit(self, state: object, argument: str) -> None:
        self.end(Reply(221, "2.0.0", f"{self.hostname} closing"))

    # --- Data ---

    def _read_data(self, state: Receiving[R]) -> None:
        content = state.reader.feed(bytes(self._input))
        self._input.clear()
        self._input += state.reader.rest
        state.octets += len(content)
        if state.failure is None and state.octets > self.max_octets:
            state.failure = replies.TOO_LARGE
            self._ask(Discard())
        elif content and state.failure is None:
            self._ask(Write(content))
        elif state.reader.ended:
            self._end_of_data(state)

    def _end_of_data(self, state: Receiving[R]) -> None:
        transaction = state.transaction
        if state.failure is not None:
            copies = len(transaction.recipients) if self.service is Service.LMTP else 1
            return self.delivered([state.failure] * copies)
        protocol = "LMTP" if self.service is Service.LMTP else "ESMTP" if transaction.ready.extended else "SMTP"
        if self.tls_active and protocol != "SMTP":
            protocol += "S"
        return self._ask(Deliver(transaction.ready.client, protocol, transaction.mail, tuple(transaction.recipients)))


@dataclass(frozen=True, slots=True)
class Verb:
    """One command: what carries it out, the state it is legal in (None: any), and whether it has an argument.

    `argument`: True is required, False forbidden, None either. `idle`: it brings no message nearer.
    """

    run: Callable[[Session[Any], Any, str], None]
    state: type[Ready] | type[Open[Any]] | None = None
    argument: bool | None = None
    idle: bool = False
    services: frozenset[Service] = frozenset(Service)


_SMTP_ONLY = frozenset({Service.SMTP})
_LMTP_ONLY = frozenset({Service.LMTP})

VERBS = {
    "HELO": Verb(Session._helo, argument=True, idle=True, services=_SMTP_ONLY),
    "EHLO": Verb(Session._ehlo, argument=True, idle=True, services=_SMTP_ONLY),
    # RFC 2033, 4.1: LHLO alone; HELO and EHLO get no positive reply.
    "LHLO": Verb(Session._ehlo, argument=True, idle=True, services=_LMTP_ONLY),
    "STARTTLS": Verb(Session._starttls, argument=False, idle=True),
    "MAIL": Verb(Session._mail, state=Ready, argument=True),
    "RCPT": Verb(Session._rcpt, state=Open, argument=True),
    "DATA": Verb(Session._data, state=Open, argument=False),
    "RSET": Verb(Session._rset, argument=False, idle=True),
    "NOOP": Verb(Session._noop, idle=True),
    "VRFY": Verb(Session._vrfy, argument=True, idle=True),
    "EXPN": Verb(Session._expn, argument=True, idle=True),
    "HELP": Verb(Session._help, idle=True),
    "QUIT": Verb(Session._quit, argument=False),
}

#: A browser was made to talk to this port: nothing of what it sends is for us.
_HTTP = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"})
