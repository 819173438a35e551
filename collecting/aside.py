"""What is noted of the messages at a source, so that none that cannot be fetched keeps the others away.

A server may refuse a message for ever, close the connection over it, or have one that is no message. It is put aside
with what went wrong, and tried again later and later, behind all that is new; the admin shows how many there are.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction

from collecting.claims import holds
from collecting.listing import Listed
from collecting.models import ERROR_CHARACTERS, SeenMessage, Source

logger = logging.getLogger(__name__)

#: When a message that could not be fetched is tried again, by how often it was tried: first with the next look, since
#: it may have been the server's bad moment; the last holds for all that follow.
TRY_AGAIN_AFTER = (timedelta(0), timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=7))
#: What came, and is nothing that can be stored, costs as much to fetch again and will hardly be another.
BAD_AGAIN_AFTER = timedelta(days=7)


def note(source: Source, each: Listed, **columns: object) -> None:
    """What became of a message, a part of the caller's transaction, which has looked at the claim."""
    if each.tries:
        SeenMessage.objects.filter(source_id=source.pk, digest=each.digest).update(**columns)
    else:
        SeenMessage.objects.create(source_id=source.pk, digest=each.digest, **columns)


def note_stored(source: Source, each: Listed) -> None:
    """It was stored here, by the same transaction."""
    note(source, each, stored=True, again_at=None)


def leave(source: Source, each: Listed) -> None:
    """The message stays at the source for good."""
    with transaction.atomic():
        holds(source)
        note(source, each, stored=False, again_at=None)


def put_aside(source: Source, each: Listed, why: str, now: datetime, *, is_bad: bool = False) -> None:
    """The message could not be fetched; `is_bad` where it came, and was none."""
    after = BAD_AGAIN_AFTER if is_bad else TRY_AGAIN_AFTER[min(each.tries, len(TRY_AGAIN_AFTER) - 1)]
    logger.warning("source %d, %s: a message was put aside, to be tried again in %s: %s", source.pk, source, after, why)
    with transaction.atomic():
        holds(source)
        note(source, each, stored=False, again_at=now + after, tries=each.tries + 1, why=why[:ERROR_CHARACTERS])
