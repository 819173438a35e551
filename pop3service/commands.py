"""The commands of POP3: a table with one row per verb, and a small function for each.

A row says in which states the verb is legal, what its arguments are and what CAPA says of it; `carry_out` holds every
command line against its row. A function gets the state and the arguments and answers with what follows: the reply,
or a Step. It raises Refusal for what is the client's error, and nothing else.

Reply texts are the RFC's own where it gives an example. No function waits, reads a clock or touches a socket.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from accounts.sasl import Authenticate, as_text
from pop3service import sasl, transfer
from pop3service.capabilities import IMPLEMENTATION, SERVER, policy_lines
from pop3service.states import (
    Authorization,
    Channel,
    Closed,
    Code,
    Finish,
    IfRefused,
    Listing,
    LoggedIn,
    Negotiation,
    Policy,
    ReadListing,
    Refusal,
    Reply,
    ShowAsStored,
    StartTls,
    State,
    Step,
    Transaction,
    Update,
)

#: Wrong passwords after which the connection is closed.
MAX_LOGIN_FAILURES = 5

#: Lines of LIST and UIDL that are made at a time: a millisecond's work, and less than OUTPUT_HIGH octets.
LINES_AT_ONCE = 1000

Handler = Callable[..., Reply]


# --- Arguments -----------------------------------------------------------------------------------------------


def message(word: bytes, transaction: Transaction) -> int:
    """The index of the message that a message number means, unless it is marked as deleted."""
    if not word.isdigit():  # of bytes: the ten ASCII digits and nothing else
        what = "negative" if word[:1] == b"-" and word[1:].isdigit() else "not a number"
        raise Refusal(f"the message number is {what}: give the digits that LIST shows")
    number = int(word)
    if number == 0:
        raise Refusal("message numbers begin at 1")
    if number > transaction.count:
        raise Refusal(f"no such message, only {_messages(transaction.count)} in maildrop")
    index = number - 1
    if index in transaction.deleted:
        raise Refusal(f"message {number} already deleted: RSET brings it back")
    return index


def lines(word: bytes, _: Transaction) -> int:
    """TOP's count of body lines; 0 is one (RFC 1939, 7: "a non-negative number of lines")."""
    if not word.isdigit():
        what = "negative" if word[:1] == b"-" and word[1:].isdigit() else "not a number"
        raise Refusal(f"the number of lines is {what}: give digits, 0 for the header alone")
    return int(word)


# --- AUTHORIZATION (RFC 1939, 4 and 7) -------------------------------------------------------------------------


def user(state: Authorization, name: bytes = b"") -> Reply:
    """RFC 1939, 7. The answer is the same for every name: whether it exists is nobody's business (13)."""
    _refuse_unencrypted(state.channel)
    login = name.strip()
    if not login:
        raise Refusal("too few arguments: USER name")
    state.login = _text(state, login)
    return b"+OK now send PASS\r\n"


def password(state: Authorization, secret: bytes | None = None) -> Reply:
    """RFC 1939, 7. All that follows the one space is the password, with every space in it."""
    _refuse_unencrypted(state.channel)
    if not state.login:
        raise Refusal("send USER before PASS")
    if secret is None:
        raise Refusal("too few arguments: PASS password")
    login, state.login = state.login, ""  # a second try begins with USER again
    return Step(
        request=Authenticate(login, _text(state, secret)),
        then=functools.partial(_welcome, state.channel),
    )


def _welcome(channel: Channel, logged_in: LoggedIn) -> Step:
    transaction = Transaction(channel, logged_in)
    return Step((b"+OK maildrop has %s\r\n" % _size(transaction),), state=transaction)


def login_failed(state: Authorization, refusal: Refusal) -> None:
    """Count a wrong password or token; the last one allowed ends the session."""
    if refusal.code is Code.AUTH:
        state.failures += 1
        refusal.ends = state.failures >= MAX_LOGIN_FAILURES


def stls(state: Authorization) -> Reply:
    """RFC 2595, 4: nothing the client said before counts after, and -ERR where TLS is active."""
    channel = state.channel
    if channel.encrypted:
        raise Refusal("this connection is encrypted already")
    if state.utf8:  # RFC 6856, 2.1
        raise Refusal("STLS comes before UTF8: connect again")
    if not channel.starttls:
        raise Refusal("this server has no certificate, TLS is not available")
    fresh = Authorization(channel.with_tls(), state.failures)
    return Step(
        (b"+OK begin TLS negotiation\r\n",),
        request=StartTls(),
        then=lambda _: Step(state=fresh),
        if_refused=IfRefused.ABORT,
    )


def utf8(state: Authorization) -> Reply:
    """RFC 6856, 2.1: messages are sent as they came, and what the client says is UTF-8."""
    state.utf8 = True
    return Step(request=ShowAsStored(), then=lambda _: b"+OK UTF-8 from here on\r\n")


def _text(state: Authorization, octets: bytes) -> str:
    """A name or a password. RFC 6856, 2.2: no client that knows of UTF-8 may send anything else."""
    try:
        return octets.decode() if state.utf8 else as_text(octets)
    except UnicodeDecodeError:
        raise Refusal("this is not UTF-8, which you asked for") from None


def _refuse_unencrypted(channel: Channel) -> None:
    """Promise 6, at USER already, so that the client does not go on to send the password."""
    if not channel.takes_passwords:
        how = "send STLS first, or use TLS on port 995" if channel.starttls else "use TLS on port 995"
        raise Refusal(f"no password over a connection that is not encrypted: {how}")


def auth(state: Authorization, *words: bytes) -> Reply:
    """RFC 5034, 4. Alone it lists the mechanisms, as clients from before CAPA expect."""
    _refuse_unencrypted(state.channel)
    if not words:
        listed = "".join(f"{name}\r\n" for name in state.channel.mechanisms)
        return b"+OK mechanisms follow\r\n%s.\r\n" % listed.encode()
    if len(words) > 2:
        raise Refusal("too many arguments: AUTH mechanism [initial-response]")
    state.login = ""
    initial = words[1] if len(words) == 2 else None
    return sasl.begin(state, words[0], initial, functools.partial(_welcome, state.channel))


# --- TRANSACTION (RFC 1939, 5 and 7) ----------------------------------------------------------------------------


def stat(transaction: Transaction) -> Reply:
    """RFC 1939, 5: messages marked as deleted are not counted."""
    return b"+OK %d %d\r\n" % transaction.size()


def scan_listing(transaction: Transaction, listing: Listing, index: int | None = None) -> Reply:
    """LIST (RFC 1939, 5)."""
    octets = listing.octets
    if index is not None:
        return b"+OK %d %d\r\n" % (index + 1, octets[index])
    lines = _of_each(transaction, lambda at: f"{at + 1} {octets[at]}\r\n")
    return Step((b"+OK %s\r\n" % _size(transaction),), more=lines)


def unique_id_listing(transaction: Transaction, listing: Listing, index: int | None = None) -> Reply:
    """UIDL (RFC 1939, 7): what came with the message from another server, or `uidvalidity.uid`."""
    uids, imported, validity = listing.uids, listing.unique_ids, transaction.uidvalidity

    def line(at: int) -> str:
        return f"{at + 1} {imported.get(at) or f'{validity}.{uids[at]}'}\r\n"

    if index is not None:
        return b"+OK " + line(index).encode()
    return Step((b"+OK\r\n",), more=_of_each(transaction, line))


def _of_each(transaction: Transaction, line: Callable[[int], str]) -> Iterator[bytes]:
    """The lines of the messages that are not marked as deleted, some at a time, and the end of the reply."""
    count, deleted = transaction.count, transaction.deleted
    for begin in range(0, count, LINES_AT_ONCE):
        some = range(begin, min(begin + LINES_AT_ONCE, count))
        lines = "".join([line(at) for at in some if at not in deleted]).encode()
        yield lines if some[-1] + 1 < count else lines + transfer.TERMINATOR
    if not count:
        yield transfer.TERMINATOR


def retrieve(transaction: Transaction, listing: Listing, index: int) -> Reply:
    """RETR (RFC 1939, 5)."""
    uid, octets, wire_octets = listing.uids[index], listing.octets[index], listing.wire_octets[index]
    reply = b"+OK %d octets\r\n" % octets
    whole = listing.at_hand(index)
    if whole is not None and len(whole) == wire_octets:
        # Most messages: no request, and nothing is copied before the output is put together.
        transaction.sent(uid, octets)
        return reply, whole, transfer.TERMINATOR
    return transfer.Transfer(
        uid=uid, wire_octets=wire_octets, reply=reply, finished=lambda _: transaction.sent(uid, octets)
    ).begin()


def top(transaction: Transaction, listing: Listing, index: int, count: int) -> Reply:
    """TOP (RFC 1939, 7): the header, the empty line, `count` lines of the body or all it has."""
    cut = transfer.Top(header_octets=listing.header_octets[index], lines=count)
    return transfer.Transfer(
        uid=listing.uids[index],
        wire_octets=listing.wire_octets[index],
        reply=b"+OK\r\n",
        cut=cut,
        finished=transaction.sent_part,
    ).begin()


def delete(transaction: Transaction, listing: Listing, index: int) -> Reply:
    """DELE (RFC 1939, 5): a mark; the message is removed by QUIT."""
    if transaction.read_only:
        raise Refusal("this password may fetch messages and not delete them: set your program to leave them here")
    transaction.deleted.add(index)
    transaction.deleted_octets += listing.octets[index]
    return b"+OK message %d deleted\r\n" % (index + 1)


def noop(_: Transaction) -> Reply:
    """RFC 1939, 5."""
    return b"+OK\r\n"


def reset(transaction: Transaction) -> Reply:
    """RSET (RFC 1939, 5): no message is marked any more."""
    transaction.deleted.clear()
    transaction.deleted_octets = 0
    return b"+OK maildrop has %s\r\n" % _size(transaction)


# --- In both states --------------------------------------------------------------------------------------------


def capabilities(state: Authorization | Transaction) -> Reply:
    """CAPA (RFC 2449, 5)."""
    return _capabilities(state.channel, None if isinstance(state, Authorization) else state.policy)


@functools.lru_cache(maxsize=64)
def _capabilities(channel: Channel, own: Policy | None) -> bytes:
    announced = [row.capability(channel, own is None) for row in COMMANDS.values() if row.capability]
    listed = [line for line in announced if line] + [*SERVER, *policy_lines(channel.policy, own), IMPLEMENTATION]
    return b"+OK capability list follows\r\n%s.\r\n" % "".join(f"{line}\r\n" for line in listed).encode()


def quit_(state: Authorization | Transaction) -> Reply:
    """RFC 1939, 4 and 6: only after a login is there an UPDATE state, and its reply comes after the work."""
    hostname = state.channel.hostname.encode()
    if isinstance(state, Authorization):
        return Step((b"+OK %s POP3 server signing off\r\n" % hostname,), state=Closed())
    left = state.size()[0]
    rest = _messages(left) + " left" if left else "maildrop empty"
    farewell = Step((b"+OK %s POP3 server signing off (%s)\r\n" % (hostname, rest.encode()),), state=Closed())
    listing = state.listing
    # Only a client that has seen the listing can have marked anything.
    deleted = [listing.uids[index] for index in sorted(state.deleted)] if listing else []
    return Step(
        state=Update(),
        request=Finish(deleted, sorted(state.retrieved), state.tally),
        then=lambda _: farewell,
        if_refused=IfRefused.END,
    )


# --- The table -------------------------------------------------------------------------------------------------


def _always(line: str) -> Callable[[Channel, bool], str]:
    return lambda channel, before_login: line


def _if_passwords(channel: Channel, _: bool) -> str:
    return "USER" if channel.takes_passwords else ""


def _if_sasl(channel: Channel, _: bool) -> str:
    return f"SASL {' '.join(channel.mechanisms)}" if channel.takes_passwords else ""


def _if_starttls(channel: Channel, before_login: bool) -> str:
    return "STLS" if before_login and channel.offers_starttls else ""  # RFC 2595, 4: AUTHORIZATION only


@dataclass(frozen=True, slots=True)
class Command:
    """A row: how the command is written, where it is legal, its arguments, its function, its line in CAPA."""

    usage: str
    states: tuple[type[State], ...]
    handler: Handler
    #: How each argument is read; the last `optional` of them may be missing.
    arguments: tuple[Callable[[bytes, Transaction], int], ...] = ()
    optional: int = 0
    #: The rest of the line, whatever it holds, is the one argument.
    whole_line: bool = False
    #: The words of the line, however many, are the arguments.
    words: bool = False
    #: The function gets the listing, which is asked for when it is not here yet.
    listing: bool = False
    #: The line for a channel, before or after the login; empty: nothing to announce.
    capability: Callable[[Channel, bool], str] | None = None


_BEFORE, _AFTER, _BOTH = (Authorization,), (Transaction,), (Authorization, Transaction)

COMMANDS: dict[bytes, Command] = {
    b"USER": Command("USER name", _BEFORE, user, whole_line=True, capability=_if_passwords),
    b"PASS": Command("PASS password", _BEFORE, password, whole_line=True),
    b"AUTH": Command("AUTH [mechanism [initial-response]]", _BEFORE, auth, words=True, capability=_if_sasl),
    b"STLS": Command("STLS", _BEFORE, stls, capability=_if_starttls),
    b"UTF8": Command("UTF8", _BEFORE, utf8, capability=_always("UTF8 USER")),
    b"STAT": Command("STAT", _AFTER, stat),
    b"LIST": Command("LIST [number]", _AFTER, scan_listing, (message,), optional=1, listing=True),
    b"RETR": Command("RETR number", _AFTER, retrieve, (message,), listing=True),
    b"DELE": Command("DELE number", _AFTER, delete, (message,), listing=True),
    b"NOOP": Command("NOOP", _AFTER, noop),
    b"RSET": Command("RSET", _AFTER, reset),
    b"TOP": Command("TOP number lines", _AFTER, top, (message, lines), listing=True, capability=_always("TOP")),
    b"UIDL": Command(
        "UIDL [number]", _AFTER, unique_id_listing, (message,), optional=1, listing=True, capability=_always("UIDL")
    ),
    b"CAPA": Command("CAPA", _BOTH, capabilities),
    b"QUIT": Command("QUIT", _BOTH, quit_),
}


def carry_out(state: State, line: bytes) -> Reply:
    """What follows from one command line, without its line end, in this state. Raises Refusal, nothing else."""
    if isinstance(state, Negotiation):
        return sasl.respond(state, line)
    verb, space, rest = line.partition(b" ")
    command = COMMANDS.get(verb) or COMMANDS.get(verb.upper())
    if command is None:
        if verb == b"PROXY":  # version 2 has a QUIT of its own
            raise Refusal("a PROXY header, from an address that is not listed as a proxy's", ends=True)
        raise Refusal("unknown command: CAPA lists what this server offers" if line else "empty command")
    if not isinstance(state, command.states):
        when = "log in with USER and PASS first" if isinstance(state, Authorization) else "you are logged in already"
        raise Refusal(f"{command.usage.partition(' ')[0]} is not possible now: {when}")
    if command.whole_line:
        return command.handler(state, rest) if space else command.handler(state)
    words = rest.split() if space else []
    if command.words:
        return command.handler(state, *words)
    _check_count(command, len(words))
    if not command.arguments or not isinstance(state, Transaction):
        return command.handler(state)
    return _with_listing(command, state, words)


def _check_count(command: Command, count: int) -> None:
    most = len(command.arguments)
    if count > most:
        raise Refusal(f"too many arguments: {command.usage}")
    if count < most - command.optional:
        raise Refusal(f"too few arguments: {command.usage}")


def _with_listing(command: Command, transaction: Transaction, words: list[bytes]) -> Reply:
    arguments = [read(word, transaction) for read, word in zip(command.arguments, words, strict=False)]
    if transaction.listing is None:
        return Step(request=ReadListing(), then=functools.partial(_listed, command, transaction, arguments))
    return command.handler(transaction, transaction.listing, *arguments)


def _listed(command: Command, transaction: Transaction, arguments: list[int], listing: Listing) -> Reply:
    transaction.listing = listing
    return command.handler(transaction, listing, *arguments)


def _messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"


def _size(transaction: Transaction) -> bytes:
    count, octets = transaction.size()
    return f"{_messages(count)} ({octets} octets)".encode()
