"""Taking messages over from elsewhere: stored as they are, but for their line ends, and in large batches.

Nothing is added to a message, so what was imported is what RETR sends. A batch is one transaction: an import that is
broken off has stored whole batches, in order, and can be run again with `skip_duplicates`.
"""

import re
from datetime import datetime
from types import TracebackType
from typing import Self

from django.utils import timezone

from mailstore.dates import read_date
from mailstore.delivery import Body, Import, append_many
from mailstore.duplicates import KnownMessages
from mailstore.sources import FoundMessage

#: Messages and octets stored in one transaction: few enough that deliveries hardly wait for it.
_BATCH_MESSAGES = 500
_BATCH_OCTETS = 8 * 1024 * 1024
#: The topmost Received field; its date is what follows the last semicolon (RFC 5322, 3.6.7).
_RECEIVED = re.compile(rb"^Received[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.IGNORECASE | re.MULTILINE)


class EmptyMessageError(ValueError):
    """There is nothing in it, not one octet: a file that was cut off, or never written."""


class Importer:
    """Stores messages in one mailbox, in the order they come. Close it with `flush`, or use it as a context manager.

    With `skip_duplicates` what is here already, octet for octet, is left out, but for messages that bring a unique-id:
    by that they are others. `imported` and `duplicates` count what has been stored and left out so far. Errors of the
    database and mailstore.delivery.MailboxGoneError pass through.
    """

    def __init__(self, *, mailbox_id: int, skip_duplicates: bool = False) -> None:
        self.imported = 0
        self.duplicates = 0
        self._mailbox_id = mailbox_id
        self._known = KnownMessages(mailbox_id) if skip_duplicates else None
        self._batch: list[Import] = []
        self._octets = 0

    def add(self, message: FoundMessage) -> None:
        """Read a message, and store it now or with those that follow. Raises OSError, EmptyMessageError."""
        body = Body()
        empty = True
        try:
            for chunk in message.chunks:
                body.write(chunk)
                empty = empty and not chunk
            if empty:
                raise EmptyMessageError("is empty")
            body.finish()
        except BaseException:
            body.close()
            raise
        self._batch.append(Import(body, _received_at(message, body), message.unique_id))
        self._octets += body.wire_octets
        if len(self._batch) >= _BATCH_MESSAGES or self._octets >= _BATCH_OCTETS:
            self.flush()

    def flush(self) -> None:
        """Store what is waiting; where that fails it is dropped."""
        batch = self._batch
        try:
            if self._known:
                new = set(self._known.only_new(item.body for item in batch if not item.unique_id))
                batch = [item for item in batch if item.unique_id or item.body in new]
            if batch:
                append_many(mailbox_id=self._mailbox_id, imports=batch)
            self.imported += len(batch)
            self.duplicates += len(self._batch) - len(batch)
        finally:
            self._drop_batch()

    def _drop_batch(self) -> None:
        for item in self._batch:
            item.body.close()
        self._batch, self._octets = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
        else:
            self._drop_batch()


def _received_at(message: FoundMessage, body: Body) -> datetime | None:
    """The moment it was received, by the first that says one; a moment still to come would keep it from expiring."""
    said = (message.received_at, received_date(body), message.changed_at)
    return next((moment for moment in said if moment is not None and moment <= timezone.now()), None)


def received_date(body: Body) -> datetime | None:
    """When a message says it was received, or else written; None where that is missing or still to come."""
    header = next(body.pieces())[: body.header_octets]
    received = _RECEIVED.search(header)
    date = read_date(received[1].rpartition(b";")[2].decode("latin-1")) if received else None
    date = date or body.envelope_fields().dated_at
    return date if date and date <= timezone.now() else None
