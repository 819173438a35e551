"""Reading ahead gives every message in any order, asks the database seldom, and holds no more than it may."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.maildrop import Listing, MessageGoneError, PieceRequest, read_pieces
from pop3service import reading
from pop3service.reading import ReadAhead, Reader
from pop3service.states import ReadPiece


class Database:
    """The bridge to a maildrop whose messages are their uid, filled up; counts how often it is asked."""

    def __init__(self, octets: Sequence[int], missing: Sequence[int] = ()) -> None:
        self.listing = Listing(1)
        for uid, size in enumerate(octets, 1):
            self.listing.uids.append(uid)
            for column in (self.listing.octets, self.listing.wire_octets, self.listing.header_octets):
                column.append(size)
        self.missing = missing
        self.asked: list[list[int]] = []

    def message(self, uid: int) -> bytes:
        return (b"%d " % uid).ljust(self.listing.wire_octets[uid - 1], b"x")

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        if function is read_pieces:
            return self.pieces(args[0])
        mailbox_id, uids = args
        assert mailbox_id == 7
        self.asked.append(uids)
        return {uid: self.message(uid) for uid in uids if uid not in self.missing}

    async def gather(self, function: Callable[..., Any], request: PieceRequest) -> bytes:
        assert function is read_pieces
        (answer,) = self.pieces([request])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pieces(self, requests: Sequence[PieceRequest]) -> list[bytes | MessageGoneError]:
        self.asked.append([request.uid for request in requests])
        return [MessageGoneError(each) if each.uid in self.missing else self.message(each.uid) for each in requests]


class Session:
    """One session's reading of a Database."""

    def __init__(self, database: Database, shared: ReadAhead | None = None) -> None:
        self.database = database
        self.shared = shared or ReadAhead(database, asyncio.ensure_future)
        self.reader = Reader(self.shared, 7, database.listing)

    async def read(self, uid: int) -> bytes:
        size = self.database.listing.wire_octets[uid - 1]
        if (ahead := self.reader.at_hand(uid - 1)) is not None:
            return ahead
        outcome = self.reader.read(ReadPiece(uid, 0, size))
        octets: bytes = outcome if isinstance(outcome, bytes) else await outcome
        return octets


@pytest.fixture
def small_bound(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reading, "AHEAD_OCTETS", 300_000)
    return None


def held(session: Session) -> int:
    return sum(map(len, session.reader._ahead.values()))


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())


def test_a_client_that_reads_everything_costs_few_questions() -> None:
    async def work() -> None:
        session = Session(Database([10_000] * 100))
        for uid in range(1, 101):
            assert await session.read(uid) == session.database.message(uid)
        assert [len(uids) for uids in session.database.asked] == [14, 53, 33]

    run(work)


def test_what_was_read_ahead_is_at_hand_once_and_read_for_top_too() -> None:
    async def work() -> None:
        session = Session(Database([10] * 4))
        assert session.reader.at_hand(0) is None
        await session.read(1)
        assert session.reader.at_hand(1) == session.database.message(2)
        assert session.reader.at_hand(1) is None
        assert session.reader.read(ReadPiece(3, 0, 10)) == session.database.message(3)
        assert session.reader.at_hand(2) is None
        assert session.database.asked == [[1, 2, 3, 4]]

    run(work)


def test_a_client_that_reads_the_newest_alone_reads_nothing_else() -> None:
    async def work() -> None:
        session = Session(Database([10_000] * 100))
        await session.read(100)
        await session.read(37)
        assert session.database.asked == [[100], [37]]

    run(work)


def test_large_messages_are_read_alone_and_end_a_window() -> None:
    async def work() -> None:
        session = Session(Database([10, 10, reading.SMALL_OCTETS + 1, 10]))
        for uid in (1, 2, 3, 4):
            assert await session.read(uid) == session.database.message(uid)
        assert session.database.asked == [[1, 2], [3], [4]]

    run(work)


def test_a_message_that_is_gone_is_told_and_the_others_are_there() -> None:
    async def work() -> None:
        session = Session(Database([10] * 5, missing=[1, 3]))
        for uid in (1, 3):
            with pytest.raises(MessageGoneError):
                await session.read(uid)
        for uid in (2, 4, 5):
            assert await session.read(uid) == session.database.message(uid)

    run(work)


@pytest.mark.usefixtures("small_bound")
def test_all_sessions_together_hold_no_more_than_the_bound() -> None:
    async def work() -> None:
        database = Database([10_000] * 100)
        first = Session(database)
        others = [Session(database, first.shared) for _ in range(9)]
        for session in (first, *others):
            await session.read(1)
        assert first.shared._octets <= 300_000
        assert sum(held(session) for session in (first, *others)) == first.shared._octets
        # The first gave its window up; it reads on all the same.
        assert await first.read(2) == database.message(2)

    run(work)


def test_a_closed_session_holds_nothing_even_if_a_window_comes_after_it() -> None:
    async def work() -> None:
        session = Session(Database([10_000] * 100))
        coming = asyncio.ensure_future(session.read(1))
        await asyncio.sleep(0)
        session.reader.close()
        await coming
        assert session.shared._octets == 0
        assert not session.reader._ahead

    run(work)


@given(
    sizes=st.lists(st.sampled_from([3, 500, 30_000, 70_000]), min_size=1, max_size=30),
    order=st.lists(st.integers(min_value=0, max_value=29), max_size=60),
)
@settings(max_examples=50, deadline=None)
def test_any_order_gives_each_message(sizes: list[int], order: list[int]) -> None:
    async def work() -> None:
        session = Session(Database(sizes))
        for index in order:
            uid = index % len(sizes) + 1
            assert await session.read(uid) == session.database.message(uid)
            assert held(session) <= session.shared._octets
            assert bool(held(session)) == bool(session.shared._octets)

    run(work)
