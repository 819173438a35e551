"""The commands of AUTHORIZATION (RFC 1939, 4 and 7), rows of the table in pop3service.commands.

None says whether a name exists: USER is welcome whatever it names, and a wrong password is all that PASS knows.
"""

import functools

from accounts.sasl import Authenticate, as_text
from pop3service import sasl
from pop3service.states import (
    Authorization,
    Channel,
    Code,
    IfRefused,
    LoggedIn,
    Refusal,
    Reply,
    ShowAsStored,
    StartTls,
    Step,
    Transaction,
)
from pop3service.words import _

#: Wrong passwords after which the connection is closed.
MAX_LOGIN_FAILURES = 5

TOO_FEW = _("too few arguments: %(usage)s")
TOO_MANY = _("too many arguments: %(usage)s")


def user(state: Authorization, name: bytes = b"") -> Reply:
    """RFC 1939, 7. The answer is the same for every name: whether it exists is nobody's business (13)."""
    _refuse_unencrypted(state.channel)
    state.login = ""  # PASS follows a USER that was welcome, not one before it
    login = name.strip()
    if not login:
        raise Refusal(TOO_FEW, usage="USER name")
    state.login = _text(state, login)
    return state.channel.words.ok(_("now send PASS"))


def password(state: Authorization, secret: bytes | None = None) -> Reply:
    """RFC 1939, 7. All that follows the one space is the password, with every space in it."""
    _refuse_unencrypted(state.channel)
    if not state.login:
        raise Refusal(_("send USER before PASS"))
    if secret is None:
        raise Refusal(TOO_FEW, usage="PASS password")
    login, state.login = state.login, ""  # a second try begins with USER again
    return Step(
        request=Authenticate(login, _text(state, secret)),
        then=functools.partial(_welcome, state.channel),
    )


def _welcome(channel: Channel, logged_in: LoggedIn) -> Step:
    transaction = Transaction(channel, logged_in)
    return Step((content(transaction),), state=transaction)


def login_failed(state: Authorization, refusal: Refusal) -> None:
    """Count a wrong password or token; the last one allowed ends the session."""
    if refusal.code is Code.AUTH:
        state.failures += 1
        refusal.ends = state.failures >= MAX_LOGIN_FAILURES


def stls(state: Authorization) -> Reply:
    """RFC 2595, 4: nothing the client said before counts after, and -ERR where TLS is active."""
    channel = state.channel
    if channel.encrypted:
        raise Refusal(_("this connection is encrypted already"))
    if state.utf8:  # RFC 6856, 2.1
        raise Refusal(_("STLS comes before UTF8: connect again"))
    if not channel.starttls:
        raise Refusal(_("this server has no certificate, TLS is not available"))
    fresh = Authorization(channel.with_tls(), state.failures)
    return Step(
        (channel.words.ok(_("begin TLS negotiation")),),
        request=StartTls(),
        then=lambda done: Step(state=fresh),
        if_refused=IfRefused.ABORT,
    )


def utf8(state: Authorization) -> Reply:
    """RFC 6856, 2.1: messages are sent as they came, and what the client says is UTF-8."""
    state.utf8 = True
    reply = state.channel.words.ok(_("UTF-8 from here on"))
    return Step(request=ShowAsStored(), then=lambda done: reply)


def _text(state: Authorization, octets: bytes) -> str:
    """A name or a password. RFC 6856, 2.2: no client that knows of UTF-8 may send anything else."""
    try:
        return octets.decode() if state.utf8 else as_text(octets)
    except UnicodeDecodeError:
        raise Refusal(_("this is not UTF-8, which you asked for")) from None


def _refuse_unencrypted(channel: Channel) -> None:
    """Promise 6, at USER already, so that the client does not go on to send the password."""
    if not channel.takes_passwords:
        raise Refusal(
            _("no password over a connection that is not encrypted: send STLS first, or use TLS on port 995")
            if channel.starttls
            else _("no password over a connection that is not encrypted: use TLS on port 995")
        )


def auth(state: Authorization, *words: bytes) -> Reply:
    """RFC 5034, 4. Alone it lists the mechanisms, as clients from before CAPA expect."""
    _refuse_unencrypted(state.channel)
    if not words:
        listed = "".join(f"{name}\r\n" for name in state.channel.mechanisms)
        return b"%s%s.\r\n" % (state.channel.words.ok(_("mechanisms follow")), listed.encode())
    if len(words) > 2:
        raise Refusal(TOO_MANY, usage="AUTH mechanism [initial-response]")
    state.login = ""
    initial = words[1] if len(words) == 2 else None
    return sasl.begin(state, words[0], initial, functools.partial(_welcome, state.channel))


def content(transaction: Transaction) -> bytes:
    """What PASS and RSET say of the maildrop."""
    count, octets = transaction.size()
    text = _("maildrop has %(messages)s (%(octets)d octets)")
    return transaction.channel.words.ok(text, messages=count, octets=octets)
