"""The table of commands, and CAPA, which is made from it (RFC 2449; RFC 2595; RFC 3206)."""

import pytest

from pop3service.commands import COMMANDS
from pop3service.logins import MAX_LOGIN_FAILURES, login_failed
from pop3service.states import Authorization, Channel, Code, Refusal, ShowAsStored, StartTls, Transaction
from pop3service.words import Text
from tests.pop3service.memory import Dialogue, after_login, before_login

ALWAYS = [
    "UTF8 USER",
    "TOP",
    "UIDL",
    "LANG",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "PIPELINING",
    "EXPIRE NEVER",
    "IMPLEMENTATION Mailplatform",
]


def capabilities(dialogue: Dialogue) -> list[str]:
    status, *lines, end = dialogue.line("CAPA").decode().split("\r\n")
    assert status.startswith("+OK")
    assert end == "."
    return lines


class TestTable:
    def test_it_has_the_commands_of_rfc_1939_but_apop_and_those_of_later_rfcs(self) -> None:
        assert set(COMMANDS) == set(
            b"USER PASS STAT LIST RETR DELE NOOP RSET QUIT TOP UIDL CAPA STLS AUTH UTF8 LANG".split()
        )

    def test_each_row_is_called_like_its_verb(self) -> None:
        for verb, row in COMMANDS.items():
            assert row.usage.split()[0].encode() == verb

    @pytest.mark.parametrize("verb", [verb.decode() for verb, row in COMMANDS.items() if Transaction not in row.states])
    def test_commands_of_authorization_are_refused_after_the_login(self, verb: str) -> None:
        assert after_login().line(f"{verb} x") == f"-ERR {verb} is not possible now: you are logged in already".encode()

    @pytest.mark.parametrize("verb", [verb.decode() for verb, row in COMMANDS.items() if not row.whole_line])
    def test_more_arguments_than_a_command_has_are_refused(self, verb: str) -> None:
        dialogue = before_login() if verb in ("STLS", "AUTH", "UTF8") else after_login()
        assert dialogue.line(f"{verb} 1 2 3").startswith(b"-ERR too many arguments: " + verb.encode())
        assert dialogue.line("CAPA").startswith(b"+OK")

    @pytest.mark.parametrize("line", ["RETR", "DELE", "TOP", "TOP 1"])
    def test_fewer_are_too(self, line: str) -> None:
        assert after_login().line(line).startswith(b"-ERR too few arguments: " + line[:4].strip().encode())


class TestCapabilities:
    @pytest.mark.parametrize(
        ("channel", "before", "after"),
        [
            ({}, ["USER", "SASL PLAIN LOGIN"], ["USER", "SASL PLAIN LOGIN"]),
            ({"starttls": True}, ["USER", "SASL PLAIN LOGIN", "STLS"], ["USER", "SASL PLAIN LOGIN"]),
            ({"starttls": True, "plaintext": False}, ["STLS"], []),
            ({"plaintext": False}, [], []),
            ({"encrypted": True, "plaintext": False}, ["USER", "SASL PLAIN LOGIN"], ["USER", "SASL PLAIN LOGIN"]),
            ({"encrypted": True, "starttls": True}, ["USER", "SASL PLAIN LOGIN"], ["USER", "SASL PLAIN LOGIN"]),
        ],
    )
    def test_they_are_true_before_and_after_the_login(
        self, channel: dict[str, bool], before: list[str], after: list[str]
    ) -> None:
        dialogue = before_login(**channel)
        assert capabilities(dialogue) == before + ALWAYS
        if dialogue.session.state.channel.takes_passwords:
            assert capabilities(dialogue.log_in()) == after + ALWAYS

    def test_what_is_announced_works(self) -> None:
        dialogue = after_login(b"a: b\n\nc\n")
        assert all(dialogue.line(command).startswith(b"+OK") for command in ("TOP 1 0", "UIDL"))


class TestUnencrypted:
    """Promise 6: passwords do not cross an unencrypted connection but from a listed network."""

    def test_user_and_pass_say_what_to_do(self) -> None:
        dialogue = before_login(plaintext=False, starttls=True)
        wanted = b"-ERR no password over a connection that is not encrypted: send STLS first, or use TLS on port 995"
        assert dialogue.line("USER mrose") == dialogue.line("PASS secret") == wanted
        assert not dialogue.maildrop.requests

    def test_without_a_certificate_stls_is_not_the_way(self) -> None:
        assert b"STLS" not in before_login(plaintext=False).line("USER mrose")


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.7 192.0.2.25 1 110\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"]
)
def test_a_header_of_a_proxy_that_is_none_ends_the_session(header: bytes) -> None:
    dialogue = before_login()
    dialogue.send(header + b"USER mrose\r\n")
    words = b"-ERR a PROXY header, from an address that is not listed as a proxy's"
    assert dialogue.hear().splitlines()[-1].startswith(words if header.startswith(b"PROXY") else b"+OK")  # its QUIT
    assert dialogue.session.closed


class TestUtf8:
    """RFC 6856, 2."""

    def test_2_1_it_is_asked_for_before_the_login(self) -> None:
        dialogue = before_login()
        assert dialogue.line("UTF8").startswith(b"+OK ")
        assert dialogue.line("utf8").startswith(b"+OK ")
        assert dialogue.line("UTF8 x").startswith(b"-ERR too many arguments")
        assert dialogue.maildrop.requests == [ShowAsStored()] * 2
        assert dialogue.log_in().line("UTF8") == b"-ERR UTF8 is not possible now: you are logged in already"

    def test_2_1_stls_is_refused_behind_it(self) -> None:
        dialogue = before_login(starttls=True)
        dialogue.line("UTF8")
        assert dialogue.line("STLS") == b"-ERR STLS comes before UTF8: connect again"
        assert dialogue.log_in().line("NOOP") == b"+OK"

    @pytest.mark.parametrize("line", [b"USER caf\xe9", b"PASS caf\xe9"])
    def test_2_2_octets_that_are_no_utf_8_are_refused(self, line: bytes) -> None:
        dialogue = before_login()
        dialogue.line("UTF8")
        dialogue.line("USER x")
        assert dialogue.line(line) == b"-ERR this is not UTF-8, which you asked for"
        assert dialogue.maildrop.passwords == []

    @pytest.mark.parametrize("announced", [True, False])
    def test_2_2_names_and_passwords_in_utf_8_need_no_utf8_before(self, announced: bool) -> None:
        dialogue = before_login()
        if announced:
            dialogue.line("UTF8")
        dialogue.line("USER zoë".encode())
        dialogue.line("PASS señor".encode())
        assert dialogue.maildrop.passwords == [("zoë", "señor")]


class TestStls:
    """RFC 2595, 4."""

    def test_everything_before_the_handshake_is_forgotten(self) -> None:
        dialogue = before_login(starttls=True, plaintext=False)
        session = dialogue.session
        dialogue.send(b"STLS\r\nCAPA\r\nUSER ev")
        assert b"".join(session.output()) == b"+OK begin TLS negotiation\r\n"
        assert session.request == StartTls()
        dialogue.send(b"il\r\nNOOP\r\n")
        session.answer(None)
        assert dialogue.hear() == b""
        dialogue.send(b"CAPA\r\n")
        assert b"USER\r\n" in b"".join(session.output())

    def test_the_name_given_before_is_forgotten(self) -> None:
        dialogue = before_login(starttls=True)
        dialogue.line("USER mrose")
        dialogue.line("STLS")
        assert dialogue.line("PASS secret") == b"-ERR send USER before PASS"
        dialogue.log_in()

    def test_wrong_passwords_before_it_still_count(self) -> None:
        dialogue = before_login(starttls=True)
        for _ in range(MAX_LOGIN_FAILURES - 1):
            dialogue.say(b"USER mrose\r\nPASS wrong\r\n")
        dialogue.line("STLS")
        dialogue.say(b"USER mrose\r\nPASS wrong\r\n")
        assert dialogue.session.closed

    def test_twice_is_refused(self) -> None:
        dialogue = before_login(starttls=True)
        dialogue.line("STLS")
        assert dialogue.line("STLS") == b"-ERR this connection is encrypted already"

    def test_without_a_certificate_it_is_refused(self) -> None:
        assert before_login().line("STLS") == b"-ERR this server has no certificate, TLS is not available"

    def test_a_handshake_that_fails_ends_the_session(self) -> None:
        dialogue = before_login(starttls=True)
        session = dialogue.session
        dialogue.send(b"STLS\r\n")
        session.output()
        session.fail()
        assert session.closed
        assert session.output() == []


def test_only_a_wrong_password_counts_as_one() -> None:
    state = Authorization(Channel(), failures=MAX_LOGIN_FAILURES - 1)
    in_use = Refusal(Text("another session has this maildrop"), Code.IN_USE)
    login_failed(state, in_use)
    assert not in_use.ends
    wrong = Refusal(Text("wrong"), Code.AUTH)
    login_failed(state, wrong)
    assert wrong.ends
