"""Messages to import from a POP3 account on another server, with their unique-ids where these are to be kept.

With its unique-id kept a message is the same to a client that leaves mail on the server: it has it already. So the
server changes under a client, and nothing is fetched twice; and an import that was broken off takes up where it
stopped, since what is here is known by its unique-id without being fetched again.
"""

import re
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from mailplatform.networks import Networks
from mailstore.models import Maildrop, Message
from mailstore.pop3_client import Pop3Client, Pop3Error, RefusedError
from mailstore.pop3_url import Pop3Url
from mailstore.sources import FoundMessage

_CONNECT_SECONDS = 30.0
#: Seconds for one message.
_MESSAGE_SECONDS = 3600.0
#: What a message may have beyond twice what the server says: some count line ends as one octet, some nothing right.
_BEYOND = 1024 * 1024
#: RFC 1939, 7 (UIDL).
_UNIQUE_ID = re.compile(rb"[\x21-\x7e]{1,70}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A message at the account. `unique_id` is the one to keep; where there is none, `why` says the reason."""

    number: int
    octets: int
    unique_id: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is to be fetched, in the server's order, and how many messages are here by their unique-ids already."""

    wanted: list[Listed]
    here: int


def open_account(url: Pop3Url, password: str) -> Pop3Client:
    """Log in. With pop3:// it is STLS, or nothing where the server has none and is in PLAINTEXT_NETWORKS.

    The caller closes it. Raises Pop3Error.
    """
    try:
        connected = socket.create_connection((url.host, url.port), timeout=_CONNECT_SECONDS)
    except OSError as error:
        raise Pop3Error(f"no connection to {url.host}, port {url.port}: {error.strerror or error}") from error
    client = Pop3Client(connected)
    try:
        if url.tls:
            client.begin_tls(ssl.create_default_context(), url.host)
        client.greet()
        if not url.tls:
            _begin_stls(client, url, connected.getpeername()[0])
        client.login(url.login, password)
    except BaseException:
        client.close()
        raise
    return client


def list_account(client: Pop3Client, *, keep_for: int | None = None) -> Listing:
    """What the account has. `keep_for` is the mailbox that the unique-ids are kept in. Raises Pop3Error."""
    sizes = client.sizes()
    if keep_for is None:
        return Listing([Listed(number, octets) for number, octets in sorted(sizes.items())], 0)
    try:
        unique_ids = client.unique_ids()
    except RefusedError as error:
        raise Pop3Error("the server has no unique-ids (UIDL) that could be kept") from error
    here = set(Message.objects.filter(mailbox_id=keep_for).exclude(unique_id="").values_list("unique_id", flat=True))
    prefix = _ours(keep_for)
    times = Counter(unique_ids.values())
    wanted = []
    for number, octets in sorted(sizes.items()):
        unique_id = unique_ids.get(number, b"")
        text = unique_id.decode("ascii", "replace")
        if text in here:
            continue
        why = _why_not(unique_id, times[unique_id], prefix)
        wanted.append(Listed(number, octets, "" if why else text, why))
    return Listing(wanted, len(sizes) - len(wanted))


def read_account(client: Pop3Client, wanted: list[Listed]) -> Iterator[FoundMessage]:
    """These messages, each to be read before the next is asked for. Reading one may raise Pop3Error."""
    for each in wanted:
        most = 2 * each.octets + _BEYOND
        chunks = client.retrieve(each.number, most=most, seconds=_MESSAGE_SECONDS)
        yield FoundMessage(f"message {each.number}", chunks, unique_id=each.unique_id)


def _begin_stls(client: Pop3Client, url: Pop3Url, address: str) -> None:
    try:
        client.start_tls(ssl.create_default_context(), url.host)
    except RefusedError:
        if address not in Networks(settings.PLAINTEXT_NETWORKS):
            raise Pop3Error(f"{url.host} has no STLS: the password would cross the network in the clear") from None


def _ours(mailbox_id: int) -> bytes:
    """How the unique-ids begin that the maildrop gives out itself; empty: it has given out none."""
    found = Maildrop.objects.filter(mailbox_id=mailbox_id).values_list("uidvalidity", flat=True).first()
    return b"%d." % found if found is not None else b""


def _why_not(unique_id: bytes, times: int, prefix: bytes) -> str:
    """Why this unique-id cannot be kept; empty where it can."""
    if not unique_id:
        return "it has none"
    if not _UNIQUE_ID.fullmatch(unique_id):
        return "it is not as RFC 1939 has it"
    if times > 1:
        return "several messages have it"
    if prefix and unique_id.startswith(prefix):
        return "another message here may get it"
    return ""
