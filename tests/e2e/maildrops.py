"""What a maildrop is in the database, for tests of what must not happen to it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.database import connected, query
from tests.e2e.running import Platform


@dataclass(frozen=True)
class Stored:
    """The uids of a maildrop's messages, live, on the shelf and retrieved; every one is there with its content."""

    live: frozenset[int]
    shelved: frozenset[int]
    retrieved: frozenset[int]


def untouched(count: int) -> Stored:
    """As many messages as there were, and nothing noted of them."""
    return Stored(live=frozenset(range(1, count + 1)), shelved=frozenset(), retrieved=frozenset())


def all_deleted(count: int) -> Stored:
    """As many messages on the shelf, none of them retrieved."""
    return Stored(live=frozenset(), shelved=frozenset(range(1, count + 1)), retrieved=frozenset())


def stored(platform: Platform, login: str) -> Stored:
    """What is stored of a mailbox; an AssertionError where its tables do not fit each other."""
    ((mailbox, count, octets, next_uid),) = query(
        platform,
        "SELECT b.id, d.message_count, d.octets, d.next_uid FROM mailstore_maildrop d "
        "JOIN accounts_mailbox b ON b.id = d.mailbox_id WHERE b.address = %s",
        login,
    )
    messages = query(
        platform,
        "SELECT uid, octets, wire_octets, deleted_at IS NULL, retrieved_at IS NULL FROM mailstore_message "
        "WHERE mailbox_id = %s",
        mailbox,
    )
    contents = query(
        platform, "SELECT uid, sum(length(octets)) FROM mailstore_content WHERE mailbox_id = %s GROUP BY uid", mailbox
    )
    live = [(uid, octets) for uid, octets, _, is_live, _ in messages if is_live]
    assert (count, octets) == (len(live), sum(octets for _, octets in live)), "the counters fit the live messages"
    assert dict(contents) == {uid: wire_octets for uid, _, wire_octets, _, _ in messages}, "each has its content"
    assert all(0 < uid < next_uid for uid, *_ in messages)
    return Stored(
        live=frozenset(uid for uid, _ in live),
        shelved=frozenset(uid for uid, _, _, is_live, _ in messages if not is_live),
        retrieved=frozenset(uid for uid, *_, unread in messages if not unread),
    )


def worker_of(platform: Platform, login: str) -> int:
    """The process that has this maildrop open."""
    ((pid,),) = query(
        platform,
        "SELECT w.pid FROM mailstore_maildrop d JOIN accounts_mailbox b ON b.id = d.mailbox_id "
        "JOIN pop3service_worker w ON w.id = d.lock_worker WHERE b.address = %s",
        login,
    )
    return int(pid)


def locked(platform: Platform) -> int:
    """How many maildrops are open."""
    ((count,),) = query(platform, "SELECT count(lock_worker) FROM mailstore_maildrop")
    return int(count)


@contextmanager
def held_up(platform: Platform, login: str, uid: int) -> Iterator[Callable[[], bool]]:
    """Stop whoever deletes this message in the middle of it; says whether somebody waits."""
    began = time.monotonic()
    with connected(platform) as connection:
        if platform.database_url.startswith("postgres"):
            connection.execute("BEGIN")
            connection.execute(
                "SELECT FROM mailstore_message m JOIN accounts_mailbox b ON b.id = m.mailbox_id "
                "WHERE b.address = %s AND m.uid = %s FOR UPDATE OF m",
                (login, uid),
            )
            with connected(platform) as looking:
                yield lambda: looking.execute("SELECT FROM pg_locks WHERE NOT granted").rowcount > 0
        else:  # there is one writer at a time: it waits before its first statement, and nobody can see it wait
            connection.execute("BEGIN IMMEDIATE")
            yield lambda: time.monotonic() - began > 0.3
        connection.execute("ROLLBACK")
