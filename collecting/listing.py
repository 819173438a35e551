"""What a server lists, held against what was seen there: what is new, what was stored, what is gone.

A message is known by a digest of its unique-id, whatever that looks like: servers have longer ones than RFC 1939
allows, and the digest takes the same room for each. Where a server lists a unique-id several times, which the RFC
allows for equal copies (7: UIDL), they are told apart by their order, so that each is collected.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from collecting.models import SeenMessage, Source

#: How long what the server does not list any more is remembered. A server that is put right may list it again.
FORGET_AFTER = timedelta(days=7)
#: Where messages are deleted there it is forgotten at once: once a message is gone the server may give its unique-id to
#: another (RFC 1939, 7: UIDL), which would be deleted unread.
_FORGET_DELETED_AFTER = timedelta(0)
_DIGEST_OCTETS = 16
#: Rows changed with one statement.
_BATCH = 500
#: Columns of what could not be fetched.
_ASIDE = ("again_at", "tries", "why")


@dataclass(frozen=True, slots=True)
class Listed:
    """A message that the server lists: its number, its digest, and those of its copies (itself among them).

    `tries`: how often it could not be fetched.
    """

    number: int
    digest: str
    copies: tuple[str, ...]
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Sorted:
    """The messages that a server lists, each list in its order.

    Those that are new, those that were stored here before, and those that could not be fetched and are due again; how
    many of these are not due yet, and what went wrong with one of them.
    """

    new: list[Listed]
    stored: list[Listed]
    again: list[Listed]
    waiting: int
    why: str


def sort(unique_ids: dict[int, bytes], source: Source, now: datetime) -> Sorted:
    """What is to be done about each message. What is no longer listed is noted, and forgotten after FORGET_AFTER."""
    listed = _listed(unique_ids)
    digests = {each.digest for each in listed}
    seen: dict[str, bool] = {}
    due: dict[str, int] = {}
    gone, back = [], []
    waiting, why_waiting = 0, ""
    rows = SeenMessage.objects.filter(source_id=source.pk).values_list("digest", "stored", "missing_since", *_ASIDE)
    for digest, stored, missing_since, again_at, tries, why in rows.iterator(chunk_size=5000):
        if digest in digests:
            seen[digest] = stored
            if missing_since is not None:
                back.append(digest)
            if again_at is not None and again_at <= now:
                due[digest] = tries
            elif again_at is not None:
                waiting, why_waiting = waiting + 1, why
        elif missing_since is None:
            gone.append(digest)
    _note_missing(source, gone, now)
    _note_missing(source, back, None)
    forgotten = now - (FORGET_AFTER if source.keep else _FORGET_DELETED_AFTER)
    SeenMessage.objects.filter(source_id=source.pk, missing_since__lte=forgotten).delete()
    return Sorted(
        new=[each for each in listed if each.digest not in seen],
        stored=[each for each in listed if seen.get(each.digest)],
        again=[replace(each, tries=due[each.digest]) for each in listed if each.digest in due],
        waiting=waiting,
        why=why_waiting,
    )


def _listed(unique_ids: dict[int, bytes]) -> list[Listed]:
    times: Counter[bytes] = Counter()
    digests: defaultdict[bytes, list[str]] = defaultdict(list)
    order: list[tuple[int, bytes, str]] = []
    for number, unique_id in sorted(unique_ids.items()):
        digest = _digest(unique_id, times[unique_id])
        times[unique_id] += 1
        digests[unique_id].append(digest)
        order.append((number, unique_id, digest))
    return [Listed(number, digest, tuple(digests[unique_id])) for number, unique_id, digest in order]


def _digest(unique_id: bytes, copy: int) -> str:
    return hashlib.blake2b(unique_id + (b" %d" % copy if copy else b""), digest_size=_DIGEST_OCTETS).hexdigest()


def _note_missing(source: Source, digests: Sequence[str], since: datetime | None) -> None:
    for start in range(0, len(digests), _BATCH):
        batch = digests[start : start + _BATCH]
        SeenMessage.objects.filter(source_id=source.pk, digest__in=batch).update(missing_since=since)
