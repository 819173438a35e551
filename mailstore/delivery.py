"""Putting messages into maildrops: from outside with a trace header (`deliver`), or as they are (`append_many`).

A message on its way in is a `Body`, spooled and already in wire form, so that none is ever whole in memory. A call is
one transaction: when it returns, what it says is stored is on the disk (promise 1); when it raises, nothing is stored.
Maildrop rows are locked in ascending order of mailbox, so that two deliveries never wait for each other in a circle.
The lock of an open session is another thing: no delivery waits for it.
"""

import enum
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any, Self

from django.db import transaction
from django.utils import timezone

from accounts.lookup import FoundMailbox
from mailstore.downgrade import split_last_field, surrogate_octets
from mailstore.envelope import EnvelopeFields, read_envelope
from mailstore.inserts import execute_all, insert_rows, insertion, moment
from mailstore.models import PIECE_OCTETS, Content, Maildrop, Message
from mailstore.rows import change, lock_maildrop, lock_maildrops, save_changed
from mailstore.wire import WireEncoder

#: Octets of a message that are kept in memory while it is received; the rest is on the disk.
SPOOL_OCTETS = 1024 * 1024
#: Octets of a header that are looked at for the envelope.
_ENVELOPE_OCTETS = 64 * 1024
#: Rows and octets written with one statement.
_BATCH_ROWS = 100
_BATCH_OCTETS = PIECE_OCTETS
#: RFC 1939, 7 (UIDL): one to 70 characters in the range 0x21 to 0x7E.
_UNIQUE_ID = re.compile(r"[\x21-\x7e]{0,70}")


class Outcome(enum.Enum):
    """What became of a message for one recipient."""

    STORED = "stored"
    OVER_QUOTA = "over quota"
    GONE = "mailbox gone"
    #: There was room, but another recipient could not be served and it was to be all or none.
    HELD_BACK = "held back"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sent a message (the reverse-path without <>, "" for the null path) and how it came here.

    `received` is the value of a Received header (RFC 5321, 4.4); it may be folded, with CRLF and a blank.
    """

    sender: str
    received: bytes

    def __post_init__(self) -> None:
        if not self.sender.isprintable():
            raise ValueError("a reverse-path has no line ends and no control characters")

    def trace_header(self, recipient: str) -> bytes:
        """The lines that final delivery puts on top (RFC 5321, 4.4), for one recipient."""
        addresses = f"Return-Path: <{self.sender}>\r\nDelivered-To: {recipient}\r\n"
        return addresses.encode() + b"Received: " + self.received + b"\r\n"


class Body:
    """A message while it is received: octets go in as they come, the wire form comes out.

    After `finish`, `octets`, `wire_octets` and `header_octets` say what mailstore.wire says of them. A message
    that gets larger than `spool_octets` is in a file.
    """

    def __init__(self, *, spool_octets: int = SPOOL_OCTETS) -> None:
        self.spool_octets = spool_octets
        self._encoder = WireEncoder()
        self._spool = SpooledTemporaryFile(max_size=spool_octets)
        self._head = bytearray()
        self._added = b""
        self._left_out = 0  # octets at the beginning of the spool
        self._fields: EnvelopeFields | None = None
        self._header_is_ascii = True
        self._added_in_ascii: dict[bytes, int | None] = {}

    def write(self, chunk: bytes) -> None:
        """Take the next octets of the message, with line ends of any kind."""
        self._store(self._encoder.feed(chunk))

    def finish(self) -> None:
        """The message has ended: what is missing at its end is added. Raises OSError where the disk is full."""
        self._store(self._encoder.finish())
        self._spool.flush()  # its own error, and not that of a batch in which it is stored

    def add_header(self, lines: bytes) -> None:
        """Put header lines on top of the message, with CRLF and not beginning with a dot. It has ended before."""
        self._added = lines + self._added
        self._forget_header()

    def header(self) -> bytes | None:
        """The header of a message that has ended, dots stuffed; None where it is larger than what is kept of it."""
        whole = self._encoder.header_octets <= len(self._head)
        return self._added + self._head[self._left_out : self._encoder.header_octets] if whole else None

    def set_header(self, header: bytes) -> None:
        """Put another header in the place of that which `header` gave; stuffed dots are those of before."""
        self._added, self._left_out = header, self._encoder.header_octets
        self._forget_header()

    @property
    def octets(self) -> int:
        return len(self._added) - self._left_out + self._encoder.octets

    @property
    def wire_octets(self) -> int:
        return len(self._added) - self._left_out + self._encoder.wire_octets

    @property
    def header_octets(self) -> int:
        return len(self._added) - self._left_out + self._encoder.header_octets

    def surrogate_octets(self, top: bytes = b"") -> int | None:
        """Octets of the surrogate of this message with `top` before it (mailstore.downgrade); None: it needs none."""
        if self._header_is_ascii and (top + self._added).isascii():
            return None
        # Each field is said in ASCII for itself, but the message may go on with the last one. Tops of recipients differ
        # before it, so that the message is gone through for the first one alone.
        before, last = split_last_field(top)
        if last not in self._added_in_ascii:
            self._added_in_ascii[last] = surrogate_octets(self.pieces(last), 0)
        added = [surrogate_octets([before, b"\r\n"], 0), self._added_in_ascii[last]]
        return None if added == [None, None] else len(top) + self.octets + sum(each or 0 for each in added)

    def envelope_fields(self) -> EnvelopeFields:
        """What the header says; to be asked for when the message has ended."""
        if self._fields is None:
            self._fields = read_envelope(self._added + self._head[self._left_out : self._encoder.header_octets])
        return self._fields

    def pieces(self, top: bytes = b"") -> Iterator[bytes]:
        """The wire form with `top` before it, in pieces of PIECE_OCTETS, the last one shorter."""
        self._spool.seek(self._left_out)
        top += self._added
        piece = top + self._spool.read(PIECE_OCTETS - len(top))
        while piece:
            yield piece
            piece = self._spool.read(PIECE_OCTETS)

    def close(self) -> None:
        """Give up what is held; raises nothing, be the disk full: what it could not take is not wanted any more."""
        with suppress(OSError):
            self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget_header(self) -> None:
        self._fields = None
        self._added_in_ascii.clear()

    def _store(self, wire: bytes) -> None:
        self._spool.write(wire)
        if self._header_is_ascii and not wire.isascii():
            left, header = self._encoder.wire_octets - len(wire), self._encoder.header_octets
            self._header_is_ascii = bool(header) and wire[: max(header - left, 0)].isascii()
        if len(self._head) < _ENVELOPE_OCTETS:
            self._head += wire[: _ENVELOPE_OCTETS - len(self._head)]


@dataclass(frozen=True, slots=True)
class Import:
    """A message that is stored as it is: when it was received, and the unique-id it had elsewhere ("": a new one)."""

    body: Body
    received_at: datetime | None = None
    unique_id: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for recipients, each of whom gets it with a trace header of its own.

    With `all_or_none` it is stored for all of them or for none (SMTP has one reply for all); else each for itself
    (LMTP, RFC 2033, 4.2). The mailboxes whose ids are `optional` keep it from nobody.
    """

    body: Body
    envelope: Envelope
    recipients: Sequence[FoundMailbox]
    all_or_none: bool
    optional: Collection[int] = ()


def deliver(
    *,
    body: Body,
    envelope: Envelope,
    recipients: Sequence[FoundMailbox],
    all_or_none: bool,
    optional: Collection[int] = (),
    maildrops: dict[int, Maildrop] | None = None,
) -> list[Outcome]:
    """Make one Delivery; see `deliver_many`."""
    delivery = Delivery(body, envelope, recipients, all_or_none, optional)
    return deliver_many(deliveries=[delivery], maildrops=maildrops)[0]


def deliver_many(
    *, deliveries: Sequence[Delivery], maildrops: dict[int, Maildrop] | None = None
) -> list[list[Outcome]]:
    """Make deliveries in one transaction; answers for each what became of it for each recipient.

    `maildrops` are the rows of all of them, where the caller's transaction has locked them already; their counters
    change with it. Raises django.db.DatabaseError; then nothing is stored, the counters in those rows are wrong, and a
    transaction around it goes on from a savepoint of its own alone.
    """
    now = timezone.now()
    with transaction.atomic(savepoint=False):
        if maildrops is None:
            maildrops = lock_maildrops([recipient.id for each in deliveries for recipient in each.recipients])
        decided = [_decide(delivery, maildrops, now) for delivery in deliveries]
        _store([addition for _, additions in decided for addition in additions])
    return [outcomes for outcomes, _ in decided]


def append(*, mailbox_id: int, body: Body, received_at: datetime | None = None, unique_id: str = "") -> int:
    """Store one message as it is; see `append_many`. Answers its uid."""
    return append_many(mailbox_id=mailbox_id, imports=[Import(body, received_at, unique_id)])[0]


def append_many(*, mailbox_id: int, imports: Sequence[Import]) -> list[int]:
    """Store messages as they are, whatever the quota, in one transaction; answers their uids.

    Raises MailboxGoneError; ValueError where a unique-id is none (RFC 1939, 7) or could be given out here again;
    django.db.IntegrityError where the maildrop has a unique-id already.
    """
    with transaction.atomic():
        maildrop = lock_maildrop(mailbox_id)
        for item in imports:
            _check_unique_id(item.unique_id, maildrop)
        first = maildrop.next_uid
        now = timezone.now()
        _store(
            [
                _Addition(
                    maildrop, item.body, item.body.envelope_fields(), item.received_at or now, b"", item.unique_id
                )
                for item in imports
            ]
        )
    return list(range(first, first + len(imports)))


def _decide(
    delivery: Delivery, maildrops: dict[int, Maildrop], now: datetime
) -> tuple[list[Outcome], list["_Addition"]]:
    """What becomes of a message for each recipient, and what is to be stored of it."""
    outcomes = _outcomes(delivery, maildrops)
    needed = [
        outcome
        for recipient, outcome in zip(delivery.recipients, outcomes, strict=True)
        if recipient.id not in delivery.optional
    ]
    if delivery.all_or_none and any(outcome is not Outcome.STORED for outcome in needed):
        return [Outcome.HELD_BACK if outcome is Outcome.STORED else outcome for outcome in outcomes], []
    body, fields = delivery.body, delivery.body.envelope_fields()
    return outcomes, [
        _Addition(maildrops[recipient.id], body, fields, now, delivery.envelope.trace_header(recipient.address))
        for recipient, outcome in zip(delivery.recipients, outcomes, strict=True)
        if outcome is Outcome.STORED
    ]


def _outcomes(delivery: Delivery, maildrops: dict[int, Maildrop]) -> list[Outcome]:
    """Who has room; a mailbox that is named twice needs it twice."""
    messages: Counter[int] = Counter()
    octets: Counter[int] = Counter()
    outcomes = []
    for recipient in delivery.recipients:
        maildrop = maildrops.get(recipient.id)
        if maildrop is None:
            outcomes.append(Outcome.GONE)
            continue
        needed = len(delivery.envelope.trace_header(recipient.address)) + delivery.body.octets
        too_many = 0 < recipient.quota_messages < maildrop.message_count + messages[recipient.id] + 1
        too_large = 0 < recipient.quota_octets < maildrop.octets + octets[recipient.id] + needed
        if too_many or too_large:
            outcomes.append(Outcome.OVER_QUOTA)
            continue
        messages[recipient.id] += 1
        octets[recipient.id] += needed
        outcomes.append(Outcome.STORED)
    return outcomes


def _check_unique_id(unique_id: str, maildrop: Maildrop) -> None:
    if not _UNIQUE_ID.fullmatch(unique_id):
        raise ValueError("a unique-id is at most 70 characters from ! to ~ (RFC 1939, 7)")
    if unique_id.startswith(f"{maildrop.uidvalidity}."):
        raise ValueError("this unique-id could be given to another message of the maildrop")


@dataclass(slots=True)
class _Addition:
    """One message on its way into one maildrop, whose row is locked: it has its uid and is counted in the row."""

    maildrop: Maildrop
    body: Body
    fields: EnvelopeFields
    received_at: datetime
    top: bytes
    unique_id: str = ""
    uid: int = field(init=False)
    surrogate_octets: int | None = field(init=False)

    def __post_init__(self) -> None:
        maildrop = self.maildrop
        self.surrogate_octets = self.body.surrogate_octets(self.top)
        self.uid, maildrop.next_uid = maildrop.next_uid, maildrop.next_uid + 1
        maildrop.message_count += 1
        maildrop.octets += len(self.top) + self.body.octets


def _store(additions: Sequence[_Addition]) -> None:
    """Write the rows, and the counters."""
    if not additions:
        return
    maildrops = list({addition.maildrop.mailbox_id: addition.maildrop for addition in additions}.values())
    contents = (
        (addition.maildrop.mailbox_id, addition.uid, number, piece)
        for addition in additions
        for number, piece in enumerate(addition.body.pieces(addition.top))
    )
    octets = sum(len(addition.top) + addition.body.wire_octets for addition in additions)
    if octets <= _BATCH_OCTETS and len(additions) <= _BATCH_ROWS:
        statements = [
            insertion(Message, _MESSAGE_COLUMNS, [_message_row(addition) for addition in additions]),
            insertion(Content, _CONTENT_COLUMNS, list(contents)),
        ]
        if len(maildrops) == 1:
            statements.append(change(maildrops.pop()))
        execute_all(statements)
    else:
        for start in range(0, len(additions), _BATCH_ROWS):
            rows = [_message_row(addition) for addition in additions[start : start + _BATCH_ROWS]]
            insert_rows(Message, _MESSAGE_COLUMNS, rows)
        _write_contents(contents)
    if maildrops:
        save_changed(*maildrops)
    _note_surrogates(additions)


def _note_surrogates(additions: Sequence[_Addition]) -> None:
    """Mark the maildrops, whose rows are locked, that have messages with UTF-8 in their headers now."""
    marked = {addition.maildrop.mailbox_id for addition in additions if addition.surrogate_octets is not None}
    if marked:
        Maildrop.objects.filter(mailbox_id__in=marked).update(has_surrogates=True)


_MESSAGE_COLUMNS = (
    "mailbox_id", "uid", "octets", "wire_octets", "header_octets", "surrogate_octets", "unique_id",
    "received_at", "subject", "sender", "dated_at", "message_id",
)  # fmt: skip
_CONTENT_COLUMNS = ("mailbox_id", "uid", "piece", "octets")


def _message_row(addition: _Addition) -> tuple[Any, ...]:
    """Values of _MESSAGE_COLUMNS."""
    body, fields, top = addition.body, addition.fields, len(addition.top)
    return (
        addition.maildrop.mailbox_id, addition.uid, top + body.octets, top + body.wire_octets, top + body.header_octets,
        addition.surrogate_octets, addition.unique_id, moment(addition.received_at),
        fields.subject, fields.sender, moment(fields.dated_at), fields.message_id,
    )  # fmt: skip


def _write_contents(contents: Iterable[tuple[int, int, int, bytes]]) -> None:
    """Insert pieces as they come, never more than about two of full size in memory."""
    batch: list[tuple[int, int, int, bytes]] = []
    octets = 0
    for content in contents:
        batch.append(content)
        octets += len(content[-1])
        if octets >= _BATCH_OCTETS or len(batch) >= _BATCH_ROWS:
            insert_rows(Content, _CONTENT_COLUMNS, batch)
            batch, octets = [], 0
    insert_rows(Content, _CONTENT_COLUMNS, batch)
