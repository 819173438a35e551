"""RFC 1939: POP3 itself. The first line of a test says what is required and where."""

import re
from collections.abc import Callable

import pytest

from tests.conformance.client import Client
from tests.conformance.conftest import Fetch
from tests.conformance.target import Target

Connect = Callable[..., Client]

PLAIN = b"From: a@example.org\r\nSubject: plain\r\n\r\nfirst\r\nsecond\r\n\r\nfourth\r\n"
SMALL = [b"Subject: %d\r\n\r\n%s\r\n" % (number, b"x" * number) for number in (1, 20, 300)]
NUL = b"Subject: nul\r\n\r\nbefore\0after\r\n\0\r\n"
EIGHT_BIT = b"Subject: 8-bit\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
LONG = b"Subject: long\r\n\r\n" + b"x" * 100_000 + b"\r\n" + b"." * 5000 + b"\r\n"
DOTS = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n. \r\nx.\r\n...\r\n"


def sizes(client: Client) -> dict[int, int]:
    return {int(number): int(octets) for number, octets in map(bytes.split, client.rows("LIST"))}


def unique_ids(client: Client) -> dict[int, bytes]:
    rows = [row.split(b" ") for row in client.rows("UIDL")]
    assert all(len(row) == 2 for row in rows), rows
    return {int(number): unique_id for number, unique_id in rows}


class TestBasicOperation:
    """RFC 1939, 3."""

    def test_the_greeting(self, connect: Connect) -> None:
        """3, 4: The server begins with one positive line."""
        assert connect().greeting.startswith(b"+OK")

    def test_keywords_in_any_case(self, fetch: Fetch) -> None:
        """3: Keywords are the same in capitals and small letters."""
        client = fetch(PLAIN)
        assert client.ok("stat") == client.ok("STAT") == client.ok("sTaT")
        assert client.rows("capa") == client.rows("CAPA")

    def test_unknown_commands(self, connect: Connect) -> None:
        """3: What is no command is answered -ERR, and the next command works."""
        client = connect()
        for command in ("FROB", "FROB 1", "RETRIEVE 1", "\u00e9", "LISTEN", "XTND XMIT"):
            client.refused(command)
            client.rows("CAPA")

    def test_an_empty_line(self, connect: Connect) -> None:
        """3: An empty line is no command; it ends nothing."""
        client = connect()
        client.refused("")
        client.rows("CAPA")

    def test_commands_before_the_login(self, connect: Connect) -> None:
        """3: A command that is not possible before the login is answered -ERR."""
        for command in ("STAT", "LIST", "RETR 1", "DELE 1", "NOOP", "RSET", "TOP 1 0", "UIDL"):
            client = connect()
            client.refused(command)
            client.rows("CAPA")

    def test_commands_after_the_login(self, fetch: Fetch) -> None:
        """3: Nor are USER and PASS after it."""
        client = fetch()
        client.refused("USER jules")
        client.refused("PASS secret")
        client.ok("NOOP")

    def test_dots(self, fetch: Fetch) -> None:
        """3: A line of a message that begins with a dot has one more, in TOP as in RETR."""
        client = fetch(DOTS)
        lines = client.ask("RETR 1").split(b"\r\n")
        assert client.ask("TOP 1 100").split(b"\r\n") == lines
        assert lines[-8:] == [b"", b"..", b"...", b"..x", b".. ", b"x.", b"....", b""]

    def test_a_dot_first(self, target: Target, fetch: Fetch) -> None:
        """3: A dot that is the first octet of a message is doubled too."""
        if not target.exact:
            pytest.skip("loaded by LMTP, a message begins with another header")
        assert fetch(b".First: x\r\n\r\ntext\r\n").ask("RETR 1").startswith(b"..First: x\r\n")

    def test_a_dot_behind_a_bare_line_feed(self, target: Target, fetch: Fetch) -> None:
        """3: A bare LF is no line end that a client could take for the end of a message."""
        client = fetch(b"Subject: lf\n\none\n.\ntwo\n..\n")
        assert re.split(rb"\r?\n", client.ask("RETR 1"))[-5:] == [b"one", b"..", b"two", b"...", b""]

    def test_line_ends(self, target: Target, fetch: Fetch) -> None:
        """3, 11: Lines of a message end in CRLF, however it came in."""
        client = fetch(b"Subject: lf\n\none\ntwo\n")
        assert target.holds(client.message(1), b"Subject: lf\r\n\r\none\r\ntwo\r\n")

    def test_no_line_end_at_the_end(self, target: Target, fetch: Fetch) -> None:
        """3: A message without a line end at its end gets one, and no empty line."""
        client = fetch(b"Subject: x\r\n\r\nlast line")
        assert target.holds(client.message(1), b"Subject: x\r\n\r\nlast line\r\n")

    def test_8_bit(self, target: Target, fetch: Fetch) -> None:
        """3: Octets above 127 are sent as they are."""
        assert target.holds(fetch(EIGHT_BIT).message(1), EIGHT_BIT)

    def test_nul(self, target: Target, fetch: Fetch) -> None:
        """3: So are those of no bits, NUL."""
        assert target.holds(fetch(NUL).message(1), NUL)

    def test_long_lines(self, target: Target, fetch: Fetch) -> None:
        """3: Lines of a message are sent whole, however long."""
        assert target.holds(fetch(LONG).message(1), LONG)


class TestAuthorization:
    """RFC 1939, 4."""

    def test_quit(self, connect: Connect) -> None:
        """4: QUIT before the login is answered and ends the connection."""
        client = connect()
        client.ok("QUIT")
        assert client.closed()

    def test_the_lock(self, fetch: Fetch, connect: Connect) -> None:
        """4: A maildrop is open in one session at a time."""
        fetch(PLAIN)
        second = connect()
        second.say(b"USER " + second.target.user.encode())
        second.refused(b"PASS " + second.target.password.encode())

    def test_the_lock_ends(self, fetch: Fetch, connect: Connect) -> None:
        """4: The lock ends with the session, with QUIT or without."""
        fetch(PLAIN).quit()
        connect().log_in().close()
        assert connect().log_in().ok("STAT").startswith(b"1 ")

    def test_numbers(self, fetch: Fetch) -> None:
        """4: Messages are numbered from 1, in the order of their arrival."""
        client = fetch(*SMALL)
        assert list(sizes(client)) == [1, 2, 3]
        subjects = [re.search(rb"Subject: (\d+)", client.message(number)) for number in (1, 2, 3)]
        assert [found and found[1] for found in subjects] == [b"1", b"20", b"300"]

    def test_a_wrong_password(self, connect: Connect) -> None:
        """4, 7: After a wrong password the client may try again."""
        client = connect()
        client.ok(b"USER " + client.target.user.encode())
        client.refused("PASS wrong")
        client.log_in()

    def test_user_says_nothing_of_accounts(self, connect: Connect) -> None:
        """13: USER is answered the same whether the name is known or not."""
        client = connect()
        known = client.say(b"USER " + client.target.user.encode())
        assert connect().say("USER nobody-of-this-name@example.org") == known


class TestTransaction:
    """RFC 1939, 5."""

    def test_stat(self, fetch: Fetch) -> None:
        """5: STAT is +OK, the number of messages, their octets, with one blank between."""
        assert re.fullmatch(rb"3 [1-9]\d*( .*)?", fetch(*SMALL).ok("STAT"))

    def test_an_empty_maildrop(self, fetch: Fetch) -> None:
        """5: A maildrop without messages has listings without lines."""
        client = fetch()
        assert client.ok("STAT").split()[:2] == [b"0", b"0"]
        assert (client.rows("LIST"), client.rows("UIDL")) == ([], [])
        client.refused("RETR 1")

    def test_list(self, fetch: Fetch) -> None:
        """5: LIST has a line for each message: number, blank, octets."""
        rows = fetch(*SMALL).rows("LIST")
        assert [re.fullmatch(rb"(\d+) (\d+)", row) is not None for row in rows] == [True] * 3

    def test_list_of_one(self, fetch: Fetch) -> None:
        """5: LIST with a number answers that line."""
        client = fetch(*SMALL)
        for number, octets in sizes(client).items():
            assert client.ok(f"LIST {number}") == b"%d %d" % (number, octets)

    def test_sizes(self, fetch: Fetch) -> None:
        """5, 11: STAT, LIST and what RETR sends agree to the octet, a line end counted as two."""
        client = fetch(PLAIN, DOTS, b"Subject: lf\n\na\nb\n", b"Subject: x\n\nno end", LONG, NUL)
        sent = {number: len(client.message(number)) for number in range(1, 7)}
        assert sizes(client) == sent
        assert client.ok("STAT").split()[:2] == [b"6", b"%d" % sum(sent.values())]

    def test_retr(self, target: Target, fetch: Fetch) -> None:
        """5: RETR sends the message, again and again."""
        client = fetch(PLAIN)
        assert client.message(1) == client.message(1)
        assert target.holds(client.message(1), PLAIN)

    def test_dele(self, fetch: Fetch) -> None:
        """5: A message that is marked as deleted is in no listing and in no count."""
        client = fetch(*SMALL)
        left = sizes(client)
        del left[2]
        client.ok("DELE 2")
        assert sizes(client) == left
        assert list(unique_ids(client)) == [1, 3]
        assert client.ok("STAT").split()[:2] == [b"2", b"%d" % sum(left.values())]

    def test_deleted_messages(self, fetch: Fetch) -> None:
        """5: No command may name a message that is marked as deleted."""
        client = fetch(*SMALL)
        client.ok("DELE 2")
        for command in ("LIST 2", "RETR 2", "DELE 2", "TOP 2 0", "UIDL 2"):
            client.refused(command)

    def test_numbers_stay(self, fetch: Fetch) -> None:
        """5: DELE moves no other message to another number."""
        client = fetch(*SMALL)
        third = client.message(3)
        client.ok("DELE 1")
        assert client.message(3) == third

    def test_numbers_that_are_none(self, fetch: Fetch) -> None:
        """5: What is no number of a message is answered -ERR, and nothing happens."""
        client = fetch(*SMALL)
        for number in ("0", "-1", "4", "x", "1x", "1.5", "0x1", "99999999999999999999", "1:2"):
            for command in ("LIST", "RETR", "DELE", "UIDL"):
                client.refused(f"{command} {number}")
            client.refused(f"TOP {number} 0")
            assert client.ok("STAT").startswith(b"3 ")

    def test_arguments_that_are_missing(self, fetch: Fetch) -> None:
        """5: A command without its argument is answered -ERR."""
        client = fetch(PLAIN)
        for command in ("RETR", "DELE", "TOP", "TOP 1"):
            client.refused(command)
        client.ok("NOOP")

    def test_noop(self, fetch: Fetch) -> None:
        """5: NOOP does nothing."""
        client = fetch(PLAIN)
        before = client.ok("STAT")
        client.ok("NOOP")
        assert client.ok("STAT") == before

    def test_rset(self, fetch: Fetch) -> None:
        """5: RSET takes every mark back."""
        client = fetch(*SMALL)
        before = sizes(client)
        client.ok("DELE 1")
        client.ok("DELE 3")
        client.ok("RSET")
        assert sizes(client) == before


class TestUpdate:
    """RFC 1939, 6."""

    def test_quit_deletes(self, fetch: Fetch, connect: Connect) -> None:
        """6: QUIT deletes what is marked and nothing else, and then hangs up."""
        client = fetch(*SMALL)
        left = unique_ids(client)
        client.ok("DELE 1")
        client.ok("DELE 3")
        client.ok("QUIT")
        assert client.closed()
        assert list(unique_ids(connect().log_in()).values()) == [left[2]]

    def test_what_was_retrieved_stays(self, fetch: Fetch, connect: Connect) -> None:
        """6, 8: A message that was retrieved and not deleted stays."""
        client = fetch(PLAIN)
        client.message(1)
        client.quit()
        assert connect().log_in().ok("STAT").startswith(b"1 ")

    def test_a_drop_deletes_nothing(self, fetch: Fetch, connect: Connect) -> None:
        """6: A session that ends without QUIT deletes nothing."""
        client = fetch(*SMALL)
        client.ok("DELE 1")
        client.close()
        assert connect().log_in().ok("STAT").startswith(b"3 ")


class TestOptionalCommands:
    """RFC 1939, 7."""

    BODY = [b"first", b"second", b"", b"fourth"]

    def test_top(self, fetch: Fetch) -> None:
        """7: TOP sends the header, the empty line, and so many lines of the body."""
        client = fetch(PLAIN)
        header = client.message(1).partition(b"\r\n\r\n")[0].split(b"\r\n")
        for count in range(5):
            assert client.rows(f"TOP 1 {count}") == [*header, b"", *self.BODY[:count]]

    def test_top_of_more_than_there_is(self, fetch: Fetch) -> None:
        """7: TOP sends the whole message where it has fewer lines."""
        client = fetch(PLAIN)
        for count in (5, 1000, 4294967295):
            assert client.ask(f"TOP 1 {count}") == client.ask("RETR 1")

    def test_top_of_no_number(self, fetch: Fetch) -> None:
        """7: The number of lines is a number and not negative."""
        client = fetch(PLAIN)
        for count in ("-1", "x", "1.5"):
            client.refused(f"TOP 1 {count}")
        client.ok("NOOP")

    def test_top_of_a_header_alone(self, fetch: Fetch) -> None:
        """7: The empty line behind the header is there where the message has none."""
        client = fetch(b"Subject: alone\r\n", b"Subject: alone", b"Subject: alone\r\n\r\n")
        for number in (1, 2, 3):
            assert client.ask(f"TOP {number} 0").endswith(b"Subject: alone\r\n\r\n")
            assert client.message(number).endswith(b"Subject: alone\r\n\r\n")

    def test_unique_ids(self, fetch: Fetch) -> None:
        """7: A unique-id is 1 to 70 characters from 0x21 to 0x7E; UIDL with a number answers that line."""
        client = fetch(*SMALL)
        for number, unique_id in unique_ids(client).items():
            assert re.fullmatch(rb"[\x21-\x7e]{1,70}", unique_id)
            assert client.ok(f"UIDL {number}") == b"%d %s" % (number, unique_id)

    def test_unique_ids_of_copies(self, fetch: Fetch) -> None:
        """7: Two copies of one message have two unique-ids."""
        assert len(set(unique_ids(fetch(PLAIN, PLAIN, PLAIN)).values())) == 3

    def test_unique_ids_stay(self, fetch: Fetch, connect: Connect) -> None:
        """7: A message has the same unique-id in every session, whatever is deleted beside it."""
        client = fetch(*SMALL)
        before = unique_ids(client)
        client.ok("DELE 1")
        client.quit()
        assert list(unique_ids(connect().log_in()).values()) == [before[2], before[3]]

    def test_unique_ids_are_used_once(self, target: Target, fetch: Fetch, connect: Connect) -> None:
        """7: The unique-id of a message that was deleted is not given to another one."""
        client = fetch(PLAIN)
        before = set(unique_ids(client).values())
        client.ok("DELE 1")
        client.quit()
        target.load(PLAIN)
        assert not before & set(unique_ids(connect().log_in()).values())

    def test_passwords_with_blanks(self, target: Target, connect: Connect) -> None:
        """7: Blanks are part of a password: PASS has one argument."""
        if "  " not in target.password:
            pytest.skip("the password that was given has no two blanks in it")
        connect().log_in()
        client = connect()
        client.ok(b"USER " + target.user.encode())
        client.refused(b"PASS " + target.password.replace("  ", " ").encode())


class TestArrival:
    def test_packets(self, fetch: Fetch) -> None:
        """3: Commands may come in pieces of any size."""
        client = fetch(PLAIN)
        said = b"STAT\r\nNOOP\r\nLIST 1\r\n"
        for size in (1, 7):
            for start in range(0, len(said), size):
                client.send(said[start : start + size])
            assert [client.status()[:3] for _ in range(3)] == [b"+OK"] * 3

    def test_line_feeds(self, connect: Connect) -> None:
        """3: A command that ends in LF alone is understood, as clients of old send it."""
        client = connect()
        client.send(b"CAPA\n")
        assert client.status().startswith(b"+OK")
        assert client.lines()
