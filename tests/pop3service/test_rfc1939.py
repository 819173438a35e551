"""RFC 1939, section by section. What the transcripts show is not shown again."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstore.wire import encode
from pop3service.states import Code, Finish
from tests.pop3service import transcript
from tests.pop3service.memory import Dialogue, MemoryMaildrop, after_login, before_login, chunks, cut, message


@pytest.mark.parametrize("path", transcript.ALL, ids=lambda path: path.stem)
class TestTranscripts:
    def test_each_answer_follows_its_command(self, path: Path) -> None:
        wanted = transcript.read(path)
        dialogue = Dialogue(MemoryMaildrop(wanted.messages))
        assert dialogue.greeting == wanted.turns[0][1]
        for said, answer in wanted.turns[1:]:
            assert dialogue.say(said) == answer
        assert dialogue.session.closed

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
    def test_the_answers_do_not_depend_on_how_the_octets_arrive(self, path: Path, size: int) -> None:
        wanted = transcript.read(path)
        dialogue = Dialogue(MemoryMaildrop(wanted.messages))
        answered = dialogue.greeting + b"".join(dialogue.say(chunk) for chunk in chunks(wanted.said, size))
        assert answered == wanted.answered

    @settings(max_examples=50, deadline=None)
    @given(sizes=st.lists(st.integers(1, 40), min_size=1))
    def test_nor_on_pieces_of_any_size(self, path: Path, sizes: list[int]) -> None:
        wanted = transcript.read(path)
        dialogue = Dialogue(MemoryMaildrop(wanted.messages))
        assert dialogue.greeting + b"".join(map(dialogue.say, cut(wanted.said, sizes))) == wanted.answered

    def test_lines_may_end_in_lf_alone(self, path: Path) -> None:
        wanted = transcript.read(path)
        dialogue = Dialogue(MemoryMaildrop(wanted.messages))
        assert dialogue.greeting + dialogue.say(wanted.said.replace(b"\r\n", b"\n")) == wanted.answered


class TestSection3BasicOperation:
    def test_the_greeting_is_one_positive_line_without_a_timestamp_of_apop(self) -> None:
        greeting = before_login().greeting
        assert greeting.startswith(b"+OK ")
        assert greeting.count(b"\r\n") == 1
        assert b"<" not in greeting

    def test_keywords_in_any_case(self) -> None:
        dialogue = after_login(b"a: b\n\nc\n")
        assert dialogue.line("sTaT") == dialogue.line("STAT") == b"+OK 1 11"

    @pytest.mark.parametrize(
        "raw",
        [
            b".first: octet is a dot\n\n",
            b"a: b\n\n.\n..\n...\n.text\n",
            b"a: b\r\n\r\nbare lf\n.dot\rbare cr\r.dot",
            b"",
            b"\n",
            b".",
            b"a: b",
            b"a: b\n\nends in cr\r",
            b"a: b\n\n" + bytes(range(256)),
            b"a: b\n\n" + b"x" * 100_000 + b"\n.",
        ],
        ids=lambda raw: repr(raw[:20]),
    )
    @pytest.mark.parametrize("piece_octets", [1, 2, 3, 5, 1000])
    def test_multi_line_replies_are_stuffed_and_end_once(self, raw: bytes, piece_octets: int) -> None:
        if len(raw) > 1000 > piece_octets:
            piece_octets *= 999
        dialogue = after_login(raw, piece_octets=piece_octets)
        encoded = encode(raw)
        for command in ("RETR 1", "TOP 1 1000"):
            status, _, body = dialogue.say(command.encode() + b"\r\n").partition(b"\r\n")
            assert status.startswith(b"+OK")
            assert body == encoded.wire + b".\r\n"
            assert b"\r\n.\r\n" not in b"\r\n" + encoded.wire
        assert dialogue.line("LIST 1") == b"+OK 1 %d" % encoded.octets

    def test_the_terminator_comes_in_the_same_output_as_the_octets_before_it(self) -> None:
        dialogue = after_login(message(200), piece_octets=64)
        dialogue.send(b"LIST\r\n")
        session, pieces = dialogue.session, []
        session.answer(dialogue.maildrop.listing)
        session.output()
        dialogue.send(b"RETR 1\r\n")
        while session.request is not None:
            dialogue.carry_out()
            pieces.append(b"".join(session.output()))
        assert len(pieces) == 4
        assert pieces[-1].endswith(b"x\r\n.\r\n")


class TestSection4Authorization:
    def test_every_name_is_welcome_to_send_a_password(self) -> None:
        dialogue = before_login()
        assert dialogue.line("USER nobody") == dialogue.line("USER mrose") == dialogue.line(b"USER \xff\xfe\x00")

    @pytest.mark.parametrize("command", ["LIST", "RETR 1", "DELE 1", "NOOP", "RSET", "TOP 1 1", "UIDL", "STAT"])
    def test_nothing_of_the_maildrop_is_possible_before_the_login(self, command: str) -> None:
        dialogue = before_login(message(100))
        assert dialogue.line(command).startswith(b"-ERR " + command[:4].strip().encode())
        assert not dialogue.maildrop.requests

    def test_quit_here_does_not_enter_update(self) -> None:
        dialogue = before_login()
        assert dialogue.line("QUIT") == b"+OK dewey POP3 server signing off"
        assert dialogue.session.closed
        assert dialogue.maildrop.requests == []


class TestSection5Transaction:
    def test_numbers_never_move(self) -> None:
        dialogue = after_login(message(100), message(200), message(300))
        dialogue.line("DELE 2")
        assert dialogue.line("LIST").split(b"\r\n")[1:] == [b"1 100", b"3 300", b"."]
        assert dialogue.line("UIDL").split(b"\r\n")[1:] == [b"1 7.11", b"3 7.13", b"."]
        assert dialogue.line("LIST 3") == b"+OK 3 300"
        dialogue.line("RSET")
        assert dialogue.line("LIST").split(b"\r\n")[1:] == [b"1 100", b"2 200", b"3 300", b"."]

    @pytest.mark.parametrize("command", ["LIST 2", "RETR 2", "DELE 2", "TOP 2 1", "UIDL 2"])
    def test_a_deleted_message_cannot_be_named(self, command: str) -> None:
        dialogue = after_login(message(100), message(200))
        dialogue.line("DELE 2")
        assert dialogue.line(command) == b"-ERR message 2 already deleted: RSET brings it back"

    def test_stat_is_the_sum_of_list_and_the_size_of_retr(self) -> None:
        messages = [message(100), b".a: b\n\n.\n..\n", b"x\r"]
        dialogue = after_login(*messages)
        sizes = [int(line.split()[1]) for line in dialogue.line("LIST").split(b"\r\n")[1:-1]]
        assert dialogue.line("STAT") == b"+OK %d %d" % (len(sizes), sum(sizes))
        for number, size in enumerate(sizes, 1):
            body = dialogue.say(b"RETR %d\r\n" % number).partition(b"\r\n")[2].removesuffix(b".\r\n")
            assert len((b"\r\n" + body).replace(b"\r\n.", b"\r\n")) - 2 == size

    def test_an_empty_maildrop(self) -> None:
        dialogue = after_login()
        assert dialogue.line("STAT") == b"+OK 0 0"
        assert dialogue.line("LIST") == b"+OK 0 messages (0 octets)\r\n."
        assert dialogue.line("UIDL") == b"+OK\r\n."
        assert dialogue.line("RETR 1") == b"-ERR no such message, only 0 messages in maildrop"
        assert len(dialogue.maildrop.requests) == 1  # the login: there is no listing to ask for


class TestSection6Update:
    def test_only_quit_deletes_and_says_so_afterwards(self) -> None:
        dialogue = after_login(message(100), message(200), message(300))
        dialogue.say(b"RETR 3\r\nDELE 1\r\nDELE 3\r\n")
        dialogue.send(b"QUIT\r\n")
        assert dialogue.session.output() == []
        assert dialogue.session.request == Finish(deleted=[11, 13], retrieved=[13])
        assert dialogue.hear() == b"+OK dewey POP3 server signing off (1 message left)\r\n"

    def test_a_failure_is_said_and_the_session_ends(self) -> None:
        dialogue = after_login(message(100), broken=(Finish,))
        dialogue.line("DELE 1")
        assert dialogue.line("QUIT").startswith(b"-ERR [SYS/TEMP]")
        assert dialogue.session.closed

    def test_reset_takes_the_marks_back(self) -> None:
        dialogue = after_login(message(100))
        dialogue.say(b"DELE 1\r\nRSET\r\nQUIT\r\n")
        assert dialogue.maildrop.finished == Finish(deleted=[], retrieved=[])


class TestSection7OptionalCommands:
    RAW = b"Subject: lines\n\n1\n.2\n3\n\n5\n"

    @pytest.mark.parametrize("piece_octets", [1, 3, 1000])
    @pytest.mark.parametrize(("lines", "body"), [(0, []), (1, ["1"]), (2, ["1", "..2"]), (4, ["1", "..2", "3", ""])])
    def test_top_counts_lines_of_the_body_alone(self, lines: int, body: list[str], piece_octets: int) -> None:
        dialogue = after_login(self.RAW, piece_octets=piece_octets)
        wanted = ["+OK", "Subject: lines", "", *body, "."]
        assert dialogue.line(f"TOP 1 {lines}") == "\r\n".join(wanted).encode()

    @pytest.mark.parametrize("lines", ["5", "6", "9" * 200])
    def test_top_sends_all_where_more_is_asked_than_there_is(self, lines: str) -> None:
        dialogue = after_login(self.RAW)
        assert dialogue.line(f"TOP 1 {lines}").partition(b"\r\n")[2] == encode(self.RAW).wire + b"."

    def test_top_of_a_header_alone_has_the_empty_line(self) -> None:
        assert after_login(b"a: b").line("TOP 1 0") == b"+OK\r\na: b\r\n\r\n."

    def test_top_reads_no_more_pieces_than_it_needs(self) -> None:
        dialogue = after_login(b"a: b\n\n" + b"line\n" * 1000, piece_octets=100)
        dialogue.line("TOP 1 3")
        assert len(dialogue.maildrop.requests) == 3  # login, listing, one piece

    def test_top_is_no_retrieval(self) -> None:
        dialogue = after_login(self.RAW)
        dialogue.say(b"TOP 1 100\r\nQUIT\r\n")
        assert dialogue.maildrop.finished == Finish(deleted=[], retrieved=[])

    @pytest.mark.parametrize("refused", [b"USER", b"USER  ", b"USER caf\xe9"])
    def test_pass_follows_a_user_that_was_welcome(self, refused: bytes) -> None:
        """An older name is not meant any more."""
        dialogue = before_login()
        dialogue.line("UTF8")
        dialogue.line("USER mrose")
        assert dialogue.line(refused).startswith(b"-ERR ")
        assert dialogue.line("PASS secret") == b"-ERR send USER before PASS"

    def test_uidl_shows_what_was_brought_from_another_server(self) -> None:
        dialogue = after_login(b"a: b\n\n", b"a: b\n\n", unique_ids={0: "GmailId17"})
        assert dialogue.line("UIDL") == b"+OK\r\n1 GmailId17\r\n2 7.12\r\n."
        assert dialogue.line("UIDL 1") == b"+OK 1 GmailId17"
        dialogue.line("DELE 1")
        assert dialogue.line("UIDL") == b"+OK\r\n2 7.12\r\n."

    @pytest.mark.parametrize(
        ("line", "secret"),
        [
            (b"PASS a b", "a b"),
            (b"PASS  a", " a"),
            (b"PASS a ", "a "),
            (b"PASS   a  b  ", "  a  b  "),
            (b"PASS ", ""),
            (b"pass \ta", "\ta"),
            ("PASS motdepassé".encode(), "motdepassé"),
            ("PASS motdepassé".encode("latin-1"), "motdepassé"),
            (b"PASS a\x00b", "a\x00b"),
            (b"PASS a\rb", "a\rb"),
        ],
    )
    def test_a_password_may_hold_any_octets(self, line: bytes, secret: str) -> None:
        dialogue = before_login()
        dialogue.line("USER mrose")
        assert dialogue.line(line).startswith(b"-ERR [AUTH]")
        assert dialogue.maildrop.passwords == [("mrose", secret)]

    def test_a_wrong_password_is_followed_by_another_try(self) -> None:
        dialogue = before_login()
        for _ in range(4):
            assert dialogue.say(b"USER mrose\r\nPASS wrong\r\n").splitlines()[1].startswith(b"-ERR [AUTH]")
        dialogue.log_in()

    def test_the_fifth_wrong_password_ends_the_session(self) -> None:
        dialogue = before_login()
        for _ in range(5):
            dialogue.say(b"USER mrose\r\nPASS wrong\r\n")
        assert dialogue.session.closed
        assert Code.AUTH in str(dialogue.maildrop.carry_out(dialogue.maildrop.requests[0]).code)
