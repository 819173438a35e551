"""All maildrops of one user as one, in one session: opened by the bare user name (accounts.models.User.combined).

Each is a Single, with its own lock, listing, reader and record, and knows nothing of the others. What is here maps: at
an index of the merged listing is the message at an index of a part. To the session the uids are the indexes, since
those of the parts repeat; its unique-ids are those of the parts.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from accounts.callers import Caller
from accounts.lookup import OwnMailbox
from mailstore.maildrop import LockLostError, Opened, OpenRequest
from mailstore.together import Order, Part, close_together, open_together, read_order
from pop3service.ending import Named
from pop3service.keeper import Keeper
from pop3service.listings import ORDER_COST
from pop3service.reading import SessionListing
from pop3service.single import LOST, Single
from pop3service.states import Code, Ending, Finish, ReadPiece, Refusal, Tally


async def open_combined(keeper: Keeper, mailboxes: Sequence[OwnMailbox], gone: Callable[[], bool]) -> "Combined":
    """Lock all of the maildrops for a session, or none; they ascend. Raises Refusal."""
    opened = await keeper.open(
        [mailbox.mailbox_id for mailbox in mailboxes],
        lambda dead: keeper.bridge.run(
            open_together,
            [
                OpenRequest(
                    mailbox.mailbox_id, keeper.worker, dead.get(mailbox.mailbox_id), mailbox.policy.login_delay_seconds
                )
                for mailbox in mailboxes
            ],
        ),
        gone,
        {mailbox.mailbox_id: mailbox.address for mailbox in mailboxes},
    )
    return Combined(keeper, [Single(keeper, each) for each in opened])


@dataclass(frozen=True, slots=True)
class Sum:
    """What the login answers of the maildrops (pop3service.states.Opened)."""

    message_count: int
    octets: int
    #: Unused: no unique-id is made of it.
    uidvalidity: int = 0


class Combined:
    """Open maildrops as one. Ends with `finish`, `leave` or `release`."""

    __slots__ = ("_keeper", "_listing", "_parts", "tally")

    def __init__(self, keeper: Keeper, parts: Sequence[Single]) -> None:
        self._keeper = keeper
        self._parts = parts
        self._listing: CombinedListing | None = None
        self.tally = CombinedTally([part.tally for part in parts])

    async def show(self, *, as_stored: bool) -> Sum:
        """The maildrop as the session sees it."""
        shown = [await part.show(as_stored=as_stored) for part in self._parts]
        return Sum(sum(each.message_count for each in shown), sum(each.octets for each in shown))

    def begin(self, caller: Caller, login: str, app_password: str) -> None:
        """The session is logged in: it is on record for each mailbox."""
        for part in self._parts:
            part.begin(caller, login, app_password)

    @property
    def names(self) -> tuple[Named, ...]:
        """By any of which the session is asked to end."""
        return tuple(name for part in self._parts for name in part.names)

    # --- Reading ---

    def read_listing(self) -> "asyncio.Task[CombinedListing]":
        """From here on messages can be read; answers the listing as the session sees it."""
        return self._keeper.start(self._fetch_listing())

    async def _fetch_listing(self) -> "CombinedListing":
        listings = []
        for part in self._parts:
            own = part.read_listing()
            listings.append(own if isinstance(own, SessionListing) else await own)
        order = await self._order()
        listing = CombinedListing(order, listings, UniqueIds(order, [part.opened for part in self._parts], listings))
        self._listing = self.tally.listing = listing
        return listing

    async def _order(self) -> Order:
        orders = self._keeper.orders
        opened = [part.opened for part in self._parts]
        key, version = tuple(each.mailbox_id for each in opened), tuple(each.version for each in opened)
        order = orders.get(key, version)
        if order is None:
            parts = [Part(part.opened.mailbox_id, part.stored) for part in self._parts if part.stored is not None]
            order = await self._keeper.bridge.run(read_order, parts, orders.earlier(key))
            orders.put(key, version, order, ORDER_COST + len(order))
        return order

    def read_piece(self, request: ReadPiece) -> "bytes | asyncio.Future[Any]":
        """The octets where they are at hand, otherwise a future of them."""
        if self._listing is None:
            raise RuntimeError("a message is read before the listing that names it")
        number, uid = self._listing.named(request.uid)
        return self._parts[number].read_piece(ReadPiece(uid, request.piece, request.wire_octets))

    # --- The end ---

    def finish(self, request: Finish) -> "asyncio.Future[None]":
        """QUIT: in all maildrops, in one transaction. A Refusal where nothing of that was done."""
        return self._keeper.start(self._finish(request))

    async def _finish(self, request: Finish) -> None:
        for part in self._parts:
            part.stop_reading()
        closings = [part.closing(own) for part, own in zip(self._parts, self._split(request), strict=True)]
        try:
            closed = await self._keeper.bridge.run(close_together, closings)
        except Exception as error:
            # Whose lock was lost is found out when each is freed.
            for part in self._parts:
                part.failed()
            if isinstance(error, LockLostError):
                raise Refusal(LOST, Code.SYS_TEMP) from None
            raise
        for part, closing, own in zip(self._parts, closings, closed, strict=True):
            part.closed(closing, own)

    def _split(self, request: Finish) -> list[Finish]:
        """What is to be done in each."""
        deleted: list[list[int]] = [[] for _ in self._parts]
        retrieved: list[list[int]] = [[] for _ in self._parts]
        if self._listing is not None:
            for indexes, split in ((request.deleted, deleted), (request.retrieved, retrieved)):
                for index in indexes:
                    number, uid = self._listing.named(index)
                    split[number].append(uid)
        return [Finish(*both) for both in zip(deleted, retrieved, strict=True)]

    def leave(self, ending: Ending) -> None:
        """The connection has ended without QUIT: nothing is deleted."""
        for part in self._parts:
            part.leave(ending)

    def release(self) -> None:
        """Free the locks with nothing deleted, as soon as the database lets us."""
        for part in self._parts:
            part.release()


class CombinedListing:
    """The messages of all maildrops in one order (pop3service.states.Listing)."""

    __slots__ = ("_listings", "_order", "header_octets", "octets", "uids", "unique_ids", "wire_octets")

    def __init__(self, order: Order, listings: Sequence[SessionListing], unique_ids: Mapping[int, str]) -> None:
        self._order = order
        self._listings = listings
        self.uids = range(len(order))
        self.octets = Column(order, [listing.octets for listing in listings])
        self.wire_octets = Column(order, [listing.wire_octets for listing in listings])
        self.header_octets = Column(order, [listing.header_octets for listing in listings])
        self.unique_ids = unique_ids

    def at_hand(self, index: int) -> bytes | None:
        """The whole wire form of a message that has been read ahead, given once."""
        return self._listings[self._order.parts[index]].at_hand(self._order.indexes[index])

    def named(self, index: int) -> tuple[int, int]:
        """The number of the part that a message is in, and its uid there."""
        number = self._order.parts[index]
        return number, self._listings[number].uids[self._order.indexes[index]]


class Column(Sequence[int]):
    """One property of all messages, looked up in the columns of the parts."""

    __slots__ = ("_columns", "_order")

    def __init__(self, order: Order, columns: Sequence[Sequence[int]]) -> None:
        self._order = order
        self._columns = columns

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        order, columns = self._order, self._columns
        if isinstance(index, int):
            return columns[order.parts[index]][order.indexes[index]]
        return [columns[number][at] for number, at in zip(order.parts[index], order.indexes[index], strict=True)]


class UniqueIds(Mapping[int, str]):
    """The unique-id of each message, by index: that of its part."""

    __slots__ = ("_listings", "_order", "_prefixes", "_validities")

    def __init__(self, order: Order, opened: Sequence[Opened], listings: Sequence[SessionListing]) -> None:
        self._order = order
        self._listings = listings
        self._validities = [each.uidvalidity for each in opened]
        self._prefixes = [f"{each.mailbox_id}-" if at in order.qualified else "" for at, each in enumerate(opened)]

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._order)))

    def __contains__(self, index: object) -> bool:
        return index in range(len(self._order))

    def __getitem__(self, index: int) -> str:
        number, at = self._order.parts[index], self._order.indexes[index]
        listing, prefix = self._listings[number], self._prefixes[number]
        brought = None if prefix else listing.unique_ids.get(at)
        return brought or f"{prefix}{self._validities[number]}.{listing.uids[at]}"


class CombinedTally(Tally):
    """Counts what is sent with the parts too, for the record of each mailbox."""

    __slots__ = ("listing", "parts")

    def __init__(self, parts: Sequence[Tally]) -> None:
        super().__init__()
        self.parts = parts
        #: Messages are sent from the listing on.
        self.listing: CombinedListing | None = None

    def sent(self, uid: int, octets: int) -> None:
        super().sent(uid, octets)
        if self.listing is not None:
            number, own = self.listing.named(uid)
            self.parts[number].sent(own, octets)

    def sent_part(self, uid: int, octets: int) -> None:
        super().sent_part(uid, octets)
        if self.listing is not None:
            number, own = self.listing.named(uid)
            self.parts[number].sent_part(own, octets)
