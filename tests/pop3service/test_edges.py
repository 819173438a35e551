"""The sharp edges of POP3: what servers got wrong, each with its number, shown from the database to the socket.

Those that are about the connection or the lock, not about messages, are shown where those are tested: EDGES says where
each is.
"""

import re
from base64 import b64encode
from collections.abc import Callable

import pytest

from accounts.lookup import FoundMailbox
from mailstore.models import PIECE_OCTETS, Content, Message
from mailstore.rows import live_messages
from mailstore.shelf import purge, restore
from tests import markdown
from tests.mailstore.mailboxes import fill, make_mailbox
from tests.markdown import ROOT
from tests.messages import all_messages, canonical, retrieved
from tests.pop3service.serving import Client, DatabaseServed, MemoryServed

Serve = Callable[..., DatabaseServed]
ServeMemory = Callable[..., MemoryServed]

#: What went wrong elsewhere, and the tests that show it here: of this module, or of another one below tests/.
EDGES = {
    1: ("a dot is the first octet of the message", ["test_what_went_in_comes_out"]),
    2: ("a dot behind a bare LF or a bare CR", ["test_what_went_in_comes_out"]),
    3: (
        "dots at the borders of pieces, in RETR and in TOP",
        ["test_what_went_in_comes_out", "pop3service/test_transfer.py", "mailstore/test_wire.py"],
    ),
    4: (
        "STAT, LIST and RETR count the same octets, a line end as two",
        ["test_all_count_the_same_octets", "e2e/test_clients.py::test_every_byte_arrives"],
    ),
    5: ("no line end at the end, or half of one", ["test_what_went_in_comes_out"]),
    6: ("a header without an empty line", ["test_what_went_in_comes_out", "TestTop"]),
    7: ("TOP counts lines of the body, and sends all where there are fewer", ["TestTop"]),
    8: ("NUL octets", ["test_what_went_in_comes_out"]),
    9: ("very long lines", ["test_what_went_in_comes_out"]),
    10: ("octets above 127, in any charset or none", ["test_what_went_in_comes_out"]),
    11: ("numbers do not move after DELE and RSET", ["TestNumbers::test_they_do_not_move"]),
    12: (
        "message numbers that are none",
        ["TestNumbers::test_what_is_no_number_of_a_message_is_refused"],
    ),
    13: (
        "a drop, a timer, a shutdown, an error: nothing is deleted",
        [
            "pop3service/test_server_end.py::TestEnd::test_a_dropped_connection_deletes_nothing",
            "pop3service/test_server_end.py::TestShutdown",
            "pop3service/test_server_timers.py::TestTimers::test_an_idle_session_is_ended_in_silence_and_deletes_nothing",
            "pop3service/test_access_outage.py::TestDatabaseAway",
            "e2e/test_kill.py::test_at_any_moment_of_quit",
            "e2e/test_shutdown.py::test_term_tells_every_session_so_and_nothing_is_deleted",
        ],
    ),
    14: (
        "QUIT: no UPDATE before the login, no answer before the commit",
        [
            "test_quit_before_the_login_is_no_update",
            "pop3service/test_server_end.py::TestEnd::test_quit_is_answered_after_the_work",
        ],
    ),
    15: ("commands that were sent before TLS was up", ["pop3service/test_server_tls.py::TestStls"]),
    16: (
        "commands that were sent with PASS or AUTH",
        [
            "pop3service/test_server.py::TestOrder::test_what_is_sent_behind_pass_waits_for_it",
            "pop3service/test_logins.py::TestPipelining",
        ],
    ),
    17: (
        "AUTH: cancelled, empty, long, in pieces, junk, somebody else's name, and what works after a failure",
        [
            "TestAuth",
            "pop3service/test_sasl.py::TestSection4",
            "pop3service/test_access.py::TestLogin::test_and_no_other",
        ],
    ),
    18: ("lines of commands and of answers have their lengths", ["TestLines"]),
    19: (
        "passwords with spaces, and in any language",
        [
            "pop3service/test_access.py::TestLogin::test_passwords_with_spaces_and_letters_of_any_language",
            "pop3service/test_rfc1939.py::TestSection7OptionalCommands::test_a_password_may_hold_any_octets",
        ],
    ),
    20: ("unique-ids: unique, printable, never used again", ["TestUniqueIds"]),
    21: (
        "the lock ends with the connection and with the worker, and holds no delivery up",
        ["pop3service/test_keeper.py::TestLock", "e2e/test_kill.py::test_the_only_worker"],
    ),
    22: (
        "timers, and clients that do not read",
        [
            "pop3service/test_server_timers.py::TestTimers",
            "pop3service/test_server.py::TestSlowReader",
            "e2e/test_memory.py::test_clients_that_do_not_read_pin_no_memory",
        ],
    ),
    23: ("the terminator goes in one piece", ["pop3service/test_transfer.py"]),
    24: ("messages are in the order of their arrival", ["TestNumbers::test_they_follow_the_arrival"]),
    25: (
        "refusals and their times do not tell which names exist",
        [
            "pop3service/test_access.py::TestLogin::test_unknown_suspended_and_wrong_are_one_answer",
            "pop3service/test_access.py::TestLogin::test_and_take_one_hash_each",
            "pop3service/test_timing.py::test_200_tries_cannot_tell_an_unknown_name_from_a_wrong_password",
        ],
    ),
    26: (
        "commands in any case",
        ["test_commands_in_any_case", "pop3service/test_access.py::TestLogin::test_the_names_of_a_mailbox"],
    ),
    27: ("the words of a shutdown are POP3's", ["pop3service/test_server_end.py::TestShutdown"]),
}


def test_each_has_its_tests() -> None:
    assert list(EDGES) == list(range(1, 28))
    for _, tests in EDGES.values():
        for test in tests:
            file, _, name = test.partition("::") if "/" in test else ("pop3service/test_edges.py", "", test)
            path = ROOT / "tests" / file
            assert path.is_file(), test
            assert not name or name in markdown.names_in(path), test


@pytest.fixture
def jules(quick_hashes: None, transactional_db: None) -> FoundMailbox:
    return make_mailbox("jules")


@pytest.fixture
def fetch(serve_mailboxes: Serve, jules: FoundMailbox) -> Callable[..., Client]:
    """Put messages into a mailbox, and log in to it."""

    def fetch(*messages: bytes) -> Client:
        fill(jules.id, *messages)
        return serve_mailboxes().connect().log_in("jules@maison.mrs", "x")

    return fetch


Fetch = Callable[..., Client]


def unstuffed(lines: bytes) -> bytes:
    """What a client makes of the lines of a multi-line answer (RFC 1939, 3)."""
    return re.sub(rb"(?m)^\.", b"", lines)


def sizes(client: Client) -> list[int]:
    return [int(line.split()[1]) for line in client.ask("LIST").splitlines()]


HARD = {
    1: [b".first: x\n\ntext\n", b".", b"..", b".\r\n.\r\n"],
    2: [b"a: b\r\n\r\nx\n.\ny\r.\rz\n.y\r.", b"a: b\r\r.\r", b"a: b\n\n.\n"],
    3: [b"a: b\n\n" + b".\n" * (PIECE_OCTETS // 2), b"a: b\n\n" + b"x" * (PIECE_OCTETS - 10) + b"\n.\n.." * 20],
    5: [b"a: b\n\nno end", b"a: b\n\nhalf\r", b"a: b\r\n\r\nbare\n", b"a: b\n\n\r\r\n\r", b""],
    6: [b"a: b\r\n", b"a: b", b"a: b\r", b"a: b\nc: d\n"],
    8: [b"a: b\0c\n\n\0\n\0.\0\n.\0\n", b"\0", b"a: b\n\n" + b"\0" * 100_000],
    9: [b"a: b\n\n" + b"x" * 100_000 + b"\n." + b"." * 3000, b"a: " + b"y" * 70_000 + b"\n\n"],
    10: [b"a: b\n\n" + bytes(range(256)), "a: b\n\né 日本\n".encode(), b"a: \xe9\n\n\xff\xfe\xe9\n"],
}


@pytest.mark.parametrize("edge", HARD, ids=lambda edge: f"{edge}: {EDGES[edge][0]}")
def test_what_went_in_comes_out(fetch: Fetch, edge: int) -> None:
    """Edges 1, 2, 3, 5, 6, 8, 9 and 10."""
    with fetch(*HARD[edge]) as client:
        assert sizes(client) == [len(canonical(raw)) for raw in HARD[edge]]
        for number, raw in enumerate(HARD[edge], 1):
            retrieved = client.ask(f"RETR {number}")
            assert unstuffed(retrieved) == canonical(raw)
            assert client.ask(f"TOP {number} {len(raw)}") == retrieved
            # Whoever takes a bare LF or CR for a line end finds no end before the end either.
            assert b"." not in re.split(rb"\r\n|\r|\n", retrieved)
        assert client.say("QUIT").startswith(b"+OK")


def test_all_count_the_same_octets(fetch: Fetch) -> None:
    """Edge 4, with every message that the tests have."""
    messages = list(all_messages().values())
    with fetch(*messages) as client:
        listed = sizes(client)
        assert listed == [len(retrieved(raw)) for raw in messages]
        assert client.say("STAT") == b"+OK %d %d" % (len(messages), sum(listed))
        for number, raw in enumerate(messages, 1):
            assert client.say(f"RETR {number}") == b"+OK %d octets" % listed[number - 1]
            assert unstuffed(client.hear_lines()) == retrieved(raw)


class TestTop:
    """Edges 6 and 7."""

    @pytest.mark.parametrize("raw", [b"a: b\r\n", b"a: b", b"a: b\n\n", b"a: b\n\n1\n2\n"])
    def test_no_line_is_the_header_and_the_empty_line(self, fetch: Fetch, raw: bytes) -> None:
        with fetch(raw) as client:
            assert client.ask("TOP 1 0") == b"a: b\r\n\r\n"

    def test_lines_are_those_of_the_body(self, fetch: Fetch) -> None:
        with fetch(b"a: b\nc: d\n\n1\n\n.3\n") as client:
            header = b"a: b\r\nc: d\r\n\r\n"
            body = [b"1\r\n", b"\r\n", b"..3\r\n"]
            for count in (0, 1, 2, 3, 4, 1000, 10**40):
                assert client.ask(f"TOP 1 {count}") == header + b"".join(body[:count])

    @pytest.mark.parametrize("arguments", ["", " 1", " 1 -1", " 1 x", " 1 1 1", " 0 1", " 1 1.5"])
    def test_other_arguments_are_refused(self, fetch: Fetch, arguments: str) -> None:
        with fetch(b"a: b\n\n1\n") as client:
            assert client.say("TOP" + arguments).startswith(b"-ERR ")
            assert client.ask("TOP 1 1") == b"a: b\r\n\r\n1\r\n"


class TestNumbers:
    def test_they_do_not_move(self, fetch: Fetch) -> None:
        """Edge 11."""
        with fetch(b"a: 1\n\n", b"a: 22\n\n", b"a: 333\n\n") as client:
            assert client.say("STAT") == b"+OK 3 27"
            client.say("DELE 2")
            assert client.say("STAT") == b"+OK 2 18"
            assert client.ask("LIST") == b"1 8\r\n3 10\r\n"
            assert [line.split()[0] for line in client.ask("UIDL").splitlines()] == [b"1", b"3"]
            assert client.ask("RETR 3") == b"a: 333\r\n\r\n"
            for command in ("LIST 2", "UIDL 2", "RETR 2", "TOP 2 0", "DELE 2"):
                assert client.say(command) == b"-ERR message 2 already deleted: RSET brings it back"
            client.say("DELE 3")
            client.say("RSET")
            assert client.say("STAT") == b"+OK 3 27"
            assert client.ask("LIST") == b"1 8\r\n2 9\r\n3 10\r\n"

    @pytest.mark.parametrize("command", ["LIST {}", "UIDL {}", "RETR {}", "TOP {} 1", "DELE {}"])
    def test_what_is_no_number_of_a_message_is_refused(self, fetch: Fetch, command: str) -> None:
        """Edge 12."""
        wrong = {
            "0": b"message numbers begin at 1",
            "00000": b"message numbers begin at 1",
            "-1": b"the message number is negative",
            "-0": b"the message number is negative",
            "1x": b"the message number is not a number",
            "x": b"the message number is not a number",
            "1.5": b"the message number is not a number",
            "1e0": b"the message number is not a number",
            "0x1": b"the message number is not a number",
            "+1": b"the message number is not a number",
            "1:2": b"the message number is not a number",
            "1_0": b"the message number is not a number",
            "¹": b"the message number is not a number",
            "٣": b"the message number is not a number",
            "3": b"no such message, only 2 messages in maildrop",
            "99999999999999999999": b"no such message, only 2 messages in maildrop",
            "9" * 200: b"no such message, only 2 messages in maildrop",
            "1 2 3": b"too many arguments",
        }
        with fetch(b"a: b\n\n1\n", b"a: b\n\n2\n") as client:
            for word, why in wrong.items():
                assert client.say(command.format(word)).startswith(b"-ERR " + why), word
                assert client.say("NOOP") == b"+OK"
            assert client.say("STAT") == b"+OK 2 22"  # and nothing was marked by any of them

    def test_zeros_before_a_number_are_no_other_number(self, fetch: Fetch) -> None:
        with fetch(b"a: b\n\n1\n", b"a: b\n\n2\n") as client:
            assert client.say("DELE 00002") == b"+OK message 2 deleted"
            assert client.ask("LIST") == b"1 11\r\n"

    def test_they_follow_the_arrival(self, fetch: Fetch, jules: FoundMailbox) -> None:
        """Edge 24: oldest first, and what comes back from the shelf has arrived last."""
        fill(jules.id, b"a: old\n\n", b"a: older\n\n")
        live_messages(jules.id).filter(uid=2).update(received_at="2001-01-01T00:00Z")  # what its header may say
        with fetch(b"a: new\n\n") as client:
            assert [client.ask(f"TOP {number} 0").split()[1] for number in (1, 2, 3)] == [b"old", b"older", b"new"]
            client.say("DELE 1")
            client.say("QUIT")
        assert restore(mailbox_id=jules.id, uids=[1]) == 1
        with fetch() as client:
            assert [client.ask(f"TOP {number} 0").split()[1] for number in (1, 2, 3)] == [b"older", b"new", b"old"]


class TestUniqueIds:
    """Edge 20."""

    def test_copies_have_different_ones_of_printable_characters(self, fetch: Fetch) -> None:
        with fetch(*[b"a: b\n\n"] * 50) as client:
            ids = [line.split(b" ")[1] for line in client.ask("UIDL").splitlines()]
            assert len(set(ids)) == 50
            assert all(re.fullmatch(rb"[\x21-\x7e]{1,70}", unique_id) for unique_id in ids)
            assert client.say("UIDL 7") == b"+OK 7 " + ids[6]

    def test_one_that_was_deleted_and_purged_is_never_used_again(self, fetch: Fetch, jules: FoundMailbox) -> None:
        with fetch(b"a: 1\n\n", b"a: 2\n\n") as client:
            before = client.ask("UIDL").split()[1::2]
            client.say("DELE 2")
            client.say("QUIT")
        purge(mailbox_id=jules.id, before=Message.objects.get(mailbox_id=jules.id, uid=2).deleted_at.replace(year=9999))
        assert not Content.objects.filter(mailbox_id=jules.id, uid=2).exists()
        with fetch(b"a: 2\n\n") as client:
            after = client.ask("UIDL").split()[1::2]
        assert after[0] == before[0]
        assert after[1] not in before

    def test_they_are_the_same_in_every_session_and_on_every_worker(self, serve_mailboxes: Serve, fetch: Fetch) -> None:
        with fetch(b"a: 1\n\n", b"a: 2\n\n") as client:
            first = client.ask("UIDL")
            client.say("QUIT")
        with serve_mailboxes().connect() as client:
            assert client.log_in("jules", "x").ask("UIDL") == first


class TestLines:
    """Edge 18 (RFC 2449, 4)."""

    def test_255_octets_are_allowed_and_one_more_is_one_refusal(self, serve: ServeMemory) -> None:
        with serve(b"a: b\n\n").connect() as client:
            client.log_in()
            assert client.say(b"LIST 1" + b" " * (255 - 8)) == b"+OK 1 8"
            assert client.say(b"LIST 1" + b" " * (256 - 8)) == b"-ERR line too long: a command has at most 255 octets"
            client.send(b"x" * 1_000_000 + b"\r\nSTAT\r\n")
            assert client.hear().startswith(b"-ERR line too long")
            assert client.hear() == b"+OK 1 8"

    def test_no_answer_repeats_what_the_client_said(self, serve: ServeMemory) -> None:
        """Lines of an answer have 512 octets at most, whatever was asked."""
        with serve(b"a: b\n\n").connect() as client:
            client.log_in()
            for line in (b"x" * 253, b"LIST " + b"x" * 248, b"LIST " + b"9" * 248, b"TOP 1 " + b"x" * 247):
                assert len(client.say(line)) < 100
            assert client.say("STAT") == b"+OK 1 8"


class TestGarbage:
    @pytest.mark.parametrize(
        "octets",
        [b"", b" ", b"\0", b"\0" * 200, b"\xff\xfe", b"\x80", b"STAT\0", b" STAT", b"STAT\t", b"\rSTAT", b"LIST\x0b1"],
    )
    def test_is_one_refusal_and_the_next_command_works(self, serve: ServeMemory, octets: bytes) -> None:
        with serve(b"a: b\n\n").connect() as client:
            client.log_in()
            assert client.say(octets).startswith(b"-ERR ")
            assert client.say("STAT") == b"+OK 1 8"

    @pytest.mark.parametrize(
        "command", ["STAT 1", "NOOP 1", "RSET 1", "CAPA 1", "RETR", "DELE", "LIST 1 1", "UIDL 1 1"]
    )
    def test_so_are_arguments_too_many_or_too_few(self, serve: ServeMemory, command: str) -> None:
        with serve(b"a: b\n\n").connect() as client:
            client.log_in()
            assert re.match(rb"-ERR too (many|few) arguments: [A-Z]{4}", client.say(command))
            assert client.say("STAT") == b"+OK 1 8"

    @pytest.mark.parametrize("command", ["APOP a b", "LAST", "XTND XMIT", "HELO", "EHLO a"])
    def test_and_commands_that_this_server_has_not(self, serve: ServeMemory, command: str) -> None:
        with serve(b"a: b\n\n").connect() as client:
            client.log_in()
            assert client.say(command).startswith(b"-ERR unknown command")

    def test_commands_of_the_other_state(self, serve: ServeMemory) -> None:
        with serve().connect() as client:
            client.greet()
            for command in ("STAT", "LIST", "RETR 1", "DELE 1", "NOOP", "RSET", "TOP 1 1", "UIDL"):
                verb = command.split()[0].encode()
                assert client.say(command) == b"-ERR %s is not possible now: log in with USER and PASS first" % verb
            client.say("USER mrose")
            client.say("PASS secret")
            for command in ("USER jules", "PASS x", "STLS"):
                verb = command.split()[0].encode()
                assert client.say(command) == b"-ERR %s is not possible now: you are logged in already" % verb
            assert client.say("STAT") == b"+OK 0 0"


def test_commands_in_any_case(serve: ServeMemory) -> None:
    """Edge 26; that of names is accounts' (tests.pop3service.test_access)."""
    with serve(b"a: b\n\n").connect() as client:
        client.log_in()
        assert client.say("stat") == client.say("Stat") == client.say("sTaT") == b"+OK 1 8"
        assert client.ask("uidl") == client.ask("UIDL")
        assert client.say("list 1") == b"+OK 1 8"


def test_quit_before_the_login_is_no_update(serve_mailboxes: Serve, jules: FoundMailbox) -> None:
    """Edge 14."""
    with serve_mailboxes().connect() as client:
        client.greet()
        client.say("USER jules")
        assert client.say("QUIT").endswith(b"POP3 server signing off")
        assert client.closed()


class TestAuth:
    """Edge 17 (RFC 5034, 4), against passwords of the database."""

    @staticmethod
    def plain(password: str, authzid: str = "") -> bytes:
        return b64encode(f"{authzid}\0jules@maison.mrs\0{password}".encode())

    def test_what_clients_do_to_it(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        with serve_mailboxes().connect() as client:
            client.greet()
            assert client.say("AUTH PLAIN") == b"+ "
            assert client.say("*").startswith(b"-ERR")
            assert client.say("AUTH PLAIN =").startswith(b"-ERR")
            assert client.say("auth plain") == b"+ "
            assert client.say("AA!A").startswith(b"-ERR")
            assert client.say(b"AUTH PLAIN " + self.plain("x", "nobody@maison.mrs")).startswith(b"-ERR")
            assert client.say("USER jules@maison.mrs").startswith(b"+OK")
            assert client.say("PASS x").startswith(b"+OK")

    def test_a_long_response_in_pieces(self, serve_mailboxes: Serve, jules: FoundMailbox) -> None:
        with serve_mailboxes().connect() as client:
            client.greet()
            assert client.say("AUTH PLAIN") == b"+ "
            response = self.plain("y" * 4000)
            for start in range(0, len(response), 700):
                client.send(response[start : start + 700])
            assert client.say(b"").startswith(b"-ERR [AUTH]")
            assert client.say(b"AUTH PLAIN " + self.plain("x", "jules@maison.mrs")).startswith(b"+OK")
            assert client.say("STAT") == b"+OK 0 0"
