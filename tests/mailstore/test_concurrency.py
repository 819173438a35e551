"""Deliveries, sessions and removals at the same time, on connections of their own."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.lookup import FoundMailbox
from mailstore.delivery import Envelope, Outcome, deliver
from mailstore.maildrop import (
    CloseRequest,
    MaildropInUseError,
    Opened,
    OpenRequest,
    close_maildrops,
    open_maildrops,
    read_listing,
)
from mailstore.models import Content, Maildrop, Message
from mailstore.removal import remove_mailboxes
from mailstore.rows import live_messages
from mailstore.together import open_together
from tests.mailstore.mailboxes import assert_counters_fit, body_of, fill, make_mailbox

pytestmark = pytest.mark.django_db(transaction=True)

#: Seconds after which something that waits is taken to wait.
A_WHILE = 0.3


def letter(*recipients: FoundMailbox) -> list[Outcome]:
    """Deliver a message to them, in this order."""
    with body_of(b"\nx") as body:
        return deliver(body=body, envelope=Envelope("a@b", b"x"), recipients=recipients, all_or_none=True)


class Beside(threading.Thread):
    """Work on a connection of its own; `join_all` raises what it raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:
            self.error = error
        finally:
            connection.close()

    def is_waiting(self) -> bool:
        self.join(A_WHILE)
        return self.is_alive()

    def answer(self) -> object:
        self.join(30)
        assert not self.is_alive()
        if self.error:
            raise self.error
        return self.result


def all_at_once(*works: Callable[[], object]) -> None:
    for thread in [Beside(work) for work in works]:
        thread.answer()


@contextmanager
def left_open(work: Callable[[], object]) -> Iterator[None]:
    """Do work in a transaction that ends with the block."""
    with transaction.atomic():
        work()
        yield


def opened(mailbox: FoundMailbox) -> Opened | None:
    (answer,) = open_maildrops([OpenRequest(mailbox.id, uuid.UUID(int=1))])
    return answer if isinstance(answer, Opened) else None


def close(session: Opened, deleted: Sequence[int] = ()) -> None:
    close_maildrops([CloseRequest(session.mailbox_id, session.lock, deleted=deleted)])


def open_or_in_use(mailbox: FoundMailbox) -> type[Any]:
    """What becomes of a login by another worker."""
    (answer,) = open_maildrops([OpenRequest(mailbox.id, uuid.UUID(int=2))])
    return type(answer)


def open_together_or_in_use(mailbox: FoundMailbox) -> type[Any]:
    """The same where the mailbox is opened with another one."""
    other = make_mailbox("alfred")
    try:
        return type(open_together([OpenRequest(each.id, uuid.UUID(int=2)) for each in (mailbox, other)])[0])
    except MaildropInUseError as error:
        return type(error)


@pytest.mark.parametrize("log_in", [open_or_in_use, open_together_or_in_use])
def test_a_login_does_not_wait_for_a_quit_that_deletes_much(
    mailbox: FoundMailbox, log_in: Callable[[FoundMailbox], type[Any]]
) -> None:
    """Nor do those that come with it, nor all other work of its thread. On SQLite all writers wait for each other."""
    fill(mailbox.id, b"x")
    session = opened(mailbox)
    assert session is not None
    with left_open(lambda: close(session, deleted=[1])):
        beside = Beside(lambda: log_in(mailbox))
        assert beside.is_waiting() == (connection.vendor == "sqlite")
    assert beside.answer() is (Opened if connection.vendor == "sqlite" else MaildropInUseError)


class TestDelivery:
    def test_overlapping_recipients_in_opposite_orders_do_not_wait_in_a_circle(self) -> None:
        """Also where some or all of the mailboxes have never been used before."""
        everyone = [make_mailbox(f"user{number}") for number in range(8)]
        rounds = [everyone[start:] for start in range(6, -1, -1)]

        def forward() -> None:
            for recipients in rounds:
                assert set(letter(*recipients)) == {Outcome.STORED}

        def backward() -> None:
            for recipients in rounds:
                assert set(letter(*recipients[::-1])) == {Outcome.STORED}

        all_at_once(forward, backward, forward)
        assert [live_messages(each.id).count() for each in everyone] == [3, 6, 9, 12, 15, 18, 21, 21]
        for each in everyone:
            assert_counters_fit(each.id)

    def test_of_two_the_second_waits_and_gets_the_higher_uid(self, mailbox: FoundMailbox) -> None:
        """Else a session could see uid 2, and later uid 1 appear below it."""
        with left_open(lambda: letter(mailbox)):
            second = Beside(lambda: letter(mailbox))
            assert second.is_waiting()
        assert second.answer() == [Outcome.STORED]
        assert list(live_messages(mailbox.id).values_list("uid", flat=True)) == [1, 2]

    def test_to_other_mailboxes_is_not_waited_for_where_the_database_can(self, mailbox: FoundMailbox) -> None:
        other = make_mailbox("alfred")
        with left_open(lambda: letter(mailbox)):
            beside = Beside(lambda: letter(other))
            assert beside.is_waiting() == (connection.vendor == "sqlite")
        assert beside.answer() == [Outcome.STORED]

    def test_does_not_wait_for_an_open_session(self, mailbox: FoundMailbox) -> None:
        session = opened(mailbox)
        assert session is not None
        assert Beside(lambda: letter(mailbox)).answer() == [Outcome.STORED]
        assert len(read_listing(session)) == 0


class TestSessions:
    def test_see_every_message_below_the_highest(self, mailbox: FoundMailbox) -> None:
        """Messages come in from two sides while sessions open, list and delete: nothing shows up late or is lost."""
        deliveries, deleted = 25, []
        seen: list[list[int]] = []

        def look() -> None:
            while len(deleted) < 2 * deliveries:
                if (session := opened(mailbox)) is None:
                    continue
                uids = list(read_listing(session).uids)
                seen.append(uids)
                deleted.extend(uids[: len(uids) // 2 + 1])
                close(session, uids[: len(uids) // 2 + 1])

        def bring() -> None:
            for _ in range(deliveries):
                letter(mailbox)

        all_at_once(bring, bring, look)
        assert deleted == list(range(1, 2 * deliveries + 1))
        assert all(uids == list(range(uids[0], uids[0] + len(uids))) for uids in seen if uids)
        assert live_messages(mailbox.id).count() == 0
        assert_counters_fit(mailbox.id)

    def test_that_open_while_mail_comes_in_wait_for_it(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"one")
        with left_open(lambda: letter(mailbox)):
            opening = Beside(lambda: opened(mailbox))
            assert opening.is_waiting()
        session = opening.answer()
        assert isinstance(session, Opened)
        assert (session.message_count, session.next_uid) == (2, 3)
        assert list(read_listing(session).uids) == [1, 2]


class TestRemoval:
    @pytest.mark.parametrize("used", [True, False])
    def test_waits_for_a_delivery_and_takes_its_message_along(self, mailbox: FoundMailbox, used: bool) -> None:
        if used:
            fill(mailbox.id, b"x")
        with left_open(lambda: letter(mailbox)):
            removal = Beside(lambda: remove_mailboxes(mailbox_ids=[mailbox.id]))
            assert removal.is_waiting()
        assert removal.answer() == 1
        assert [model.objects.count() for model in (Maildrop, Message, Content)] == [0, 0, 0]

    @pytest.mark.parametrize("used", [True, False])
    def test_leaves_nothing_of_a_delivery_that_comes_too_late(self, mailbox: FoundMailbox, used: bool) -> None:
        if used:
            fill(mailbox.id, b"x")
        with left_open(lambda: remove_mailboxes(mailbox_ids=[mailbox.id])):
            late = Beside(lambda: letter(mailbox))
            assert late.is_waiting()
        try:
            assert late.answer() == [Outcome.GONE]
        except IntegrityError:
            assert not used  # found out when the transaction ended: the client tries again, and is told
        assert letter(mailbox) == [Outcome.GONE]
        assert [model.objects.count() for model in (Maildrop, Message, Content)] == [0, 0, 0]
