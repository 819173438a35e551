"""The commands of POP3: a table with one row per verb, and a small function for each.

A row says in which states the verb is legal, what its arguments are and what CAPA says of it; `carry_out` holds every
command line against its row. A function gets the state and the arguments and answers with what follows: the reply,
or a Step. It raises Refusal for what is the client's error, and nothing else.

Reply texts are the RFC's own where it gives an example. No function waits, reads a clock or touches a socket.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pop3service import language, logins, sasl, transfer
from pop3service.capabilities import IMPLEMENTATION, SERVER, policy_lines
from pop3service.states import (
    Authorization,
    Channel,
    Closed,
    Finish,
    IfRefused,
    Listing,
    Negotiation,
    Policy,
    ReadListing,
    Refusal,
    Reply,
    State,
    Step,
    Transaction,
    Update,
)
from pop3service.words import _

#: Lines of LIST and UIDL that are made at a time: a millisecond's work, and less than OUTPUT_HIGH octets.
LINES_AT_ONCE = 1000

Handler = Callable[..., Reply]


# --- Arguments -----------------------------------------------------------------------------------------------


def message(word: bytes, transaction: Transaction) -> int:
    """The index of the message that a message number means, unless it is marked as deleted."""
    if not word.isdigit():  # of bytes: the ten ASCII digits and nothing else
        if word[:1] == b"-" and word[1:].isdigit():
            raise Refusal(_("the message number is negative: give the digits that LIST shows"))
        raise Refusal(_("the message number is not a number: give the digits that LIST shows"))
    number = int(word)
    if number == 0:
        raise Refusal(_("message numbers begin at 1"))
    if number > transaction.count:
        raise Refusal(_("no such message, only %(messages)s in maildrop"), messages=transaction.count)
    index = number - 1
    if index in transaction.deleted:
        raise Refusal(_("message %(number)d already deleted: RSET brings it back"), number=number)
    return index


def lines(word: bytes, transaction: Transaction) -> int:
    """TOP's count of body lines; 0 is one (RFC 1939, 7: "a non-negative number of lines")."""
    if not word.isdigit():
        if word[:1] == b"-" and word[1:].isdigit():
            raise Refusal(_("the number of lines is negative: give digits, 0 for the header alone"))
        raise Refusal(_("the number of lines is not a number: give digits, 0 for the header alone"))
    return int(word)


# --- TRANSACTION (RFC 1939, 5 and 7) ----------------------------------------------------------------------------


def stat(transaction: Transaction) -> Reply:
    """RFC 1939, 5: messages marked as deleted are not counted."""
    return b"+OK %d %d\r\n" % transaction.size()


def scan_listing(transaction: Transaction, listing: Listing, index: int | None = None) -> Reply:
    """LIST (RFC 1939, 5)."""
    octets = listing.octets
    if index is not None:
        return b"+OK %d %d\r\n" % (index + 1, octets[index])

    def lines_of(begin: int, end: int) -> list[str]:
        return [f"{number} {size}\r\n" for number, size in enumerate(octets[begin:end], begin + 1)]

    count, octets_of_all = transaction.size()
    text = _("%(messages)s (%(octets)d octets)")
    status = transaction.channel.words.ok(text, messages=count, octets=octets_of_all)
    return Step((status,), more=_of_each(transaction, lines_of))


def unique_id_listing(transaction: Transaction, listing: Listing, index: int | None = None) -> Reply:
    """UIDL (RFC 1939, 7): what came with the message from another server, or `uidvalidity.uid`."""
    uids, imported, validity = listing.uids, listing.unique_ids, transaction.uidvalidity

    def lines_of(begin: int, end: int) -> list[str]:
        made = [f"{number} {validity}.{uid}\r\n" for number, uid in enumerate(uids[begin:end], begin + 1)]
        if imported:
            for at in imported.keys() & range(begin, end):
                made[at - begin] = f"{at + 1} {imported[at]}\r\n"
        return made

    if index is not None:
        return b"+OK " + lines_of(index, index + 1)[0].encode()
    return Step((b"+OK\r\n",), more=_of_each(transaction, lines_of))


def _of_each(transaction: Transaction, lines_of: Callable[[int, int], list[str]]) -> Iterator[bytes]:
    """The lines of the messages that are not marked as deleted, some at a time, and the end of the reply.

    `lines_of` makes those of the indexes from one up to another, deleted or not: of slices of the listing, without a
    call for each message (benchmarks.growth shows it).
    """
    count, deleted = transaction.count, transaction.deleted
    for begin in range(0, count, LINES_AT_ONCE):
        end = min(begin + LINES_AT_ONCE, count)
        some = lines_of(begin, end)
        if deleted:
            some = [line for at, line in enumerate(some, begin) if at not in deleted]
        octets = "".join(some).encode()
        yield octets if end < count else octets + transfer.TERMINATOR
    if not count:
        yield transfer.TERMINATOR


def retrieve(transaction: Transaction, listing: Listing, index: int) -> Reply:
    """RETR (RFC 1939, 5)."""
    uid, octets, wire_octets = listing.uids[index], listing.octets[index], listing.wire_octets[index]
    reply = transaction.channel.words.retrieved % octets
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
    uid = listing.uids[index]
    return transfer.Transfer(
        uid=uid,
        wire_octets=listing.wire_octets[index],
        reply=b"+OK\r\n",
        cut=cut,
        finished=functools.partial(transaction.tally.sent_part, uid),
    ).begin()


def delete(transaction: Transaction, listing: Listing, index: int) -> Reply:
    """DELE (RFC 1939, 5): a mark; the message is removed by QUIT."""
    if transaction.read_only:
        raise Refusal(_("this password may fetch messages and not delete them: set your program to leave them here"))
    transaction.deleted.add(index)
    transaction.deleted_octets += listing.octets[index]
    return transaction.channel.words.deleted % (index + 1)


def noop(transaction: Transaction) -> Reply:
    """RFC 1939, 5."""
    return b"+OK\r\n"


def reset(transaction: Transaction) -> Reply:
    """RSET (RFC 1939, 5): no message is marked any more."""
    transaction.deleted.clear()
    transaction.deleted_octets = 0
    return logins.content(transaction)


# --- In both states --------------------------------------------------------------------------------------------


def capabilities(state: Authorization | Transaction) -> Reply:
    """CAPA (RFC 2449, 5)."""
    return _capabilities(state.channel, None if isinstance(state, Authorization) else state.policy)


@functools.lru_cache(maxsize=64)
def _capabilities(channel: Channel, own: Policy | None) -> bytes:
    announced = [row.capability(channel, own is None) for row in COMMANDS.values() if row.capability]
    listed = [line for line in announced if line] + [*SERVER, *policy_lines(channel.policy, own), IMPLEMENTATION]
    status = channel.words.ok(_("capability list follows"))
    return b"%s%s.\r\n" % (status, "".join(f"{line}\r\n" for line in listed).encode())


def quit_(state: Authorization | Transaction) -> Reply:
    """RFC 1939, 4 and 6: only after a login is there an UPDATE state, and its reply comes after the work."""
    channel = state.channel
    hostname, say = channel.hostname, channel.words.ok
    if isinstance(state, Authorization):
        return Step((say(_("%(hostname)s POP3 server signing off"), hostname=hostname),), state=Closed(channel))
    if left := state.size()[0]:
        bye = say(_("%(hostname)s POP3 server signing off (%(messages)s left)"), hostname=hostname, messages=left)
    else:
        bye = say(_("%(hostname)s POP3 server signing off (maildrop empty)"), hostname=hostname)
    farewell = Step((bye,), state=Closed(channel))
    listing = state.listing
    # Only a client that has seen the listing can have marked anything.
    deleted = [listing.uids[index] for index in sorted(state.deleted)] if listing else []
    return Step(
        state=Update(channel),
        request=Finish(deleted, sorted(state.retrieved)),
        then=lambda done: farewell,
        if_refused=IfRefused.END,
    )


# --- The table -------------------------------------------------------------------------------------------------


def _always(line: str) -> Callable[[Channel, bool], str]:
    return lambda channel, before_login: line


def _if_passwords(channel: Channel, before_login: bool) -> str:
    return "USER" if channel.takes_passwords else ""


def _if_sasl(channel: Channel, before_login: bool) -> str:
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
    b"USER": Command("USER name", _BEFORE, logins.user, whole_line=True, capability=_if_passwords),
    b"PASS": Command("PASS password", _BEFORE, logins.password, whole_line=True),
    b"AUTH": Command("AUTH [mechanism [initial-response]]", _BEFORE, logins.auth, words=True, capability=_if_sasl),
    b"STLS": Command("STLS", _BEFORE, logins.stls, capability=_if_starttls),
    b"UTF8": Command("UTF8", _BEFORE, logins.utf8, capability=_always("UTF8 USER")),
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
    b"LANG": Command("LANG [language]", _BOTH, language.lang, words=True, capability=_always("LANG")),
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
            raise Refusal(_("a PROXY header, from an address that is not listed as a proxy's"), ends=True)
        if not line:
            raise Refusal(_("empty command"))
        raise Refusal(_("unknown command: CAPA lists what this server offers"))
    if not isinstance(state, command.states):
        verb_alone = command.usage.partition(" ")[0]
        if isinstance(state, Authorization):
            raise Refusal(_("%(verb)s is not possible now: log in with USER and PASS first"), verb=verb_alone)
        raise Refusal(_("%(verb)s is not possible now: you are logged in already"), verb=verb_alone)
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
        raise Refusal(logins.TOO_MANY, usage=command.usage)
    if count < most - command.optional:
        raise Refusal(logins.TOO_FEW, usage=command.usage)


def _with_listing(command: Command, transaction: Transaction, words: list[bytes]) -> Reply:
    arguments = [read(word, transaction) for read, word in zip(command.arguments, words, strict=False)]
    if transaction.listing is None:
        return Step(request=ReadListing(), then=functools.partial(_listed, command, transaction, arguments))
    return command.handler(transaction, transaction.listing, *arguments)


def _listed(command: Command, transaction: Transaction, arguments: list[int], listing: Listing) -> Reply:
    transaction.listing = listing
    return command.handler(transaction, listing, *arguments)
