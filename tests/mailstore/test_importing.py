"""What is imported is what RETR sends: nothing added, in order, whole batches, each message at its own time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.lookup import FoundMailbox
from mailstore import importing
from mailstore.importing import EmptyMessageError, Importer, received_date
from mailstore.models import Message
from mailstore.rows import live_messages
from mailstore.sources import FoundMessage
from mailstore.wire import encode
from tests.mailstore.mailboxes import assert_counters_fit, body_of, make_mailbox, stored
from tests.messages import all_messages, canonical

pytestmark = pytest.mark.django_db

PLACE = datetime(2026, 11, 1, 1, tzinfo=UTC)
RECEIVED = b"Received: from a by b\n\tfor <c@d; e>; Mon, 02 Nov 2026 02:00:00 +0000\n"
DATE = b"Date: Tue, 03 Nov 2026 03:00:00 +0000\n"
CHANGED = datetime(2026, 11, 4, 4, tzinfo=UTC)


def found(message: bytes, **times: datetime) -> FoundMessage:
    return FoundMessage("one", iter([message]), **times)


def put(mailbox: FoundMailbox, *messages: bytes, skip_duplicates: bool = False) -> Importer:
    with Importer(mailbox_id=mailbox.id, skip_duplicates=skip_duplicates) as importer:
        for message in messages:
            importer.add(found(message))
    return importer


def add_all(importer: Importer, *messages: FoundMessage) -> None:
    with importer:
        for message in messages:
            importer.add(message)


def contents(mailbox: FoundMailbox) -> list[bytes]:
    return [stored(mailbox.id, row.uid) for row in live_messages(mailbox.id).order_by("uid")]


class TestOctets:
    def test_every_hard_message_is_kept_but_for_its_line_ends(self, mailbox: FoundMailbox) -> None:
        messages = [message for message in all_messages().values() if message]
        assert put(mailbox, *messages).imported == len(messages)
        assert contents(mailbox) == [encode(message).wire for message in messages]
        octets = live_messages(mailbox.id).order_by("uid").values_list("octets", flat=True)
        assert list(octets) == [len(canonical(message)) for message in messages]
        assert_counters_fit(mailbox.id)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(message=st.binary(min_size=1, max_size=300), cut=st.integers(0, 300))
    def test_any_octets_are(self, mailbox: FoundMailbox, message: bytes, cut: int) -> None:
        with Importer(mailbox_id=mailbox.id) as importer:
            importer.add(FoundMessage("one", iter([message[:cut], message[cut:]])))
        assert stored(mailbox.id, live_messages(mailbox.id).latest("uid").uid) == encode(message).wire

    def test_a_message_of_no_octets_is_none(self, mailbox: FoundMailbox) -> None:
        with Importer(mailbox_id=mailbox.id) as importer:
            importer.add(found(b"one"))
            for chunks in ([], [b""], [b"", b""]):
                with pytest.raises(EmptyMessageError):
                    importer.add(FoundMessage("empty", iter(chunks)))
            importer.add(FoundMessage("two", iter([b"", b"two"])))
        assert len(contents(mailbox)) == 2

    def test_what_cannot_be_read_to_its_end_is_not_stored_and_the_others_are(self, mailbox: FoundMailbox) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"A: 1\n\nhalf of"
            raise OSError("the disk is broken")

        with Importer(mailbox_id=mailbox.id) as importer:
            importer.add(found(b"one"))
            with pytest.raises(OSError, match="broken"):
                importer.add(FoundMessage("half", chunks()))
            importer.add(found(b"two"))
        assert contents(mailbox) == [b"one\r\n\r\n", b"two\r\n\r\n"]
        assert importer.imported == 2


class TestMoments:
    @pytest.mark.parametrize(
        ("header", "times", "expected"),
        [
            (RECEIVED + DATE, {"received_at": PLACE, "changed_at": CHANGED}, PLACE),
            (RECEIVED + DATE, {"changed_at": CHANGED}, datetime(2026, 11, 2, 2, tzinfo=UTC)),
            (DATE, {"changed_at": CHANGED}, datetime(2026, 11, 3, 3, tzinfo=UTC)),
            (b"Received: who knows\n" + DATE, {"changed_at": CHANGED}, datetime(2026, 11, 3, 3, tzinfo=UTC)),
            (b"Subject: undated\n", {"changed_at": CHANGED}, CHANGED),
            (b"Subject: x\n\n" + RECEIVED, {"changed_at": CHANGED}, CHANGED),
            (b"Date: Tue, 03 Nov 2099 03:00:00 +0000\n", {"changed_at": CHANGED}, CHANGED),
            (b"Subject: undated\n", {"received_at": PLACE.replace(year=2099), "changed_at": CHANGED}, CHANGED),
            (b"DATE: Tue, 03 Nov 2026 03:00:00 +0000\nRECEIVED: ; Mon, 02 Nov 2026 02:00:00 +0000\n", {},
             datetime(2026, 11, 2, 2, tzinfo=UTC)),
        ],
    )  # fmt: skip
    def test_the_place_tells_then_the_receiving_host_then_the_author_then_the_file(
        self, mailbox: FoundMailbox, header: bytes, times: dict[str, datetime], expected: datetime
    ) -> None:
        with Importer(mailbox_id=mailbox.id) as importer:
            importer.add(found(header, **times))
        assert Message.objects.get(mailbox_id=mailbox.id).received_at == expected

    def test_where_nothing_tells_it_is_now(self, mailbox: FoundMailbox) -> None:
        put(mailbox, b"\nx")
        assert timezone.now() - Message.objects.get(mailbox_id=mailbox.id).received_at < timedelta(minutes=1)

    def test_the_topmost_received_field_is_the_last_that_was_added(self) -> None:
        older = b"Received: from x by a; Sun, 01 Nov 2026 00:00:00 +0000\n"
        with body_of(RECEIVED + older + DATE) as body:
            assert received_date(body) == datetime(2026, 11, 2, 2, tzinfo=UTC)

    def test_messages_are_numbered_in_the_order_in_which_they_come(self, mailbox: FoundMailbox) -> None:
        with Importer(mailbox_id=mailbox.id) as importer:
            for days in (3, 1, 2):
                importer.add(found(b"Subject: %d\n" % days, received_at=PLACE + timedelta(days=days)))
        subjects = live_messages(mailbox.id).order_by("uid").values_list("subject", flat=True)
        assert list(subjects) == ["3", "1", "2"]


class TestBatches:
    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importing, "_BATCH_MESSAGES", 3)
        monkeypatch.setattr(importing, "_BATCH_OCTETS", 1000)

    def test_are_stored_as_they_fill(self, mailbox: FoundMailbox) -> None:
        importer = Importer(mailbox_id=mailbox.id)
        stored_then = []
        for message in [b"x"] * 4 + [b"x" * 1000] + [b"x"]:
            importer.add(found(message))
            stored_then.append(live_messages(mailbox.id).count())
        assert stored_then == [0, 0, 3, 3, 5, 5]
        importer.flush()
        importer.flush()
        assert importer.imported == live_messages(mailbox.id).count() == 6

    def test_an_import_that_is_broken_off_leaves_whole_batches_and_can_be_gone_on_with(
        self, mailbox: FoundMailbox
    ) -> None:
        messages = [b"A: %d\r\n\r\n" % number for number in range(8)]

        def interrupted() -> Iterator[bytes]:
            yield b"A: 7"
            raise KeyboardInterrupt

        importer = Importer(mailbox_id=mailbox.id)
        with pytest.raises(KeyboardInterrupt):
            add_all(importer, *map(found, messages[:7]), FoundMessage("x", interrupted()))
        assert contents(mailbox) == messages[:6]
        assert importer.imported == 6
        assert_counters_fit(mailbox.id)
        again = put(mailbox, *messages, skip_duplicates=True)
        assert contents(mailbox) == messages
        assert (again.imported, again.duplicates) == (2, 6)
        assert_counters_fit(mailbox.id)

    def test_a_batch_that_the_database_refuses_is_not_counted(
        self, mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**_: object) -> list[int]:
            raise DatabaseError("away")

        importer = Importer(mailbox_id=mailbox.id)
        for _ in range(3):
            importer.add(found(b"x"))
        monkeypatch.setattr(importing, "append_many", fail)
        with pytest.raises(DatabaseError):
            add_all(importer, found(b"y"))
        assert importer.imported == live_messages(mailbox.id).count() == 3


class TestDuplicates:
    def test_twice_is_twice_unless_they_are_to_be_skipped(self, mailbox: FoundMailbox) -> None:
        messages = [message for message in all_messages().values() if message]
        distinct = len({encode(message).wire for message in messages})
        assert put(mailbox, *messages).imported == len(messages)
        again = put(mailbox, *messages, skip_duplicates=True)
        assert (again.imported, again.duplicates) == (0, len(messages))
        assert put(mailbox, *messages).imported == len(messages)
        fresh = put(make_mailbox("alfred"), *messages, *messages, skip_duplicates=True)
        assert (fresh.imported, fresh.duplicates) == (distinct, 2 * len(messages) - distinct)
        assert_counters_fit(mailbox.id)

    def test_quotas_do_not_count(self) -> None:
        small = make_mailbox("alfred", quota_messages=1, quota_octets=10)
        assert put(small, b"one", b"two").imported == 2
