"""Clients of two workers whose database fails at random moments, before a statement is carried out or behind it.

What they were told is true (promises 2 and 5), and at the end nothing is held and nothing runs.
"""

import functools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from accounts.lookup import FoundMailbox
from mailplatform.statements import Statement
from mailstore.models import Maildrop
from pop3service import workers
from tests.mailstore.mailboxes import assert_counters_fit, fill, make_mailbox
from tests.pop3service.mailboxes import IN_USE, OUR_ERROR
from tests.pop3service.memory import message
from tests.pop3service.serving import Client, DatabaseServed, wait_until

#: Of what the workers ask of the database so much fails, half of it unheard and half of it carried out.
FAILING = 0.02
FIRST, VISITS, OWNERS = 20, 40, 2
NAMES = ("jules", "alfred", "charles", "marie")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    chance, lasts = random.Random(7), threading.Event()

    def at_times(execute: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(execute)
        def fail_or_execute(*arguments: Any, **parameters: Any) -> Any:
            drawn = chance.random() if lasts.is_set() and threading.current_thread().name.startswith("bridge") else 1.0
            if drawn < FAILING / 2:
                raise OperationalError("not asked")
            answer = execute(*arguments, **parameters)
            if drawn < FAILING:
                raise OperationalError("the answer was lost")
            return answer

        return fail_or_execute

    for owner, name in ((CursorWrapper, "execute"), (Statement, "fetch"), (BaseDatabaseWrapper, "_commit")):
        monkeypatch.setattr(owner, name, at_times(getattr(owner, name)))
    lasts.set()
    yield
    lasts.clear()


@dataclass
class Box:
    """What the owners of a mailbox know of it."""

    mailbox: FoundMailbox
    #: Uids that may be live, of those seen so far: one set, or two after a QUIT that was answered with an error.
    possible: list[frozenset[int]] = field(default_factory=lambda: [frozenset(range(1, FIRST + 1))])
    seen: int = FIRST
    in_it: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def alone(self) -> Iterator[None]:
        assert self.in_it.acquire(blocking=False), "two sessions have it open"
        try:
            yield
        finally:
            self.in_it.release()


class Owner(threading.Thread):
    """Comes again and again, now to this worker and now to that."""

    def __init__(self, number: int, box: Box, served: list[DatabaseServed]) -> None:
        super().__init__()
        self.box, self.served = box, served
        self.chance = random.Random(number)
        self.failure: BaseException | None = None
        self.deletions = 0

    def run(self) -> None:
        try:
            for _ in range(VISITS):
                with self.chance.choice(self.served).connect() as client:
                    self._visit(client.greet())
        except BaseException as failure:
            self.failure = failure

    def _visit(self, client: Client) -> None:
        client.say(f"USER {self.box.mailbox.address}")
        if self.chance.random() < 0.1:
            client.send(b"PASS x\r\n")
            client.reset()
            return
        answer = client.say("PASS x")
        if not answer.startswith(b"+OK"):
            assert answer == OUR_ERROR or answer.startswith(IN_USE), answer
            return
        with self.box.alone():
            marked = self._session(client) if self.chance.random() < 0.6 else []
            if marked is None or self.chance.random() < 0.2:
                return
            (before,) = self.box.possible if marked else [frozenset()]
            if marked:
                self.box.possible = [before, before.difference(marked)]
        self._quit(client, marked)

    def _session(self, client: Client) -> list[int] | None:
        """The uids that are marked as deleted; None: the database failed, and the client has enough."""
        status = client.say("UIDL")
        if status == OUR_ERROR:
            return None
        uids = [int(line.rpartition(b".")[2]) for line in client.hear_lines().splitlines()]
        assert frozenset(uid for uid in uids if uid <= self.box.seen) in self.box.possible
        self.box.possible, self.box.seen = [frozenset(uids)], max([self.box.seen, *uids])
        for number in self.chance.sample(range(1, len(uids) + 1), min(3, len(uids))):
            status = client.say(f"RETR {number}")
            assert status == OUR_ERROR or len(client.hear_lines()) == int(status.split()[1])
        marked = self.chance.sample(range(1, len(uids) + 1), min(self.chance.randint(0, 3), len(uids)))
        assert all(client.say(f"DELE {number}").startswith(b"+OK") for number in marked)
        return [uids[number - 1] for number in marked]

    def _quit(self, client: Client, marked: list[int]) -> None:
        known = self.box.possible
        answer = client.say("QUIT")
        if not answer.startswith(b"+OK"):
            assert answer == OUR_ERROR
        elif marked:
            self.deletions += 1
            if self.box.possible is known:  # nobody has come in since
                self.box.possible = known[1:]


def _is_at_rest(served: DatabaseServed) -> bool:
    keeper = served.keeper
    return not (
        served.open() or keeper._tasks or keeper.held or keeper.opening or keeper.entering or keeper.ahead._held
    )


def test_what_clients_were_told_is_true(
    serve_mailboxes: Callable[..., DatabaseServed], no_patience: None, failing: None
) -> None:
    boxes = [Box(make_mailbox(name)) for name in NAMES]
    for box in boxes:
        fill(box.mailbox.id, *[message(100 * number) for number in range(1, FIRST + 1)])
    served = [serve_mailboxes(), serve_mailboxes()]
    owners = [Owner(number, box, served) for number, box in enumerate(boxes * OWNERS)]
    for owner in owners:
        owner.start()
    for owner in owners:
        while owner.is_alive():
            for box in boxes:
                fill(box.mailbox.id, message(500))
            for each in served:
                workers.beat(worker=each.worker, arbiter=each.arbiter)
            owner.join(0.05)
    assert [owner.failure for owner in owners if owner.failure] == []
    assert sum(owner.deletions for owner in owners) > 0
    for each in served:
        wait_until(functools.partial(_is_at_rest, each))
    assert not Maildrop.objects.filter(lock_worker__isnull=False).exists()
    for box in boxes:
        assert_counters_fit(box.mailbox.id)
