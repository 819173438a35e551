"""The life of a maildrop: whatever happens to it and in whichever order, what a client sees of it adds up."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.browse import read_message
from mailstore.delivery import Envelope, Import, Outcome, append_many, deliver
from mailstore.maildrop import CloseRequest, Listing, Opened, OpenRequest, close_maildrops, open_maildrops, read_listing
from mailstore.rows import recount, shelved_messages
from mailstore.shelf import expire, purge, restore
from tests.mailstore.mailboxes import assert_counters_fit, body_of, make_mailbox, stored

pytestmark = pytest.mark.django_db

_names = count()


@dataclass
class Life:
    """A mailbox, and what it should hold: the numbers of the messages that were put into it, in order of arrival."""

    live: list[int] = field(default_factory=list)
    shelf: list[int] = field(default_factory=list)
    #: The message that each unique-id has ever named.
    named: dict[str, int] = field(default_factory=dict)
    known: Listing | None = None
    number: int = 0

    def __post_init__(self) -> None:
        self.mailbox = make_mailbox(f"life{next(_names)}")

    def new(self) -> bytes:
        self.number += 1
        self.live.append(self.number)
        return b"Subject: %d\n\n.%s" % (self.number, b"\n." * (self.number % 3))

    def deliver(self, chosen: int) -> None:
        """Twice to the same mailbox, as through an alias, where the number is odd."""
        times = 1 + chosen % 2
        with body_of(self.new()) as body:
            self.live.extend([self.number] * (times - 1))
            outcomes = deliver(
                body=body,
                envelope=Envelope("a@b", b"by c"),
                recipients=[self.mailbox] * times,
                all_or_none=bool(chosen & 2),
            )
        assert set(outcomes) == {Outcome.STORED}

    def bring(self, chosen: int) -> None:
        """With its unique-id, where the number is odd."""
        with body_of(self.new()) as body:
            unique_id = f"u{self.number}" if chosen % 2 else ""
            append_many(mailbox_id=self.mailbox.id, imports=[Import(body, unique_id=unique_id)])

    def poll(self, chosen: int) -> None:
        """A session that deletes the messages whose bits are set."""
        (opened,) = open_maildrops([OpenRequest(self.mailbox.id, uuid.uuid4())])
        assert isinstance(opened, Opened)
        listing = read_listing(opened, self.known)
        assert (opened.message_count, opened.octets) == (len(listing), sum(listing.octets))
        assert [self.look(listing, index) for index in range(len(listing))] == self.live
        gone = [index for index in range(len(listing)) if chosen >> index & 1]
        deleted = [listing.uids[index] for index in gone]
        close_maildrops([CloseRequest(self.mailbox.id, opened.lock, deleted=deleted)])
        listing.gone.extend(deleted)
        self.known = listing
        self.shelf += [self.live[index] for index in gone]
        self.live = [number for index, number in enumerate(self.live) if index not in gone]

    def look(self, listing: Listing, index: int) -> int:
        """Which message it is, by its octets and by its unique-id."""
        uid = listing.uids[index]
        message = b"".join(read_message(self.mailbox.id, uid))
        assert (len(message), len(stored(self.mailbox.id, uid))) == (listing.octets[index], listing.wire_octets[index])
        number = int(message.partition(b"Subject: ")[2].partition(b"\r\n")[0])
        assert self.named.setdefault(listing.unique_id(index), number) == number
        return number

    def restore(self, chosen: int) -> None:
        shelved = list(shelved_messages(self.mailbox.id).order_by("uid").values_list("uid", flat=True))
        uids = [uid for index, uid in enumerate(shelved) if chosen >> index & 1]
        messages = [b"".join(read_message(self.mailbox.id, uid)) for uid in uids]
        numbers = [int(message.partition(b"Subject: ")[2].partition(b"\r\n")[0]) for message in messages]
        assert restore(mailbox_id=self.mailbox.id, uids=uids) == len(uids)
        self.live += numbers
        for number in numbers:
            self.shelf.remove(number)

    def expire(self, chosen: int) -> None:
        assert expire(mailbox_id=self.mailbox.id, before=timezone.now() + timedelta(days=1)) == len(self.live)
        self.shelf, self.live = self.shelf + self.live, []

    def purge(self, chosen: int) -> None:
        assert purge(mailbox_id=self.mailbox.id, before=timezone.now() + timedelta(days=1)) == len(self.shelf)
        self.shelf = []

    def recount(self, chosen: int) -> None:
        recount(mailbox_id=self.mailbox.id)


_events = st.sampled_from(["deliver", "bring", "poll", "restore", "expire", "purge", "recount"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_events, st.integers(0, 15)), max_size=15))
def test_messages_octets_and_unique_ids_add_up(events: list[tuple[str, int]]) -> None:
    life = Life()
    for name, chosen in [*events, ("poll", 0)]:
        getattr(life, name)(chosen)
        if life.named or life.live or life.shelf:
            assert_counters_fit(life.mailbox.id)
