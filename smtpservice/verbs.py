"""The commands of SMTP, LMTP and submission: a table with one row for each, and a function that carries it out.

A function gets the session, its state, which is the one that the row asks for, and the argument. It raises
RefusedError with the reply that says what is wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smtpservice import commands, replies, sasl
from smtpservice.commands import RefusedError
from smtpservice.replies import Reply
from smtpservice.requests import CheckSender, Service, StartTls
from smtpservice.states import Chunks, Open, Ready, Receiving, Start

if TYPE_CHECKING:
    from smtpservice.protocol import Session

#: Recipients of a transaction; RFC 5321, 4.5.3.1.8 has 100 at least.
MAX_RECIPIENTS = 100


def helo(session: "Session[Any]", state: object, argument: str) -> None:
    """HELO (RFC 5321, 4.1.1.1): it ends a transaction, as RSET does."""
    name = commands.client_name(argument)
    session.reply(Reply(250, "", session.hostname))
    session.begin_anew(Ready(name, extended=False))


def ehlo(session: "Session[Any]", state: object, argument: str) -> None:
    """EHLO, and LHLO (RFC 2033, 4.1)."""
    name = commands.client_name(argument)
    offered = [
        "PIPELINING",
        f"SIZE {session.max_octets}",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "DSN",
        "ENHANCEDSTATUSCODES",
    ]
    if session.tls_offered and not session.tls_active:
        offered.append("STARTTLS")
    if session.offers_login:
        offered.append(f"AUTH {' '.join(session.mechanisms)}")
    session.reply(Reply(250, "", "\n".join([session.hostname, *offered])))
    session.begin_anew(Ready(name, extended=True))


def starttls(session: "Session[Any]", state: object, argument: str) -> None:
    """STARTTLS (RFC 3207): what was said before is forgotten."""
    if not session.tls_offered:
        raise RefusedError(replies.NOT_IMPLEMENTED)
    if session.tls_active:
        raise RefusedError(replies.TLS_TWICE)
    if isinstance(state, Chunks):
        raise RefusedError(replies.CHUNKS_ONLY)
    session.reply(replies.READY_FOR_TLS)
    session.state = Start()
    session.ask(StartTls())


def auth(session: "Session[Any]", state: Ready, argument: str) -> None:
    """AUTH (RFC 4954, 4): once in a session, and where a password may cross the connection."""
    if session.logged_in:
        raise RefusedError(replies.LOGGED_IN_ALREADY)
    if not session.offers_login:
        raise RefusedError(replies.TLS_FIRST)
    if not state.extended:
        raise RefusedError(replies.EHLO_FIRST)
    sasl.begin(session, state, argument)


def mail(session: "Session[Any]", state: Ready, argument: str) -> None:
    """MAIL. For submission somebody has logged in (RFC 6409, 4.3), and sends from an address of theirs (6.1)."""
    submits = session.service is Service.SUBMISSION
    if submits and session.submitter is None:
        raise RefusedError(replies.LOGIN_FIRST if session.offers_login else replies.TLS_FIRST)
    read = commands.mail(argument, extended=state.extended, max_octets=session.max_octets, authenticates=submits)
    session.state = Open(state, read)
    if submits:
        session.ask(CheckSender(session.submitter, read))
    else:
        session.reply(replies.SENDER_OK)


def rcpt(session: "Session[Any]", state: Open[Any], argument: str) -> None:
    address = commands.recipient(argument, extended=state.ready.extended, utf8=state.mail.smtputf8)
    state.asked += 1
    if len(state.recipients) + state.pending >= MAX_RECIPIENTS:
        raise RefusedError(replies.TOO_MANY_RECIPIENTS)
    state.pending += 1
    session.asked.append(address)


def data(session: "Session[Any]", state: Open[Any], argument: str) -> None:
    _need_recipients(session, state)
    session.state = Receiving(state)
    session.reply(replies.SEND_DATA)


def bdat(session: "Session[Any]", state: Any, argument: str) -> None:
    """BDAT (RFC 3030, 2). Whatever is wrong with it, its octets are no commands."""
    try:
        octets, last = commands.chunk(argument)
    except RefusedError as error:
        return session.end(error.reply)
    try:
        if isinstance(state, Open):
            _need_recipients(session, state)
            state = Chunks(state)
        elif not isinstance(state, Chunks):
            raise RefusedError(session.out_of_order())
    except RefusedError as error:
        return session.skip(octets, error.reply)
    return session.begin_chunk(state, octets, last=last)


def _need_recipients(session: "Session[Any]", state: Open[Any]) -> None:
    if not state.recipients:
        # RFC 2033, 4.2 has 503 where every RCPT failed; RFC 5321, 3.3 allows 554.
        nobody = session.service is not Service.LMTP and state.asked
        raise RefusedError(replies.NO_RECIPIENT if nobody else replies.RECIPIENT_FIRST)


def rset(session: "Session[Any]", state: object, argument: str) -> None:
    session.reply(replies.RESET)
    if isinstance(state, Open):
        session.begin_anew(state.ready)
    elif isinstance(state, Chunks):
        session.begin_anew(state.transaction.ready)


def noop(session: "Session[Any]", state: object, argument: str) -> None:
    session.reply(replies.NOTHING_DONE)


def vrfy(session: "Session[Any]", state: object, argument: str) -> None:
    session.reply(replies.NOT_VERIFIED)


def expn(session: "Session[Any]", state: object, argument: str) -> None:
    session.reply(replies.NOT_IMPLEMENTED)


def help_(session: "Session[Any]", state: object, argument: str) -> None:
    names = [name for name, verb in VERBS.items() if session.service in verb.services]
    session.reply(Reply(214, "2.0.0", f"Commands: {' '.join(names)}"))


def quit_(session: "Session[Any]", state: object, argument: str) -> None:
    session.end(Reply(221, "2.0.0", f"{session.hostname} closing"))


@dataclass(frozen=True, slots=True)
class Verb:
    """One command: what carries it out, the state it is legal in (None: any), and whether it has an argument.

    `argument`: True is required, False forbidden, None either. `idle`: it brings no message nearer.
    """

    run: "Callable[[Session[Any], Any, str], None]"
    state: type[Ready] | type[Open[Any]] | None = None
    argument: bool | None = None
    idle: bool = False
    services: frozenset[Service] = frozenset(Service)


_NOT_LMTP = frozenset({Service.SMTP, Service.SUBMISSION})
_LMTP_ONLY = frozenset({Service.LMTP})
_SUBMISSION_ONLY = frozenset({Service.SUBMISSION})

VERBS = {
    "HELO": Verb(helo, argument=True, idle=True, services=_NOT_LMTP),
    "EHLO": Verb(ehlo, argument=True, idle=True, services=_NOT_LMTP),
    # RFC 2033, 4.1: LHLO alone; HELO and EHLO get no positive reply.
    "LHLO": Verb(ehlo, argument=True, idle=True, services=_LMTP_ONLY),
    "STARTTLS": Verb(starttls, argument=False, idle=True),
    "AUTH": Verb(auth, state=Ready, argument=True, idle=True, services=_SUBMISSION_ONLY),
    "MAIL": Verb(mail, state=Ready, argument=True),
    "RCPT": Verb(rcpt, state=Open, argument=True),
    "DATA": Verb(data, state=Open, argument=False),
    "BDAT": Verb(bdat),
    "RSET": Verb(rset, argument=False, idle=True),
    "NOOP": Verb(noop, idle=True),
    "VRFY": Verb(vrfy, argument=True, idle=True),
    "EXPN": Verb(expn, argument=True, idle=True),
    "HELP": Verb(help_, idle=True),
    "QUIT": Verb(quit_, argument=False),
}
