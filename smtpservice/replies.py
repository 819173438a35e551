"""Every reply of the SMTP and LMTP server: code (RFC 5321, 4.2), enhanced status code (RFC 3463) and text.

A text says what the client can do about it, and nothing of what is inside (promise 8).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; a text of several lines becomes a multiline reply, each line with the enhanced status code."""

    code: int
    status: str  # empty where RFC 2034, 4 has none: the greeting, EHLO, 354
    text: str

    @property
    def is_error(self) -> bool:
        return self.code >= 400

    def encode(self) -> bytes:
        prefix = f"{self.status} " if self.status else ""
        *first, last = self.text.split("\n")
        lines = [f"{self.code}-{prefix}{line}\r\n" for line in first]
        return ("".join(lines) + f"{self.code} {prefix}{last}\r\n").encode("ascii", "replace")


SENDER_OK = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")
RESET = Reply(250, "2.0.0", "Nothing is under way")
NOTHING_DONE = Reply(250, "2.0.0", "Ok")
SEND_DATA = Reply(354, "", "Send the message; a line with a single dot ends it")
NOT_VERIFIED = Reply(252, "2.0.0", "Not said here; RCPT says whether mail is taken")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
LOGGED_IN = Reply(235, "2.7.0", "Welcome")

TOO_MANY_CONNECTIONS = Reply(421, "4.3.2", "Too many connections, try again later")
TOO_MANY_FROM_ADDRESS = Reply(421, "4.7.0", "Too many connections from your address, try again later")
SHUTTING_DOWN = Reply(421, "4.3.2", "The server is shutting down, try again at once")
TIMED_OUT = Reply(421, "4.4.2", "Too long without progress, closing")
FAILED = Reply(421, "4.3.0", "Temporary failure on our side, closing; try again later")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands without a message, closing")
NOT_HTTP = Reply(421, "4.7.0", "This is a mail server, closing")
NOT_A_PROXY = Reply(421, "4.7.0", "A PROXY header, from an address that is not listed as a proxy's; closing")
TOO_MANY_LOGINS = Reply(421, "4.7.0", "Too many wrong passwords, closing")

TRY_AGAIN = Reply(451, "4.3.0", "Temporary failure on our side, try again later")
TOO_BUSY = Reply(451, "4.3.2", "Too many messages at this moment, try again later")
NOT_AUTHENTICATED_YET = Reply(451, "4.7.24", "The DNS does not say whether this mail is authentic, try again later")
TOO_FAST = Reply(450, "4.7.1", "Too many messages in a short time, try again in a minute")
MAYBE_SPAM = Reply(451, "4.7.1", "Not taken yet, try again later")
NO_SPACE = Reply(452, "4.3.1", "No space for the message at the moment, try again later")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients, send to the others in another transaction")
HELD_BACK = Reply(452, "4.2.2", "A recipient's mailbox is full or gone; not stored for anyone, send it again")
DAY_IS_FULL = Reply(452, "4.5.3", "You have sent as much as is allowed in a day, try again tomorrow")
LOGIN_FAILED = Reply(454, "4.7.0", "Temporary failure of the login on our side, try again later")

LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")
BARE_LINE_FEED = Reply(500, "5.5.2", "A command line ends in CRLF, not in LF alone (RFC 5321, 2.3.8)")
NOT_A_COMMAND = Reply(500, "5.5.2", "Not a command: control characters or no verb")
UNKNOWN_VERB = Reply(500, "5.5.1", "Unknown command")
NO_ARGUMENT = Reply(501, "5.5.4", "This command takes no argument")
NEEDS_ARGUMENT = Reply(501, "5.5.4", "This command needs an argument")
BAD_CHUNK = Reply(501, "5.5.4", "BDAT takes a number of octets and perhaps LAST; closing, what follows is unclear")
BAD_NAME = Reply(501, "5.5.4", "Say a host name or an [address]")
BAD_PARAMETER = Reply(501, "5.5.4", "Bad parameter value")
BAD_PATH = Reply(501, "5.1.3", "Not a mail path: an address stands between < and >")
BAD_SENDER_PATH = Reply(501, "5.1.7", "Not a mail path: an address stands between < and >")
PATH_TOO_LONG = Reply(501, "5.1.3", "The path is too long (RFC 5321, 4.5.3.1)")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Not implemented")
EHLO_FIRST = Reply(503, "5.5.1", "Say EHLO first")
LHLO_FIRST = Reply(503, "5.5.1", "Say LHLO first")
MAIL_FIRST = Reply(503, "5.5.1", "Say MAIL FROM first")
RECIPIENT_FIRST = Reply(503, "5.5.1", "Say RCPT TO first")
MAIL_TWICE = Reply(503, "5.5.1", "A transaction is under way; RSET ends it")
LOGGED_IN_ALREADY = Reply(503, "5.5.1", "You have logged in already")
CHUNKS_ONLY = Reply(503, "5.5.1", "The message comes in chunks; BDAT goes on with it, RSET ends it")
TLS_TWICE = Reply(503, "5.5.1", "TLS is in use already")
NO_RECIPIENT = Reply(554, "5.5.1", "No recipient was accepted")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Unknown parameter")

TLS_FIRST = Reply(530, "5.7.0", "Say STARTTLS first: no password over a connection that is not encrypted")
LOGIN_AGAIN = Reply(530, "5.7.0", "This login is no longer allowed, connect and log in again")
LOGIN_FIRST = Reply(530, "5.7.0", "Log in first (AUTH)")
WRONG_LOGIN = Reply(535, "5.7.8", "Wrong name or password; the name is the full mail address")
NOT_YOUR_ADDRESS = Reply(550, "5.7.1", "This is not an address of yours to send from")
NOT_YOUR_FROM = Reply(550, "5.7.1", "The From header names an address that is not yours to send from")
NO_RELAYING_THERE = Reply(550, "5.1.2", "Mail is sent to domain names, not to address literals")
UNKNOWN_RECIPIENT = Reply(550, "5.1.1", "No such mailbox here")
RELAYING_DENIED = Reply(550, "5.7.1", "Relaying denied: not a domain of ours")
ROUTING_LOOP = Reply(550, "5.4.6", "Mail for this address goes in a loop here")
ROUTED_TOO_FAR = Reply(550, "5.3.5", "This address leads on to too many others")
SUSPENDED = Reply(550, "5.2.1", "The mailbox is suspended")
OVER_QUOTA = Reply(552, "5.2.2", "The mailbox is full")
NOT_AUTHENTIC = Reply(550, "5.7.26", "Refused by the DMARC policy of its author's domain: neither SPF nor DKIM passed")
SPAM = Reply(550, "5.7.1", "Refused: the message looks like spam")
HEADER_TOO_LARGE = Reply(552, "5.3.4", "The header of the message is too large")
NOT_ASCII = Reply(553, "5.6.7", "Addresses outside ASCII are not accepted here (no SMTPUTF8)")
TOO_MANY_HOPS = Reply(554, "5.4.6", "Too many hops: the message goes in a loop")


def stored(identity: str) -> Reply:
    """The message is in the database."""
    return Reply(250, "2.0.0", f"Stored as {identity}")


def too_large(octets: int) -> Reply:
    """The message has more octets than are taken."""
    return Reply(552, "5.3.4", f"The message is larger than the {octets} octets that are accepted here")


def challenge(text: str) -> Reply:
    """What a mechanism of AUTH asks, in base64 (RFC 4954, 4)."""
    return Reply(334, "", text)


def login_refused(text: str) -> Reply:
    """An exchange of AUTH that the client ended, or did not understand."""
    return Reply(501, "5.5.2", text[:1].upper() + text[1:])


def unknown_mechanism(text: str) -> Reply:
    return Reply(504, "5.5.4", text[:1].upper() + text[1:])


def login_later(text: str) -> Reply:
    """Too many failed logins, or too many at this moment."""
    return Reply(454, "4.7.0", text[:1].upper() + text[1:])


def chunk_received(octets: int) -> Reply:
    return Reply(250, "2.0.0", f"{octets} octets received")
