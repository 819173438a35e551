"""An SMTP or LMTP session without a socket: octets in, replies and requests for work out (RFC 5321, RFC 2033).

`receive` takes what the client sent; `take_output` gives what is to be sent to it. Where the session needs work done
it stops and `take_request` tells which, once; the method named in the request's docstring brings the answer, and the
session goes on with what it had received meanwhile. So replies come in the order of the commands (RFC 2920), however
they were cut into packets.

R is the caller's own idea of a recipient; the session keeps what it was given and hands it back to be delivered to.
"""

import re
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from smtpservice import replies, sasl
from smtpservice.commands import Address, RefusedError
from smtpservice.replies import Reply
from smtpservice.requests import Close, Deliver, Discard, FindRecipients, Request, Service, Write
from smtpservice.states import Chunks, Closed, Negotiating, Open, Ready, Receiving, Skipping, Start, State
from smtpservice.verbs import VERBS, Verb

R = TypeVar("R")

#: Octets of a command line with its CRLF. RFC 5321, 4.5.3.1.4 has 512, which parameters may widen; RFC 4954, 4 has
#: 12288 for the lines of a login.
LINE_OCTETS = 2048
LOGIN_LINE_OCTETS = 12_288
#: What a connection may do between two messages: bad commands, refused recipients, commands that move nothing.
MAX_ERRORS = 20
MAX_REFUSED = 100
MAX_IDLE_COMMANDS = 100

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Session(Generic[R]):
    """One connection's conversation. `tls_offered`: STARTTLS can be done; `tls_active`: it is encrypted.

    `mechanisms` are those of AUTH, and `plaintext` says whether a password may cross the connection unencrypted.
    `submitter` is the caller's own idea of who may have mail sent elsewhere: of whoever is on this connection, or else
    what a login is answered with.
    """

    def __init__(
        self,
        service: Service,
        *,
        hostname: str,
        max_octets: int,
        tls_offered: bool,
        tls_active: bool = False,
        plaintext: bool = False,
        mechanisms: tuple[str, ...] = (),
        submitter: Any = None,
    ) -> None:
        self.service = service
        self.hostname = hostname
        self.max_octets = max_octets
        self.tls_offered = tls_offered
        self.tls_active = tls_active
        self.plaintext = plaintext
        self.mechanisms = mechanisms
        self.submitter = self._by_network = submitter
        self.wrong_logins = 0
        self.state: State[R] = Start()
        self._input = bytearray()
        self._output = bytearray()
        self._request: Request[R] | None = None
        self._waiting = False
        self._overlong = self._nul = False
        self.asked: list[Address | Reply] = []  # RCPTs that are looked up, and the replies that come after them
        self._errors = self._refused = self._idle_commands = 0
        self._farewell: Reply | None = None
        self._output += f"220 {hostname} {'LMTP' if service is Service.LMTP else 'ESMTP'} ready\r\n".encode()

    # --- What the server calls ---

    @property
    def buffered(self) -> int:
        """Octets received that wait for an answer to a request."""
        return len(self._input)

    @property
    def in_transaction(self) -> bool:
        """Whether a client would lose what it has begun."""
        state = self.state.back if isinstance(self.state, Skipping) else self.state
        return isinstance(state, Open | Receiving | Chunks)

    @property
    def logged_in(self) -> bool:
        return self.submitter is not self._by_network

    @property
    def offers_login(self) -> bool:
        """Whether AUTH can be said now: on a connection that a password may cross (RFC 4954, 4)."""
        may = self.service is Service.SUBMISSION and bool(self.mechanisms) and not self.logged_in
        return may and (self.tls_active or self.plaintext)

    def receive(self, data: bytes) -> None:
        """Take what came from the client; after the last reply nothing is heard any more."""
        if not isinstance(self.state, Closed):
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

    def answered(self, answer: Any) -> None:
        """The answer to Ask: what the door says, or the reply that refuses it."""
        if isinstance(self.state, Negotiating):
            self._waiting = False
            sasl.answered(self, self.state, answer)
            self._advance()

    def sender_checked(self, refusal: Reply | None) -> None:
        """The answer to CheckSender."""
        if not isinstance(self.state, Open):
            return
        if refusal is not None:
            self.state = self.state.ready
        self.reply(refusal or replies.SENDER_OK)
        if not isinstance(self.state, Closed):
            self._go_on()

    def recipients_found(self, found: Sequence[R | Reply]) -> None:
        """The answer to FindRecipients: for each address a recipient, or the reply that refuses it."""
        asked, self.asked = self.asked, []
        answers = iter(found)
        for item in asked:
            if not isinstance(self.state, Open):  # ended, now or while it waited
                return
            if isinstance(item, Reply):
                self.reply(item)
            elif isinstance(answer := next(answers), Reply):
                self._refuse_recipient(answer)
            else:
                self.state.recipients.append(answer)
                self._send(replies.RECIPIENT_OK)
        if isinstance(self.state, Open):
            self.state.pending = 0
            self._go_on()

    def written(self, failure: Reply | None = None) -> None:
        """The answer to Write, and to Discard; a failure is what the client will be told at the end of data."""
        state = self.state
        if isinstance(state, Receiving | Chunks) and failure is not None:
            state.failure = failure
            self.ask(Discard())
        elif isinstance(state, Receiving) and state.reader.ended:
            self._end_of_data(state)
        elif not isinstance(state, Closed):
            self._waiting = False
            if isinstance(state, Chunks) and not state.left:
                self._end_of_chunk(state)
            self._advance()

    def delivered(self, answers: Sequence[Reply]) -> None:
        """The answer to Deliver: one reply in SMTP, one for each recipient in LMTP (RFC 2033, 4.2)."""
        if not isinstance(self.state, Receiving | Chunks):
            return
        self.state = self.state.transaction.ready
        for answer in answers:
            self._send(answer)
        if all(answer.code >= 500 for answer in answers):
            self._count_error()
        else:
            self._errors = self._refused = self._idle_commands = 0
        if isinstance(self.state, Ready):
            self._go_on()

    def tls_started(self) -> None:
        """The answer to StartTls: the session begins anew (RFC 3207, 4.2).

        What came behind STARTTLS in the clear is thrown away (CVE-2011-0411).
        """
        if isinstance(self.state, Start):
            self.tls_active = True
            self.submitter = self._by_network
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
        if not isinstance(self.state, Closed):
            self._send(reply)
            self.state = Closed()
            self._input.clear()
            self.ask(Close())

    # --- The loop ---

    def _go_on(self) -> None:
        self._waiting = False
        self._advance()

    def ask(self, request: Request[R]) -> None:
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
        if isinstance(self.state, Receiving):
            self._read_data(self.state)
            return True
        if isinstance(self.state, Chunks | Skipping) and self.state.left:
            self._read_chunk(self.state)
            return True
        line = self._take_line()
        if line is None:
            return False
        if isinstance(self.state, Negotiating) and not self._overlong and len(line) <= self._line_octets:
            sasl.respond(self, self.state, line)
            return True
        self._command(line)
        if isinstance(self.state, Open) and self.state.pending and not self._another_rcpt():
            self._ask_for_recipients(self.state)
        return True

    def _take_line(self) -> bytes | None:
        """The next line with its line end; None where it is not there yet. Of an overlong one only the end is kept."""
        end = self._input.find(b"\n") + 1
        if not end:
            if len(self._input) > self._line_octets:
                self._overlong = True
                self._input.clear()
            return None
        line = bytes(self._input[:end])
        del self._input[:end]
        return line

    @property
    def _line_octets(self) -> int:
        return LOGIN_LINE_OCTETS if self.service is Service.SUBMISSION else LINE_OCTETS

    def _another_rcpt(self) -> bool:
        """RCPTs that were sent together are looked up together."""
        return self._input[:5].upper() == b"RCPT " and b"\n" in self._input

    def _ask_for_recipients(self, state: Open[R]) -> None:
        addresses = [item for item in self.asked if isinstance(item, Address)]
        self.ask(FindRecipients(addresses, state.mail.size, self.submitter))

    # --- Commands ---

    def _command(self, line: bytes) -> None:
        if line[:6] == b"PROXY " or (line == b"QUIT\n" and self._nul):  # versions 1 and 2 of a proxy's header
            return self.end(replies.NOT_A_PROXY)
        self._nul = line == b"\0\r\n"
        overlong, self._overlong = self._overlong or len(line) > self._line_octets, False
        if overlong and isinstance(self.state, Negotiating):
            self.state = self.state.ready
        if overlong:
            return self.reply(replies.LINE_TOO_LONG)
        if not line.endswith(b"\r\n"):
            return self.reply(replies.BARE_LINE_FEED)
        if _CONTROL.search(line, 0, len(line) - 2):
            return self.reply(replies.NOT_A_COMMAND)
        name, _, argument = line[:-2].decode("utf-8", "surrogateescape").rstrip(" ").partition(" ")
        if name.upper() in _HTTP:
            return self.end(replies.NOT_HTTP)
        verb = VERBS.get(name.upper())
        if verb is None or self.service not in verb.services:
            return self.reply(replies.UNKNOWN_VERB)
        if verb.argument is not None and verb.argument is not bool(argument):
            return self.reply(replies.NEEDS_ARGUMENT if verb.argument else replies.NO_ARGUMENT)
        if verb.state is not None and not isinstance(self.state, verb.state):
            return self.reply(self.out_of_order())
        try:
            verb.run(self, self.state, argument)
        except RefusedError as error:
            return self.reply(error.reply)
        return self._count_idle(verb)

    def _count_idle(self, verb: "Verb") -> None:
        self._idle_commands += verb.idle
        if self._idle_commands > MAX_IDLE_COMMANDS:
            self.end(replies.TOO_MANY_COMMANDS)

    def out_of_order(self) -> Reply:
        if isinstance(self.state, Start):
            return replies.LHLO_FIRST if self.service is Service.LMTP else replies.EHLO_FIRST
        if isinstance(self.state, Chunks):
            return replies.CHUNKS_ONLY
        return replies.MAIL_FIRST if isinstance(self.state, Ready) else replies.MAIL_TWICE

    def reply(self, reply: Reply) -> None:
        """Send it, or let it wait behind the recipients that are being looked up."""
        if self.asked:
            self.asked.append(reply)
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
        if self._refused > MAX_REFUSED and self.service is not Service.LMTP:
            self.end(replies.TOO_MANY_ERRORS)

    # --- Data ---

    def _read_data(self, state: Receiving[R]) -> None:
        content = state.reader.feed(bytes(self._input))
        self._input.clear()
        self._input += state.reader.rest
        state.octets += len(content)
        if state.failure is None and state.octets > self.max_octets:
            state.failure = replies.too_large(self.max_octets)
            self.ask(Discard())
        elif content and state.failure is None:
            self.ask(Write(content))
        elif state.reader.ended:
            self._end_of_data(state)

    def begin_anew(self, state: Ready) -> None:
        """Forget a transaction, with what came of its message in chunks."""
        begun, self.state = isinstance(self.state, Chunks), state
        if begun:
            self.ask(Discard())

    def begin_chunk(self, state: Chunks[R], octets: int, *, last: bool) -> None:
        """Expect the octets of a BDAT. Of a message that will be too large nothing more is kept."""
        self.state = state
        state.left, state.last = octets, last
        if state.failure is None and state.octets + octets > self.max_octets:
            state.failure = replies.too_large(self.max_octets)
            self.ask(Discard())
        elif not octets:
            self._end_of_chunk(state)

    def skip(self, octets: int, reply: Reply) -> None:
        """Throw away the octets of a BDAT that is refused, then say so."""
        skipping = Skipping(self.state, octets, reply)
        if octets:
            self.state = skipping
        else:
            self.reply(reply)

    def _read_chunk(self, state: Chunks[R] | Skipping[R]) -> None:
        content = bytes(self._input[: state.left])
        del self._input[: len(content)]
        state.left -= len(content)
        if isinstance(state, Skipping):
            if not state.left:
                self.state = state.back
                self.reply(state.reply)
            return
        state.octets += len(content)
        if state.failure is None:
            self.ask(Write(content))
        elif not state.left:
            self._end_of_chunk(state)

    def _end_of_chunk(self, state: Chunks[R]) -> None:
        if state.last:
            self._end_of_data(state)
        else:
            self.reply(state.failure or replies.chunk_received(state.octets))

    def _end_of_data(self, state: Receiving[R] | Chunks[R]) -> None:
        transaction = state.transaction
        if state.failure is not None:
            copies = len(transaction.recipients) if self.service is Service.LMTP else 1
            return self.delivered([state.failure] * copies)
        ready, mail, recipients = transaction.ready, transaction.mail, tuple(transaction.recipients)
        return self.ask(Deliver(ready.client, self._protocol(transaction), mail, recipients, self.submitter))

    def _protocol(self, transaction: Open[R]) -> str:
        """What stands behind "with" in Received (RFC 3848; RFC 6531, 4.3)."""
        if not transaction.ready.extended:
            return "SMTP"
        lmtp, utf8 = self.service is Service.LMTP, transaction.mail.smtputf8
        name = ("UTF8LMTP" if utf8 else "LMTP") if lmtp else "UTF8SMTP" if utf8 else "ESMTP"
        return f"{name}{'S' if self.tls_active else ''}{'A' if self.logged_in else ''}"


#: A browser was made to talk to this port: nothing of what it sends is for us.
_HTTP = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"})
