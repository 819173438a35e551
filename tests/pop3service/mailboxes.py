"""Mailboxes of the database behind a POP3 server: who has them open, and what a login answers."""

import threading
import uuid
from types import ModuleType
from typing import Any

import pytest

from accounts.lookup import FoundMailbox
from mailstore.maildrop import Opened, OpenRequest, open_maildrops
from mailstore.models import Maildrop
from pop3service import single
from tests.pop3service.serving import Client, DatabaseServed, wait_until

JULES = "jules@maison.mrs"
WRONG = b"-ERR [AUTH] wrong name or password: check both, the name is the full mail address"
#: As the beginning of an answer: for how long it has been open follows.
IN_USE = b"-ERR [IN-USE] another session has had this mailbox open for "
OUR_ERROR = b"-ERR [SYS/TEMP] something failed on our side, try again later"


def try_login(served: DatabaseServed, name: str | bytes = JULES, word: str | bytes = "x") -> bytes:
    """The answer to PASS of a new connection, which drops then."""
    with served.connect() as client:
        client.greet()
        for verb, argument in ((b"USER", name), (b"PASS", word)):
            client.send(b"%s %s\r\n" % (verb, argument.encode() if isinstance(argument, str) else argument))
        client.hear()
        return client.hear()


def lock_of(mailbox: FoundMailbox) -> uuid.UUID | None:
    return Maildrop.objects.get(mailbox_id=mailbox.id).lock_worker


def wait_until_free(mailbox: FoundMailbox) -> None:
    wait_until(lambda: lock_of(mailbox) is None)


def lock(mailbox: FoundMailbox, worker: uuid.UUID) -> Opened:
    """Lock the maildrop as a session of `worker` does."""
    (opened,) = open_maildrops([OpenRequest(mailbox.id, worker)])
    assert isinstance(opened, Opened)
    return opened


class Gate:
    """Holds calls of a function that a module calls by this name up until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType = single) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        function = getattr(module, name)

        def wait(*arguments: Any) -> Any:
            self.reached.set()
            assert self._open.wait(30)
            return function(*arguments)

        monkeypatch.setattr(module, name, wait)

    def open(self) -> None:
        self._open.set()

    def open_when_gone(self, client: Client, served: DatabaseServed) -> None:
        """A call is held up, its client leaves, and the call goes on."""
        assert self.reached.wait(30)
        client.reset()
        wait_until(lambda: served.open() == 0)
        self.open()
