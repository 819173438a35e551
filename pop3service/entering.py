"""The quick way in: a login whose password is remembered finds its credential and locks its maildrop by one trip to
the database, together with those that QUIT.

The door is asked before (accounts.door.Door.recall): where the login has to wait for anything there is no quick way.
What a password opens that is not remembered, or a maildrop that cannot be locked just so, is left to the ordinary way,
which begins from the beginning and knows all answers. So this one has only one: the client is in.
"""

from collections.abc import Sequence
from typing import Any

from accounts.callers import Caller
from accounts.door import Admission
from accounts.lookup import Credential, find_credentials
from accounts.recall import Recall
from accounts.sasl import Authenticate, Question
from mailstore.locks import unhurried
from mailstore.maildrop import (
    CloseRequest,
    Opened,
    OpenRequest,
    close_maildrops,
    open_at_once,
)
from pop3service.keeper import Keeper


class Entrance:
    """One login that tries the quick way. Used by the loop, but for what come_and_go does on its thread."""

    __slots__ = ("_keeper", "credential", "opened", "recall")

    def __init__(self, keeper: Keeper, recall: Recall) -> None:
        self._keeper = keeper
        self.recall = recall
        #: What came of it: both, or there is no quick way.
        self.credential: Credential | None = None
        self.opened: Opened | None = None

    def request(self, credential: Credential | None) -> OpenRequest | None:
        """On the thread: how to open what the login opens without a further word; None where it does not."""
        if credential is None or credential.combined or not self.recall.knows(credential):
            return None
        self.credential = credential
        # Before the lock is taken, so that nobody takes it for one of which no session knows.
        self._keeper.entering[self] = credential.mailbox_id
        delay = credential.policy.login_delay_seconds
        return OpenRequest(credential.mailbox_id, self._keeper.worker, login_delay=delay)

    def end(self, error: BaseException | None) -> tuple[Admission, Opened] | None:
        """In the loop, when the trip is over: what the client came into. The lock is the caller's then."""
        keeper, credential, opened = self._keeper, self.credential, self.opened
        if credential is None:
            return None
        came_in = None
        if opened is not None:
            came_in = keeper.door.admit_remembered(self.recall, credential), opened
        elif error is not None:
            keeper.release_unknown(credential.mailbox_id)
        del keeper.entering[self]
        return came_in


def entrance(keeper: Keeper, caller: Caller, question: Question) -> Entrance | None:
    """The quick way for a login; None where it is known already that there is none."""
    if not isinstance(question, Authenticate) or question.authzid:
        return None
    recall = keeper.door.recall(caller, question.login, question.password, mechanism=question.mechanism)
    return Entrance(keeper, recall) if recall is not None else None


def come_and_go(items: Sequence[Entrance | CloseRequest]) -> list[Any]:
    """What logins and QUITs that have nothing to write want at the same moment. Made for `bridge.gather`.

    It is one trip, and on SQLite one transaction: a page of the maildrops is written once for all of them.
    """
    entrances = [item for item in items if isinstance(item, Entrance)]
    found = find_credentials([each.recall.login for each in entrances]) if entrances else []
    requests = [(each, request) for each, one in zip(entrances, found, strict=True) if (request := each.request(one))]
    with unhurried():
        closed = iter(close_maildrops([item for item in items if isinstance(item, CloseRequest)]))
        opened = open_at_once([request for _, request in requests])
    for (each, _), outcome in zip(requests, opened, strict=True):
        each.opened = outcome  # only now it is sure
    return [None if isinstance(item, Entrance) else next(closed) for item in items]
