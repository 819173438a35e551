"""Reading ahead gives every message in any order, asks the database seldom, and holds no more than it may."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.contents import read_some_pieces
from mailstore.maildrop import Listing, MessageGoneError, PieceRequest, read_pieces
from pop3service import reading
from pop3service.reading import ReadAhead, Reader
from pop3service.states import ReadPiece

#: Octets of the pieces that the Database has.
PIECE = 70_000


class Database:
    """The bridge to a maildrop whose messages are their uid, filled up; notes what it is asked for: uids of small
    messages, and of large ones the uid with the numbers of pieces."""

    def __init__(self, octets: Sequence[int], missing: Sequence[int] = ()) -> None:
        self.listing = Listing(1)
        for uid, size in enumerate(octets, 1):
            self.listing.uids.append(uid)
            for column in (self.listing.octets, self.listing.wire_octets, self.listing.header_octets):
                column.append(size)
        self.missing = missing
        self.asked: list[list[int]] = []
        self.asked_pieces: list[tuple[int, range]] = []

    def message(self, uid: int) -> bytes:
        return (b"%d " % uid).ljust(self.listing.wire_octets[uid - 1], b"x")

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        assert args[0] == 7
        if function is read_some_pieces:
            return self.some_pieces(*args[1:])
        uids = args[1]
        self.asked.append(uids)
        return {uid: self.message(uid) for uid in uids if uid not in self.missing}

    async def gather(self, function: Callable[..., Any], request: PieceRequest) -> bytes:
        assert function is read_pieces
        (answer,) = self.pieces([request])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def some_pieces(self, uid: int, first: int, count: int) -> dict[int, bytes]:
        numbers = range(first, first + count)
        self.asked_pieces.append((uid, numbers))
        message = b"" if uid in self.missing else self.message(uid)
        pieces = {number: message[number * PIECE : (number + 1) * PIECE] for number in numbers}
        return {number: piece for number, piece in pieces.items() if piece}

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
        octets = await self.piece(uid, 0)
        while len(octets) < size:
            octets += await self.piece(uid, len(octets) // PIECE)
        return octets

    async def piece(self, uid: int, number: int) -> bytes:
        outcome = self.reader.read(ReadPiece(uid, number, self.database.listing.wire_octets[uid - 1]))
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
        assert session.database.asked == [[1, 2], [4]]
        assert session.database.asked_pieces == [(3, range(1))]

    run(work)


def test_pieces_of_a_large_message_behind_its_first_are_read_together() -> None:
    async def work() -> None:
        session = Session(Database([10, 6 * PIECE]))
        assert await session.read(2) == session.database.message(2)
        assert session.database.asked_pieces == [(2, range(1)), (2, range(1, 5)), (2, range(5, 9))]
        assert (held(session), session.shared._octets) == (0, 0)

    run(work)


def test_pieces_that_were_not_wanted_give_way_to_what_is_read_next() -> None:
    async def work() -> None:
        session = Session(Database([10, 10, 6 * PIECE]))
        await session.piece(3, 0)
        await session.piece(3, 1)
        assert held(session) == session.shared._octets == 3 * PIECE
        for uid in (1, 2, 3):
            assert await session.read(uid) == session.database.message(uid)
        assert session.shared._octets == 0

    run(work)


def test_pieces_are_read_one_by_one_where_much_lies_in_memory_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients that are slow do not take each other's away, to read them again and again."""
    monkeypatch.setattr(reading, "LARGE_AHEAD_OCTETS", PIECE)

    async def work() -> None:
        first = Session(Database([6 * PIECE]))
        await first.piece(1, 1)
        second = Session(first.database, first.shared)
        assert await second.read(1) == second.database.message(1)
        assert second.database.asked_pieces[1:] == [(1, range(number, number + 1)) for number in range(6)]
        assert held(first) == first.shared._octets == 3 * PIECE

    run(work)


def test_a_closed_session_holds_no_pieces_even_if_they_come_after_it() -> None:
    async def work() -> None:
        session = Session(Database([6 * PIECE]))
        coming = asyncio.ensure_future(session.piece(1, 1))
        await asyncio.sleep(0)
        session.reader.close()
        await coming
        assert (held(session), session.shared._octets) == (0, 0)

    run(work)


def test_a_piece_that_is_gone_is_told() -> None:
    async def work() -> None:
        session = Session(Database([6 * PIECE], missing=[1]))
        for number in (0, 1):
            with pytest.raises(MessageGoneError):
                await session.piece(1, number)

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
    sizes=st.lists(st.sampled_from([3, 500, 30_000, PIECE, 4 * PIECE + 1]), min_size=1, max_size=30),
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
