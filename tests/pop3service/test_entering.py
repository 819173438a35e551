"""The quick way in is the ordinary one in all but time: nobody comes in by it who would not, and no lock is left."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import OperationalError

from accounts.app_passwords import create_app_password
from accounts.door import Admission
from accounts.lookup import FoundMailbox
from accounts.models import LoginRecord, LoginResult, Mailbox, User
from mailstore.locks import Lock
from mailstore.maildrop import OpenRequest, open_at_once
from pop3service import entering, keeper
from tests.pop3service.mailboxes import IN_USE, JULES, WRONG, Gate, lock_of, try_login, wait_until_free
from tests.pop3service.serving import DatabaseServed, Outage, wait_until

Serve = Callable[..., DatabaseServed]

pytestmark = pytest.mark.usefixtures("no_patience")


@pytest.fixture
def served(serve_mailboxes: Serve, jules: FoundMailbox) -> DatabaseServed:
    """A server that remembers the password of jules."""
    served = serve_mailboxes()
    assert try_login(served).startswith(b"+OK")
    wait_until_free(jules)
    return served


class Trips:
    """What is asked of the database."""

    def __init__(self, served: DatabaseServed, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        gather = served.keeper.bridge.gather

        def counted(operation: Any, item: Any, **options: Any) -> Any:
            self.made.append(operation.__name__)
            return gather(operation, item, **options)

        monkeypatch.setattr(served.keeper.bridge, "gather", counted)


def test_a_poll_is_two_trips(served: DatabaseServed, monkeypatch: pytest.MonkeyPatch) -> None:
    trips = Trips(served, monkeypatch)
    with served.connect() as client:
        client.log_in(JULES, "x")
        client.say("STAT")
        assert client.say("QUIT").startswith(b"+OK")
    assert trips.made == ["come_and_go", "come_and_go"]


def test_it_is_on_record(served: DatabaseServed, jules: FoundMailbox) -> None:
    assert try_login(served).startswith(b"+OK")
    served.close()
    record = LoginRecord.objects.get()
    assert (record.result, record.mailbox_id, record.times) == (LoginResult.ADMITTED, jules.id, 2)


def test_it_admits_to_the_same(served: DatabaseServed, jules: FoundMailbox) -> None:
    """What the ordinary way knows of who came in, such as by which password, the quick one knows too."""
    admitted: list[Admission] = []
    for remembered in (False, True):
        if not remembered:
            served.keeper.door._passwords._verified.clear()
        with served.connect() as client:
            client.log_in(JULES, "x")
            admitted += [admission for admission, _ in served.keeper.admitted.values()]
            client.say("QUIT")
        wait_until(lambda: not served.keeper.admitted)
    assert len(admitted) == 2
    assert admitted[0] == admitted[1]
    assert admitted[1].password_mark is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda: User.objects.update(password="pbkdf2_sha256$1$another$x"),
        lambda: User.objects.update(is_active=False),
        lambda: User.objects.update(two_factor=True),
        lambda: Mailbox.objects.update(is_active=False),
        lambda: Mailbox.objects.update(address="other@maison.mrs", local_part="other"),
    ],
)
def test_what_was_remembered_counts_no_more(served: DatabaseServed, change: Callable[[], Any]) -> None:
    change()
    assert try_login(served) == WRONG


def test_another_password_is_wrong(served: DatabaseServed) -> None:
    assert try_login(served, word="y") == WRONG
    assert try_login(served, word="x").startswith(b"+OK")


def test_a_maildrop_in_use(served: DatabaseServed, monkeypatch: pytest.MonkeyPatch) -> None:
    with served.connect() as client:
        client.log_in(JULES, "x")
        assert try_login(served).startswith(IN_USE)


def test_the_login_delay_holds(served: DatabaseServed) -> None:
    Mailbox.objects.update(login_delay_seconds=600)
    assert try_login(served).startswith(b"-ERR [LOGIN-DELAY]")


def test_a_client_that_leaves_on_the_way(
    served: DatabaseServed, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "open_at_once", entering)
    with served.connect() as client:
        client.greet()
        client.send(b"USER jules\r\nPASS x\r\n")
        gate.open_when_gone(client, served)
    wait_until(lambda: not served.keeper._tasks)
    assert lock_of(jules) is None
    assert try_login(served).startswith(b"+OK")


def test_a_lock_of_which_no_session_knows_yet_is_not_void(
    served: DatabaseServed, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 5: between the lock and the answer that tells of it nobody takes it away."""
    gate = Gate(monkeypatch, "open_at_once", entering)
    with served.connect() as first:
        first.greet()
        first.send(b"USER jules\r\nPASS x\r\n")
        assert gate.reached.wait(30)
        lock = Lock(served.worker, 1)
        assert not served.keeper._is_unknown(jules.id, lock)
        gate.open()
        first.hear()
        assert first.hear().startswith(b"+OK")
        assert served.keeper._is_unknown(jules.id, lock)
    wait_until_free(jules)


@pytest.mark.parametrize("taken", [False, True])
def test_the_database_fails_on_the_way(
    served: DatabaseServed, jules: FoundMailbox, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """Before the lock is taken, or before it is told that it is; the ordinary way is tried then."""
    monkeypatch.setattr(keeper, "RELEASE_WAIT", 0.5)

    def fail(requests: Sequence[OpenRequest]) -> Any:
        monkeypatch.setattr(entering, "open_at_once", open_at_once)
        if taken:
            open_at_once(requests)
        raise OperationalError(Outage.DETAIL)

    monkeypatch.setattr(entering, "open_at_once", fail)
    assert try_login(served).startswith(b"+OK")
    wait_until_free(jules)
    wait_until(lambda: not served.keeper._tasks)
    assert not served.keeper.entering


def test_an_app_password_loses_no_time_by_it(served: DatabaseServed, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = create_app_password(user=User.objects.get(), name="phone")
    trips = Trips(served, monkeypatch)
    assert try_login(served, word=secret).startswith(b"+OK")
    assert trips.made[:3] == ["find_credentials", "find_app_passwords", "open_maildrops"]


def test_a_login_by_another_mailbox_s_name_goes_the_ordinary_way(
    served: DatabaseServed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AUTH PLAIN with an authorization identity (RFC 4616, 2)."""
    trips = Trips(served, monkeypatch)
    with served.connect() as client:
        client.greet()
        assert client.say("AUTH PLAIN AG5vYm9keQB4").startswith(b"-ERR [AUTH]")  # nobody, by its own name
        assert trips.made[0] == "come_and_go"
        trips.made.clear()
        assert client.say("AUTH PLAIN anVsZXNAbWFpc29uLm1ycwBqdWxlcwB4").startswith(b"+OK")
        assert "come_and_go" not in trips.made
