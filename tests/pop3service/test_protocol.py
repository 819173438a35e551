"""The session: lines, order, limits, and that nothing a client sends raises out of it."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.sasl import Authenticate
from pop3service import protocol
from pop3service.commands import COMMANDS, LINES_AT_ONCE
from pop3service.protocol import INPUT_HIGH, MAX_COMMANDS_BEFORE_LOGIN, MAX_LINE, MAX_REFUSALS, OUTPUT_HIGH
from pop3service.states import Finish, ReadListing, ReadPiece, Refusal
from pop3service.words import Text
from tests.pop3service.memory import PASSWORD, after_login, before_login, chunks, message

TOO_LONG = b"-ERR line too long: a command has at most 255 octets\r\n"


def test_the_core_loads_without_asyncio_sockets_and_django() -> None:
    check = "import sys, pop3service.protocol; print({'asyncio', 'socket', 'ssl', 'django'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-S", "-c", check], text=True).strip() == "set()"


class TestLines:
    def test_255_octets_with_crlf_are_allowed_and_256_are_not(self) -> None:
        dialogue = before_login()
        longest = b"USER " + b"x" * (MAX_LINE - 7) + b"\r\n"
        assert dialogue.say(longest) == b"+OK now send PASS\r\n"
        assert dialogue.say(b"x" + longest) == TOO_LONG

    @pytest.mark.parametrize("size", [1, 2, 100, 254, 255, 256, 5000])
    @pytest.mark.parametrize("length", [254, 255, 256, 300, 5000])
    def test_an_overlong_line_is_one_refusal_and_the_next_command_works(self, length: int, size: int) -> None:
        dialogue = before_login()
        octets = b"x" * length + b"\r\nUSER mrose\r\n"
        assert b"".join(map(dialogue.say, chunks(octets, size))) == TOO_LONG + b"+OK now send PASS\r\n"

    def test_a_line_without_end_takes_no_memory(self) -> None:
        dialogue = before_login()
        for _ in range(100):
            assert dialogue.say(b"x" * 10_000) == b""
        assert not dialogue.session.full
        assert dialogue.say(b"\n") == TOO_LONG

    def test_half_a_command_waits_for_its_end(self) -> None:
        dialogue = after_login()
        assert dialogue.say(b"ST") == dialogue.say(b"AT") == dialogue.say(b"\r") == b""
        assert dialogue.say(b"\nNO") == b"+OK 0 0\r\n"
        assert dialogue.say(b"OP\n") == b"+OK\r\n"

    @pytest.mark.parametrize(
        "garbage", [b"", b" ", b"\x00", b"\xff\xfe", b"\x16\x03\x01\x02\x00\x01", b" STAT", b"STAT\x00"]
    )
    def test_garbage_is_one_refusal_and_the_next_command_works(self, garbage: bytes) -> None:
        dialogue = after_login()
        assert dialogue.line(garbage).startswith(b"-ERR ")
        assert dialogue.line("STAT") == b"+OK 0 0"

    @pytest.mark.parametrize("line", [b"STAT ", b"STAT  ", b"LIST ", b"LIST  1  ", b"TOP  1   0"])
    def test_spaces_too_many_are_forgiven(self, line: bytes) -> None:
        assert after_login(message(100)).line(line).startswith(b"+OK")


class TestPipelining:
    def test_commands_behind_pass_wait_for_it_and_run_once(self) -> None:
        dialogue = before_login(message(100))
        session = dialogue.session
        dialogue.send(b"USER mrose\r\nPASS secret\r\nSTAT\r\nDELE 1\r\n")
        assert session.output() == [b"+OK now send PASS\r\n"]
        dialogue.send(b"STAT\r\nQUIT\r\n")
        assert isinstance(session.request, Authenticate)
        assert session.output() == []
        assert dialogue.hear().splitlines() == [
            b"+OK maildrop has 1 message (100 octets)",
            b"+OK 1 100",
            b"+OK message 1 deleted",
            b"+OK 0 0",
            b"+OK dewey POP3 server signing off (maildrop empty)",
        ]
        assert [type(each) for each in dialogue.maildrop.requests] == [Authenticate, ReadListing, Finish]

    def test_commands_behind_a_wrong_password_are_held_against_the_state_after_it(self) -> None:
        answers = before_login().say(b"USER mrose\r\nPASS wrong\r\nSTAT\r\n").splitlines()
        assert [answer[:10] for answer in answers] == [b"+OK now se", b"-ERR [AUTH", b"-ERR STAT "]

    def test_what_follows_quit_is_not_read(self) -> None:
        dialogue = after_login()
        assert dialogue.say(b"QUIT\r\nSTAT\r\n").count(b"\r\n") == 1
        assert dialogue.say(b"STAT\r\n") == b""


class TestPressure:
    def test_commands_wait_while_output_waits(self) -> None:
        dialogue = after_login(*[b"a: b\n\n"] * 5000)
        assert dialogue.line("LIST").endswith(b".")
        session = dialogue.session
        dialogue.send(b"LIST\r\n" * 100)
        first = b"".join(session.output())
        assert OUTPUT_HIGH <= len(first) < 2 * OUTPUT_HIGH
        rest = dialogue.hear()
        assert (first + rest).count(b"+OK") == 100

    @pytest.mark.parametrize("command", [b"LIST", b"UIDL"])
    def test_a_long_listing_is_made_in_parts_as_it_is_taken(self, command: bytes) -> None:
        count = 20 * LINES_AT_ONCE + 1
        dialogue = after_login(*[b"a: b\n\n"] * count)
        dialogue.line("DELE 2")
        dialogue.send(command + b"\r\nSTAT\r\n")
        parts = []
        while part := b"".join(dialogue.session.output()):
            assert len(part) < 2 * OUTPUT_HIGH
            parts.append(part)
            dialogue.session.advance()
        assert len(parts) > 2
        first, *rows, stat = b"".join(parts).splitlines()
        assert first.startswith(b"+OK")
        assert [row.split()[0] for row in rows[:-1]] == [b"%d" % n for n in range(1, count + 1) if n != 2]
        assert rows[-1] == b"."
        assert stat.startswith(b"+OK %d " % (count - 1))

    def test_each_part_of_a_listing_names_its_own_messages(self) -> None:
        count = 2 * LINES_AT_ONCE + 1
        unique_ids = {0: "first", LINES_AT_ONCE: "of-the-second-part", count - 1: "last"}
        dialogue = after_login(*[b"a: %s\n\n" % (b"b" * (n % 7)) for n in range(count)], unique_ids=unique_ids)
        gone = {2, LINES_AT_ONCE, LINES_AT_ONCE + 2}
        for number in gone:
            dialogue.line(f"DELE {number}")
        left = [number for number in range(1, count + 1) if number not in gone]
        ids = [unique_ids.get(number - 1, f"7.{number + 10}") for number in left]
        assert dialogue.line("UIDL").decode().splitlines()[1:-1] == [
            f"{n} {uid}" for n, uid in zip(left, ids, strict=True)
        ]
        sizes = [7 + (number - 1) % 7 for number in left]
        assert dialogue.line("LIST").decode().splitlines()[1:-1] == [
            f"{n} {z}" for n, z in zip(left, sizes, strict=True)
        ]

    def test_an_end_from_our_side_puts_nothing_into_the_middle_of_a_listing(self) -> None:
        dialogue = after_login(*[b"a: b\n\n"] * 20 * LINES_AT_ONCE)
        dialogue.line("STAT")
        dialogue.line("UIDL 1")
        dialogue.send(b"LIST\r\n")
        dialogue.session.end(Text("bye"))
        assert b"-ERR" not in dialogue.hear()
        assert dialogue.session.closed

    def test_full_says_when_to_stop_reading(self) -> None:
        dialogue = before_login()
        dialogue.send(b"USER a\r\nPASS b\r\n")
        assert not dialogue.session.full
        dialogue.send(b"NOOP\r\n" * INPUT_HIGH)
        assert dialogue.session.full

    def test_a_large_message_is_asked_for_piece_by_piece(self) -> None:
        dialogue = after_login(message(1000), piece_octets=100)
        dialogue.line("STAT")
        session = dialogue.session
        dialogue.send(b"RETR 1\r\n")
        session.answer(dialogue.maildrop.listing)
        for piece in range(10):
            assert session.request == ReadPiece(11, piece, 1000)
            assert session.output() == [] if piece == 0 else len(b"".join(session.output())) >= 100
            dialogue.carry_out()
        assert session.request is None

    def test_what_is_at_hand_is_sent_like_what_is_asked_for(self) -> None:
        asked = after_login(message(1000), message(300))
        at_hand = after_login(message(1000), message(300))
        at_hand.maildrop.ahead = lambda index: at_hand.maildrop.encoded[index].wire
        commands = b"RETR 1\r\nRETR 2\r\nSTAT\r\nRETR 1\r\n"
        assert at_hand.say(commands) == asked.say(commands)
        assert [type(each) for each in at_hand.maildrop.requests] == [Authenticate, ReadListing]
        for dialogue in (asked, at_hand):
            dialogue.say(b"QUIT\r\n")
            assert dialogue.maildrop.finished == Finish([], [11, 12])

    def test_what_is_at_hand_but_not_whole_is_asked_for(self) -> None:
        dialogue = after_login(message(1000), ahead=lambda index: b"too short\r\n")
        status, _, body = dialogue.say(b"RETR 1\r\n").partition(b"\r\n")
        assert (status, body) == (b"+OK 1000 octets", dialogue.maildrop.encoded[0].wire + b".\r\n")


class TestLimits:
    def test_twenty_bad_commands_in_a_row_end_the_session(self) -> None:
        dialogue = after_login()
        for _ in range(MAX_REFUSALS - 1):
            assert dialogue.line("X").startswith(b"-ERR unknown")
        assert dialogue.line("X") == b"-ERR too many bad commands, connect again"
        assert dialogue.session.closed

    def test_a_good_command_between_is_a_new_count(self) -> None:
        dialogue = after_login()
        for _ in range(5):
            for _ in range(MAX_REFUSALS - 1):
                dialogue.line("X")
            assert dialogue.line("NOOP") == b"+OK"

    def test_commands_before_the_login_are_counted(self) -> None:
        dialogue = before_login()
        for _ in range(MAX_COMMANDS_BEFORE_LOGIN - 1):
            assert dialogue.line("CAPA").startswith(b"+OK")
        assert b"too many commands" in dialogue.line("CAPA")
        assert dialogue.session.closed

    def test_a_long_session_is_not_limited(self) -> None:
        dialogue = after_login()
        assert dialogue.say(b"NOOP\r\n" * 1000) == b"+OK\r\n" * 1000


class TestFailure:
    """Promise 8: our errors are [SYS/TEMP] without detail."""

    @pytest.mark.parametrize("command", ["LIST", "UIDL", "DELE 1"])
    def test_no_listing(self, command: str) -> None:
        dialogue = after_login(message(100), broken=(ReadListing,))
        assert dialogue.line(command) == b"-ERR [SYS/TEMP] something failed on our side, try again later"
        dialogue.maildrop.broken = ()
        assert dialogue.line(command).startswith(b"+OK")

    def test_no_login(self) -> None:
        dialogue = before_login()
        dialogue.maildrop.broken = (Authenticate,)
        assert dialogue.say(b"USER mrose\r\nPASS secret\r\n").splitlines()[1].startswith(b"-ERR [SYS/TEMP]")
        dialogue.maildrop.broken = ()
        dialogue.log_in()

    def test_the_first_piece_fails_before_the_reply_begins(self) -> None:
        dialogue = after_login(message(1000), broken=(ReadPiece,))
        assert dialogue.line("RETR 1").startswith(b"-ERR [SYS/TEMP]")
        assert dialogue.line("NOOP") == b"+OK"

    @pytest.mark.parametrize("piece", [None, b"", b"x" * 5000])
    def test_a_later_piece_fails_and_the_reply_has_no_end(self, piece: bytes | None) -> None:
        dialogue = after_login(message(1000), piece_octets=100)
        session = dialogue.session
        dialogue.send(b"RETR 1\r\nNOOP\r\n")
        for _ in range(2):
            dialogue.carry_out()
        session.output()
        session.fail() if piece is None else session.answer(piece)
        assert session.closed
        assert session.output() == []

    def test_an_answer_that_comes_after_the_end_is_nothing(self) -> None:
        dialogue = before_login()
        session = dialogue.session
        dialogue.send(b"USER mrose\r\nPASS secret\r\n")
        session.output()
        session.end(Text("the server is shutting down"))
        assert session.output() == [b"-ERR [SYS/TEMP] the server is shutting down\r\n"]
        session.answer(Refusal(Text("late")))
        assert session.output() == []
        assert session.closed

    def test_an_end_in_the_middle_of_a_message_says_nothing(self) -> None:
        dialogue = after_login(message(1000), piece_octets=100)
        session = dialogue.session
        dialogue.send(b"RETR 1\r\n")
        for _ in range(2):
            dialogue.carry_out()
        session.output()
        session.end(Text("the server is shutting down"))
        assert session.output() == []
        assert session.closed

    def test_an_end_waits_for_an_update_that_has_begun(self) -> None:
        dialogue = after_login()
        dialogue.send(b"QUIT\r\n")
        dialogue.session.end(Text("the server is shutting down"))
        assert not dialogue.session.closed
        assert dialogue.hear().startswith(b"+OK")


COMMAND = st.one_of(
    st.sampled_from(sorted(COMMANDS)),
    st.sampled_from(
        [b"PASS " + PASSWORD.encode(), b"USER mrose", b"LIST 1", b"RETR 2", b"DELE 1", b"TOP 1 1", b"UIDL 2"]
    ),
    st.binary(max_size=300),
)


class TestAnything:
    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.binary(max_size=600), max_size=10), st.booleans())
    def test_no_octets_raise(self, received: list[bytes], logged_in: bool) -> None:
        dialogue = after_login(message(100)) if logged_in else before_login()
        for octets in received:
            dialogue.say(octets)
        assert dialogue.session.request is None

    @settings(max_examples=150, deadline=None)
    @given(st.lists(COMMAND, max_size=30), st.integers(1, 50))
    def test_every_line_has_one_answer_and_every_status_line_is_short(self, commands: list[bytes], size: int) -> None:
        dialogue = after_login(message(100), b".\n\n.\n", b"")
        said = b"".join(command.replace(b"\n", b"") + b"\r\n" for command in commands)
        whole = after_login(message(100), b".\n\n.\n", b"").say(said)
        assert b"".join(dialogue.say(chunk) for chunk in chunks(said, size)) == whole
        status = [line for line in whole.split(b"\r\n") if line.startswith((b"+OK", b"-ERR"))]
        assert len(status) == len(commands) or dialogue.session.closed
        assert all(len(line) + 2 <= 512 for line in status)  # RFC 2449, 4


def test_every_limit_is_named_once() -> None:
    assert (protocol.MAX_LINE, protocol.MAX_REFUSALS) == (255, 20)
