"""pop3service.listings: what is remembered of maildrops, and how much."""

import uuid
from array import array
from dataclasses import replace

from django.conf import settings

from mailstore.locks import Lock
from mailstore.maildrop import Listing, Opened
from pop3service.listings import LISTING_OCTETS, MESSAGE_OCTETS, UNIQUE_ID_OCTETS, Listings


def test_memory_of_them_is_bounded() -> None:
    def opened(mailbox_id: int, version: int = 1) -> Opened:
        return Opened(mailbox_id, Lock(uuid.UUID(int=1), 1), 1, 11, 10, 100, version, False)

    def listing() -> Listing:
        made = Listing(1)
        for column in (made.uids, made.octets, made.wire_octets, made.header_octets):
            column.extend(range(10))
        return made

    listings = Listings(3 * (10 * MESSAGE_OCTETS + LISTING_OCTETS) + 5)
    first = listing()
    listings.put(opened(1), first)
    for mailbox_id in (2, 3):
        listings.put(opened(mailbox_id), listing())
    assert listings.get(opened(1)) is first
    assert listings.get(opened(1, version=2)) is None
    listings.put(opened(4), listing())
    assert listings.get(opened(2)) is None  # the one that was used least lately
    assert listings.get(opened(1)) is first
    for _ in range(100):
        listings.put(opened(1), listing())
    assert listings.get(opened(3)) is not None
    listings.put(opened(5), Listing(1, *[listing().uids * 20] * 4))
    assert listings.get(opened(5)) is None
    assert listings.get(opened(3)) is not None  # what is too large for all of it takes nobody's place


def test_what_was_imported_takes_more_of_it() -> None:
    opened = Opened(1, Lock(uuid.UUID(int=1), 1), 1, 2, 1, 8, 1, False)
    listing = Listing(1, *[array("Q", [8])] * 4)
    listings = Listings(MESSAGE_OCTETS + LISTING_OCTETS + UNIQUE_ID_OCTETS - 1)
    listings.put(opened, listing)
    assert listings.get(opened) is listing
    listings.put(opened, replace(listing, unique_ids={0: "GmailId17"}))
    assert listings.get(opened) is None


def test_one_that_is_read_on_with_is_nobody_elses() -> None:
    opened = Opened(1, Lock(uuid.UUID(int=1), 1), 1, 2, 1, 8, 1, False)
    listing = Listing(1, *[array("Q", [8])] * 4)
    listings = Listings(10_000)
    assert listings.take(opened) is None
    listings.put(opened, listing)
    assert listings.take(opened._replace(version=2)) is listing
    assert listings.take(opened) is None


def test_a_million_messages_fit_into_what_is_the_default() -> None:
    column = array("Q", bytes(8 * 1_000_000))
    listing = Listing(1, *[column] * 4)
    opened = Opened(1, Lock(uuid.UUID(int=1), 1), 1, 2, 1, 8, 1, False)
    listings = Listings(settings.POP3_LISTINGS_OCTETS)
    listings.put(opened, listing)
    assert listings.get(opened) is listing
