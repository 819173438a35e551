"""All maildrops of one user as one: charles has two mailboxes, and his bare name opens both."""

import base64
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError
from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.app_passwords import create_app_password
from accounts.lookup import FoundMailbox, find_mailboxes
from accounts.models import Domain, Mailbox, User
from accounts.services import create_account, create_domain, create_mailbox, set_active
from mailstore.delivery import Import, append_many
from mailstore.maildrop import Closed, CloseRequest
from mailstore.models import Content, Maildrop, Message
from mailstore.removal import remove_mailboxes
from mailstore.rows import live_messages
from mailstore.together import close_together
from pop3service import access, combined
from pop3service.models import SessionRecord
from pop3service.states import Ending
from tests.mailstore.mailboxes import assert_counters_fit, body_of, fill
from tests.pop3service.mailboxes import IN_USE, OUR_ERROR, WRONG, Gate, lock, lock_of, try_login, wait_until_free
from tests.pop3service.memory import message
from tests.pop3service.serving import DatabaseServed, Outage, wait_until

Serve = Callable[..., DatabaseServed]

pytestmark = pytest.mark.usefixtures("no_patience")

HERE, THERE = "charles@jules.maison.mrs", "charles@alfred.maison.mrs"
BEGAN = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def charles(quick_hashes: None, transactional_db: None) -> list[FoundMailbox]:
    """His mailboxes, password x: here messages of 100 and 300 octets, there of 200 and 400, come one by one."""
    domains = [create_domain(name="jules.maison.mrs"), create_domain(name="alfred.maison.mrs")]
    create_account(username="charles", password="x", domains=domains)
    User.objects.update(combined=True)
    boxes = [box for box in find_mailboxes([HERE, THERE]) if box is not None]
    for number in range(4):
        put(boxes[number % 2], number, message(100 * number + 100))
    return boxes


@pytest.fixture
def served(serve_mailboxes: Serve) -> DatabaseServed:
    return serve_mailboxes()


def put(box: FoundMailbox, minute: int, *messages: bytes, unique_id: str = "") -> None:
    for octets in messages:
        with body_of(octets) as body:
            arrival = BEGAN + timedelta(minutes=minute)
            append_many(mailbox_id=box.id, imports=[Import(body, arrival, unique_id)])


def live(box: FoundMailbox) -> list[int]:
    return list(live_messages(box.id).order_by("uid").values_list("uid", flat=True))


def session(served: DatabaseServed, name: str, *commands: str) -> list[bytes]:
    """What a session's multi-line commands answer; it ends with QUIT."""
    with served.connect() as client:
        client.log_in(name, "x")
        answers = [client.ask(command) for command in commands]
        assert client.say("QUIT").startswith(b"+OK")
    return answers


def unique_ids(listing: bytes) -> list[bytes]:
    return [line.split()[1] for line in listing.splitlines()]


class TestLogin:
    @pytest.mark.parametrize("name", ["charles", "CHARLES", " charles "])
    def test_the_bare_name_opens_all(self, serve_mailboxes: Serve, charles: list[FoundMailbox], name: str) -> None:
        assert try_login(serve_mailboxes(), name) == b"+OK maildrop has 4 messages (1000 octets)"

    @pytest.mark.parametrize(("name", "octets"), [(HERE, 400), (THERE, 600), ("charles%alfred.maison.mrs", 600)])
    def test_a_full_address_opens_one(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], name: str, octets: int
    ) -> None:
        assert try_login(serve_mailboxes(), name) == b"+OK maildrop has 2 messages (%d octets)" % octets

    @pytest.mark.parametrize(
        ("authzid", "name", "octets"),
        [("", "charles", 1000), ("charles", "charles", 1000), ("charles", HERE, 1000), (THERE, "charles", 600)],
    )
    def test_auth_plain_says_which(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], authzid: str, name: str, octets: int
    ) -> None:
        with serve_mailboxes().connect() as client:
            client.greet()
            word = base64.b64encode(f"{authzid}\0{name}\0x".encode()).decode()
            assert client.say(f"AUTH PLAIN {word}").endswith(b" (%d octets)" % octets)

    def test_without_the_switch_it_opens_that_of_the_default_domain(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox]
    ) -> None:
        User.objects.update(combined=False)
        assert try_login(serve_mailboxes(), "charles").endswith(b" (400 octets)")

    def test_what_others_entrusted_is_not_among_them(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        here, there = Domain.objects.order_by("pk")
        owner = create_account(username="jules", password="x", domains=[here, there])
        jules = Mailbox.objects.filter(user=owner, domain=here).get()
        jules.delegates.add(User.objects.get(username="charles"))
        served = serve_mailboxes()
        assert try_login(served, "charles") == b"+OK maildrop has 4 messages (1000 octets)"
        for box in charles:
            wait_until_free(box)
        User.objects.update(combined=True)
        with served.connect() as client:  # and of somebody else's it is the one that was entrusted
            client.greet()
            word = base64.b64encode(b"jules\0charles\0x").decode()
            assert client.say(f"AUTH PLAIN {word}") == b"+OK maildrop has 0 messages (0 octets)"
            held = Maildrop.objects.filter(lock_worker__isnull=False)
            assert list(held.values_list("mailbox_id", flat=True)) == [jules.pk]

    @pytest.mark.parametrize(("suspended", "octets"), [(HERE, 600), (THERE, 400)])
    def test_a_suspended_mailbox_is_not_among_them(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], suspended: str, octets: int
    ) -> None:
        set_active(mailboxes=Mailbox.objects.filter(address=suspended), active=False)
        assert try_login(serve_mailboxes(), "charles") == b"+OK maildrop has 2 messages (%d octets)" % octets

    def test_where_all_are_suspended_nothing_opens(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        set_active(mailboxes=Mailbox.objects.all(), active=False)
        assert try_login(serve_mailboxes(), "charles") == WRONG

    def test_none_has_to_be_in_the_default_domain(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        remove_mailboxes(mailbox_ids=[charles[0].id])
        assert try_login(serve_mailboxes(), "charles") == b"+OK maildrop has 2 messages (600 octets)"

    def test_a_mailbox_that_goes_between_password_and_lock(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate(monkeypatch, "open_together", combined)
        with serve_mailboxes().connect() as client:
            client.greet()
            client.send(b"USER charles\r\nPASS x\r\n")
            assert gate.reached.wait(30)
            remove_mailboxes(mailbox_ids=[charles[1].id])
            gate.open()
            client.hear()
            assert client.hear() == WRONG
        assert lock_of(charles[0]) is None

    def test_all_that_are_suspended_between_password_and_lock(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(access, "find_combined", lambda user_ids: [[] for _ in user_ids])
        assert try_login(serve_mailboxes(), "charles") == WRONG

    def test_wrong_passwords_are_the_same_as_ever(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        assert try_login(serve_mailboxes(), "charles", "y") == WRONG


class TestPolicies:
    """RFC 2449, 6.5 and 6.7: what holds for each message, and for each login."""

    def test_the_shortest_life_and_the_longest_delay(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        Mailbox.objects.filter(address=HERE).update(expire_days=90, login_delay_seconds=5)
        Mailbox.objects.filter(address=THERE).update(expire_days=0, login_delay_seconds=70)
        with serve_mailboxes().connect() as client:
            client.log_in("charles", "x")
            assert {b"EXPIRE 90", b"LOGIN-DELAY 70"} <= client.capabilities()

    def test_each_mailbox_keeps_its_delay(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        Mailbox.objects.filter(address=THERE).update(login_delay_seconds=600)
        served = serve_mailboxes()
        assert try_login(served, THERE).startswith(b"+OK")
        wait_until_free(charles[1])
        assert try_login(served, "charles").startswith(b"-ERR [LOGIN-DELAY] ")
        assert [lock_of(box) for box in charles] == [None, None]
        assert Maildrop.objects.get(mailbox_id=charles[0].id).opened_at is None


class TestReading:
    def test_oldest_first_with_the_unique_ids_of_the_mailboxes(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox]
    ) -> None:
        put(charles[1], 9, message(500), unique_id="From.Elsewhere")
        served = serve_mailboxes()
        listing, ids = session(served, "charles", "LIST", "UIDL")
        assert listing == b"1 100\r\n2 200\r\n3 300\r\n4 400\r\n5 500\r\n"
        here, there = (unique_ids(session(served, name, "UIDL")[0]) for name in (HERE, THERE))
        assert unique_ids(ids) == [here[0], there[0], here[1], there[1], b"From.Elsewhere"]
        with served.connect() as client:
            client.log_in("charles", "x")
            assert client.say("UIDL 4") == b"+OK 4 " + there[1]
            assert client.say("LIST 3") == b"+OK 3 300"
            for number in (4, 1, 2, 3, 1):
                assert client.ask(f"RETR {number}") == message(100 * number)
                assert client.ask(f"TOP {number} 0") == message(100 * number).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            assert client.say("DELE 2").startswith(b"+OK")
            assert client.ask("LIST") == b"1 100\r\n3 300\r\n4 400\r\n5 500\r\n"
            assert client.say("STAT") == b"+OK 4 1300"
            assert client.say("RSET").startswith(b"+OK")
            assert client.say("STAT") == b"+OK 5 1500"

    def test_large_messages_come_in_pieces(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        large = message(700_000)
        put(charles[0], -1, large)
        with serve_mailboxes().connect() as client:
            client.log_in("charles", "x")
            assert client.ask("RETR 1") == large
            assert client.ask("RETR 2") == message(100)

    def test_order_and_listings_are_read_once_for_as_long_as_nothing_changes(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, known = combined.read_order, []
        monkeypatch.setattr(combined, "read_order", lambda *asked: known.append(asked[1]) or read(*asked))
        served = serve_mailboxes()
        assert session(served, "charles", "LIST") == session(served, "charles", "LIST")
        assert known == [None]
        put(charles[0], 2, message(500))
        assert session(served, "charles", "LIST") == [b"1 100\r\n2 200\r\n3 300\r\n4 500\r\n5 400\r\n"]
        assert [len(order) for order in known[1:]] == [4]

    def test_memory_of_what_is_read_ahead_is_given_back(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox]
    ) -> None:
        served = serve_mailboxes()
        session(served, "charles", "RETR 1", "RETR 2")
        assert served.keeper.ahead._octets == 0

    def test_what_comes_meanwhile_is_seen_the_next_time(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox]
    ) -> None:
        """Promise 4, also where it came before the listing was asked for."""
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("charles", "x")
            put(charles[0], -5, message(500))
            create_mailbox(user=User.objects.get(), domain=create_domain(name="maison.mrs"))
            assert client.ask("LIST") == b"1 100\r\n2 200\r\n3 300\r\n4 400\r\n"
            assert client.say("QUIT").startswith(b"+OK")
        (mailbox,) = Mailbox.objects.filter(domain__name="maison.mrs")
        fill(mailbox.pk, message(600))
        assert session(served, "charles", "LIST") == [b"1 500\r\n2 100\r\n3 200\r\n4 300\r\n5 400\r\n6 600\r\n"]

    @pytest.mark.parametrize("utf8", [False, True])
    def test_rfc6856_surrogates_in_each(self, serve_mailboxes: Serve, charles: list[FoundMailbox], utf8: bool) -> None:
        letter = "Subject: Déjeuner à midi\r\n\r\nx\r\n".encode()
        for minute, box in ((-1, charles[0]), (1, charles[1])):
            put(box, minute, letter)
        with serve_mailboxes().connect() as client:
            client.greet()
            if utf8:
                assert client.say("UTF8").startswith(b"+OK")
            client.say("USER charles")
            client.say("PASS x")
            sizes = [int(line.split()[1]) for line in client.ask("LIST").splitlines()]
            assert client.say("STAT") == b"+OK 6 %d" % sum(sizes)
            for number, size in enumerate(sizes, 1):
                octets = client.ask(f"RETR {number}")
                assert len(octets) == size
                assert octets.isascii() or utf8
            assert (client.ask("RETR 1") == letter) is utf8

    def test_messages_that_are_the_same_have_unique_ids_of_their_own(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox]
    ) -> None:
        """RFC 1939, 7, where two mailboxes brought the same one from elsewhere."""
        for box in charles:
            put(box, 9, message(500), unique_id="the.same")
        served = serve_mailboxes()
        (ids,) = (unique_ids(each) for each in session(served, "charles", "UIDL"))
        assert len(set(ids)) == 6
        assert b"the.same" in ids
        assert ids[1] == b"%d-%s" % (charles[1].id, unique_ids(session(served, THERE, "UIDL")[0])[0])
        assert session(served, "charles", "UIDL") == session(serve_mailboxes(), "charles", "UIDL")

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(arrivals=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=10), data=st.data())
    def test_it_is_the_merge_of_the_single_ones(
        self,
        served: DatabaseServed,
        charles: list[FoundMailbox],
        arrivals: list[tuple[bool, int]],
        data: st.DataObject,
    ) -> None:
        for model in (Content, Message):
            model.objects.all().delete()
        for box in charles:
            Maildrop.objects.filter(mailbox_id=box.id).update(message_count=0, octets=0, version=F("version") + 1)
        for number, (there, minute) in enumerate(arrivals):
            put(charles[there], minute, message(100 + number))
        rows = Message.objects.order_by("received_at", "mailbox_id", "uid").values_list("mailbox_id", "octets")
        wanted = [octets for _, octets in rows]
        deleted = data.draw(st.sets(st.integers(1, len(wanted)))) if wanted else set()
        with served.connect() as client:
            client.log_in("charles", "x")
            ids = unique_ids(client.ask("UIDL"))
            sizes = [int(line.split()[1]) for line in client.ask("LIST").splitlines()]
            assert sizes == wanted
            for number in data.draw(st.permutations(range(1, len(wanted) + 1))):
                assert client.ask(f"RETR {number}") == message(wanted[number - 1])
            for number in deleted:
                assert client.say(f"DELE {number}").startswith(b"+OK")
            assert client.say("QUIT").startswith(b"+OK")
        left = [each for number, each in enumerate(ids, 1) if number not in deleted]
        here, there = (unique_ids(session(served, name, "UIDL")[0]) for name in (HERE, THERE))
        assert sorted(here + there) == sorted(left)
        assert [each for each in left if each in here] == sorted(here, key=left.index)


class TestUpdate:
    def test_quit_deletes_in_all(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("charles", "x")
            client.ask("RETR 3")
            for number in (1, 2):
                client.say(f"DELE {number}")
            assert client.say("QUIT").endswith(b" POP3 server signing off (2 messages left)")
        assert [live(box) for box in charles] == [[2], [2]]
        assert Message.objects.get(mailbox_id=charles[0].id, uid=2).retrieved_at is not None
        assert Message.objects.get(mailbox_id=charles[1].id, uid=2).retrieved_at is None
        for box in charles:
            assert lock_of(box) is None
            assert_counters_fit(box.id)

    @pytest.mark.parametrize("ends", ["drops", "is shut down"])
    def test_nothing_is_deleted_without_it(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], ends: str
    ) -> None:
        """Promise 2."""
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("charles", "x")
            client.say("DELE 1")
            client.say("DELE 2")
            if ends == "drops":
                client.reset()
            else:
                served.close()
        for box in charles:
            wait_until_free(box)
        assert [live(box) for box in charles] == [[1, 2], [1, 2]]

    def test_what_is_marked_as_retrieved_is_not_marked_again(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[list[list[int]]] = []

        def close(requests: list[CloseRequest]) -> list[Closed]:
            asked.append([[*request.retrieved] for request in requests])
            return close_together(requests)

        monkeypatch.setattr(combined, "close_together", close)
        served = serve_mailboxes()
        session(served, "charles", "RETR 4", "RETR 1")
        session(served, "charles", "RETR 2", "RETR 1")
        assert asked == [[[1], [2]], [[], [1]]]

    def test_a_read_only_app_password_deletes_nothing(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox]
    ) -> None:
        _, secret = create_app_password(user=User.objects.get(), name="watch", read_only=True)
        with serve_mailboxes().connect() as client:
            client.log_in("charles", secret)
            assert client.say("STAT") == b"+OK 4 1000"
            assert client.say("DELE 2").startswith(b"-ERR this password may fetch messages and not delete them")

    def test_it_goes_on_where_the_client_does_not_wait_for_the_answer(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate(monkeypatch, "close_together", combined)
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("charles", "x")
            client.send(b"DELE 1\r\nDELE 2\r\nQUIT\r\n")
            gate.open_when_gone(client, served)
        for box in charles:
            wait_until_free(box)
        assert [live(box) for box in charles] == [[2], [2]]

    def test_where_the_database_is_away_nothing_is_deleted(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], outage: Outage
    ) -> None:
        with serve_mailboxes().connect() as client:
            client.log_in("charles", "x")
            client.say("DELE 1")
            client.say("DELE 2")
            with outage:
                assert client.say("QUIT") == OUR_ERROR
            for box in charles:
                wait_until_free(box)
        assert [live(box) for box in charles] == [[1, 2], [1, 2]]


class TestLocks:
    @pytest.mark.parametrize("at", [0, 1])
    def test_one_that_is_in_use_keeps_all_closed(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], at: int
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in((HERE, THERE)[at], "x")
            in_use = f"-ERR [IN-USE] another session has had {(HERE, THERE)[at]} open for "
            assert try_login(served, "charles").startswith(in_use.encode())
            assert lock_of(charles[1 - at]) is None
            assert try_login(served, (THERE, HERE)[at]).startswith(b"+OK")
        for box in charles:
            wait_until_free(box)
        assert try_login(served, "charles").startswith(b"+OK")

    def test_and_the_single_ones_are_in_use_while_it_is_open(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox]
    ) -> None:
        served, other = serve_mailboxes(), serve_mailboxes()
        with served.connect() as client:
            client.log_in("charles", "x")
            for name in (HERE, THERE):
                assert try_login(served, name).startswith(IN_USE)
                assert try_login(other, name).startswith(IN_USE)
            assert try_login(other, "charles").startswith(b"-ERR [IN-USE] another session has had charles@")

    def test_a_worker_that_died_holds_nothing(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        for box in charles:
            lock(box, uuid.uuid4())
        assert try_login(serve_mailboxes(), "charles").startswith(b"+OK")

    @pytest.mark.parametrize("at", [0, 1])
    def test_with_one_lock_lost_nothing_is_deleted_anywhere(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], at: int
    ) -> None:
        served = serve_mailboxes()
        thief = uuid.uuid4()
        with served.connect() as client:
            client.log_in("charles", "x")
            client.say("DELE 1")
            client.say("DELE 2")
            Maildrop.objects.filter(mailbox_id=charles[at].id).update(lock_worker=thief)
            answer = client.say("QUIT")
        assert answer.startswith(
            b"-ERR [SYS/TEMP] this session had lost its mailbox to another one, nothing was deleted"
        )
        wait_until_free(charles[1 - at])
        wait_until(lambda: not served.keeper.held)
        assert [live(box) for box in charles] == [[1, 2], [1, 2]]
        assert lock_of(charles[at]) == thief

    def test_a_mailbox_that_is_removed_meanwhile(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        with serve_mailboxes().connect() as client:
            client.log_in("charles", "x")
            client.ask("LIST")
            remove_mailboxes(mailbox_ids=[charles[1].id])
            assert client.ask("RETR 1") == message(100)
            assert client.say("RETR 2").startswith(b"-ERR [SYS/PERM] ")
            client.say("DELE 1")
            assert client.say("QUIT").startswith(b"-ERR [SYS/TEMP] ")
        wait_until_free(charles[0])
        assert live(charles[0]) == [1, 2]

    def test_an_opening_whose_answer_was_lost(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_together = combined.open_together

        def take_and_lose_the_answer(requests: list[object]) -> None:
            open_together(requests)
            raise OperationalError(Outage.DETAIL)

        monkeypatch.setattr(combined, "open_together", take_and_lose_the_answer)
        assert try_login(serve_mailboxes(), "charles") == OUR_ERROR
        for box in charles:
            wait_until_free(box)

    def test_a_connection_that_drops_while_its_login_is_under_way(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate(monkeypatch, "open_together", combined)
        served = serve_mailboxes()
        with served.connect() as client:
            client.greet()
            client.send(b"USER charles\r\nPASS x\r\n")
            gate.open_when_gone(client, served)
        for box in charles:
            wait_until_free(box)


class TestRecords:
    def records(self, served: DatabaseServed) -> list[SessionRecord]:
        served.thread.run(served.keeper.sessions.flush(served.bridge, everything=True))
        return list(SessionRecord.objects.order_by("mailbox_id"))

    def test_each_mailbox_has_its_own(self, serve_mailboxes: Serve, charles: list[FoundMailbox]) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("charles", "x")
            for command in ("RETR 1", "RETR 2", "RETR 4", "TOP 3 0"):
                client.ask(command)
            client.say("DELE 2")
            client.say("QUIT")
        records = self.records(served)
        assert [record.mailbox_id for record in records] == [box.id for box in charles]
        assert [(each.login, each.ending) for each in records] == [("charles", Ending.QUIT)] * 2
        assert [(each.retrieved, each.retrieved_octets) for each in records] == [(1, 100), (2, 600)]
        assert [(each.topped, each.deleted, each.left) for each in records] == [(1, 0, 2), (0, 1, 1)]
        for record, uid in zip(records, (1, 1), strict=True):  # what a message says of its session leads to it
            row = Message.objects.get(mailbox_id=record.mailbox_id, uid=uid)
            assert row.retrieved_serial == record.serial

    @pytest.mark.parametrize("at", [0, 1])
    def test_an_admin_ends_it_by_any_of_its_mailboxes(
        self, serve_mailboxes: Serve, charles: list[FoundMailbox], at: int
    ) -> None:
        served = serve_mailboxes()
        with served.connect() as client:
            client.log_in("charles", "x")
            named = (charles[at].id, Maildrop.objects.get(mailbox_id=charles[at].id).lock_serial)
            served.thread.call(served.connections.end_some, {named}, "it is over", Ending.ADMIN)
            assert client.hear() == b"-ERR [SYS/TEMP] it is over"
        for box in charles:
            wait_until_free(box)
        assert [record.ending for record in self.records(served)] == [Ending.ADMIN] * 2
