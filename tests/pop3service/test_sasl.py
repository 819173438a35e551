"""RFC 5034: AUTH, its mechanisms, and what clients do to it."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramClient

from accounts.sasl import Admit, AdmitToken, Authenticate, JudgeProof
from pop3service.states import Authorization, StartTls
from pop3service.words import Text
from tests.accounts.scram_client import scram_client
from tests.pop3service.memory import LOGIN, PASSWORD, TOKEN, Dialogue, before_login

ALL = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")
WRONG = b"-ERR [AUTH] wrong name or password"


def fresh() -> Dialogue:
    return before_login(b"a: b\n\nc\n", mechanisms=ALL)


def plain(login: str = LOGIN, password: str = PASSWORD, authzid: str = "") -> bytes:
    return b64encode(f"{authzid}\0{login}\0{password}".encode())


class TestSection4:
    def test_with_an_initial_response(self) -> None:
        dialogue = fresh()
        assert dialogue.line(b"AUTH PLAIN " + plain()).startswith(b"+OK maildrop has 1 message")
        assert dialogue.line("STAT") == b"+OK 1 11"
        assert dialogue.maildrop.requests[0] == Authenticate(LOGIN, PASSWORD, mechanism="PLAIN")

    def test_without_one_the_challenge_is_empty_and_keeps_its_blank(self) -> None:
        dialogue = fresh()
        assert dialogue.say(b"AUTH plain\r\n") == b"+ \r\n"
        assert dialogue.line(plain()).startswith(b"+OK")

    def test_an_initial_response_of_nothing_is_an_equals_sign(self) -> None:
        dialogue = fresh()
        assert dialogue.line("AUTH PLAIN =") == b"-ERR PLAIN takes [authzid] NUL name NUL password"
        assert dialogue.say(b"AUTH LOGIN =\r\n") == b"+ UGFzc3dvcmQ6\r\n"

    def test_the_client_cancels(self) -> None:
        dialogue = fresh()
        dialogue.line("AUTH PLAIN")
        assert dialogue.line("*") == b"-ERR authentication cancelled"
        assert dialogue.line("CAPA").startswith(b"+OK")

    @pytest.mark.parametrize("junk", [b"AG1y b3Nl", b"A", b"!", b"\xff\xfe", b"="])
    def test_what_is_not_base64_ends_the_exchange(self, junk: bytes) -> None:
        dialogue = fresh()
        dialogue.line("AUTH PLAIN")
        assert dialogue.line(junk) == b"-ERR this is not base64: begin again with AUTH"
        assert dialogue.line(b"AUTH PLAIN " + plain()).startswith(b"+OK")

    def test_alone_it_lists_the_mechanisms(self) -> None:
        """Outlook asks so, and with a blank behind it."""
        for asked in (b"AUTH\r\n", b"AUTH \r\n", b"auth\r\n"):
            assert fresh().say(asked) == (
                b"+OK mechanisms follow\r\nSCRAM-SHA-256\r\nSCRAM-SHA-1\r\nPLAIN\r\nLOGIN\r\n.\r\n"
            )

    @pytest.mark.parametrize("name", ["CRAM-MD5", "PLAINS", "\u00e9"])
    def test_a_mechanism_that_is_not_offered(self, name: str) -> None:
        dialogue = fresh()
        assert dialogue.line(f"AUTH {name}") == b"-ERR unknown mechanism: AUTH alone lists those of this server"
        assert dialogue.line("NOOP").startswith(b"-ERR")

    def test_only_what_the_channel_names_is_offered(self) -> None:
        dialogue = before_login(mechanisms=("PLAIN",))
        assert b"\r\nSASL PLAIN\r\n" in dialogue.line("CAPA")
        assert dialogue.line("AUTH LOGIN").startswith(b"-ERR unknown mechanism")

    def test_after_the_login_it_is_refused(self) -> None:
        dialogue = fresh()
        dialogue.line(b"AUTH PLAIN " + plain())
        assert dialogue.line("AUTH PLAIN") == b"-ERR AUTH is not possible now: you are logged in already"

    def test_no_mechanism_where_no_password_may_cross(self) -> None:
        dialogue = before_login(mechanisms=ALL, plaintext=False, starttls=True)
        assert b"SASL" not in dialogue.line("CAPA")
        for asked in ("AUTH", "AUTH PLAIN", "AUTH SCRAM-SHA-256"):
            assert b"use TLS on port 995" in dialogue.line(asked)

    def test_after_a_failure_user_and_pass_work(self) -> None:
        dialogue = fresh()
        assert dialogue.line(b"AUTH PLAIN " + plain(password="no")) == WRONG
        dialogue.log_in()

    def test_failures_count_as_those_of_pass_do(self) -> None:
        dialogue = fresh()
        for _ in range(4):
            assert dialogue.line(b"AUTH PLAIN " + plain(password="no")) == WRONG
        assert dialogue.line(b"AUTH PLAIN " + plain(password="no")) == WRONG
        assert dialogue.session.closed

    def test_a_response_may_be_long_and_come_in_pieces(self) -> None:
        dialogue = fresh()
        dialogue.line("AUTH PLAIN")
        response = plain(password="x" * 5000)
        for start in range(0, len(response), 999):
            assert dialogue.say(response[start : start + 999]) == b""
        assert dialogue.line(b"") == WRONG
        assert dialogue.maildrop.passwords == [(LOGIN, "x" * 5000)]
        assert dialogue.line(b"AUTH PLAIN " + response) == WRONG

    def test_one_that_is_too_long_is_drained_with_one_error(self) -> None:
        dialogue = fresh()
        dialogue.line("AUTH PLAIN")
        for _ in range(20):
            assert dialogue.say(b"A" * 1000) == b""
        assert dialogue.line(b"").startswith(b"-ERR line too long")
        dialogue.log_in()

    def test_a_command_stays_short(self) -> None:
        assert fresh().line(b"USER " + b"x" * 300).startswith(b"-ERR line too long")

    def test_what_is_pipelined_behind_it_runs_once_and_in_order(self) -> None:
        dialogue = fresh()
        answered = dialogue.say(b"AUTH PLAIN " + plain() + b"\r\nSTAT\r\nDELE 1\r\nSTAT\r\nQUIT\r\n")
        lines = answered.split(b"\r\n")
        assert [line[:7] for line in lines] == [b"+OK mai", b"+OK 1 1", b"+OK mes", b"+OK 0 0", b"+OK dew", b""]
        assert dialogue.maildrop.finished is not None
        assert dialogue.maildrop.finished.deleted == [11]

    def test_a_name_that_user_gave_is_forgotten(self) -> None:
        dialogue = fresh()
        dialogue.line(f"USER {LOGIN}")
        dialogue.line("AUTH PLAIN")
        dialogue.line("*")
        assert dialogue.line(f"PASS {PASSWORD}") == b"-ERR send USER before PASS"

    def test_the_database_away_is_temporary(self) -> None:
        dialogue = fresh()
        dialogue.maildrop.broken = (Authenticate,)
        assert dialogue.line(b"AUTH PLAIN " + plain()).startswith(b"-ERR [SYS/TEMP] ")
        dialogue.maildrop.broken = ()
        assert dialogue.line(b"AUTH PLAIN " + plain()).startswith(b"+OK")

    def test_the_server_ends_within_an_exchange(self) -> None:
        dialogue = fresh()
        dialogue.line("AUTH PLAIN")
        dialogue.session.end(Text("the server is shutting down"))
        assert dialogue.hear() == b"-ERR [SYS/TEMP] the server is shutting down\r\n"
        assert dialogue.session.closed

    def test_stls_is_no_response(self) -> None:
        dialogue = before_login(mechanisms=ALL, starttls=True)
        dialogue.line("AUTH PLAIN")
        assert dialogue.line("STLS").startswith(b"-ERR PLAIN takes")
        assert not any(isinstance(request, StartTls) for request in dialogue.maildrop.requests)

    @settings(max_examples=100, deadline=None)
    @given(
        mechanism=st.sampled_from(ALL),
        lines=st.lists(st.one_of(st.binary(max_size=40), st.binary(max_size=30).map(b64encode)), max_size=6),
    )
    def test_no_response_raises(self, mechanism: str, lines: list[bytes]) -> None:
        dialogue = fresh()
        dialogue.line(f"AUTH {mechanism}")
        for line in lines:
            dialogue.say(line.replace(b"\n", b"") + b"\r\n")
        assert dialogue.session.closed or not dialogue.session.logged_in  # QUIT, behind what ended the exchange


class TestPlain:
    """RFC 4616."""

    @pytest.mark.parametrize("message", [b"", b"\0", b"a\0b", b"\0\0password", b"a\0b\0c\0d"])
    def test_of_another_form(self, message: bytes) -> None:
        dialogue = fresh()
        assert dialogue.line(b"AUTH PLAIN " + (b64encode(message) or b"=")).startswith(b"-ERR PLAIN takes")
        assert not dialogue.maildrop.requests

    def test_an_authzid_is_handed_on(self) -> None:
        dialogue = fresh()
        assert dialogue.line(b"AUTH PLAIN " + plain(authzid=LOGIN)).startswith(b"+OK")
        assert fresh().line(b"AUTH PLAIN " + plain(authzid="another")) == WRONG

    def test_octets_that_are_not_utf8_are_latin_1(self) -> None:
        dialogue = fresh()
        dialogue.line(b"AUTH PLAIN " + b64encode(b"\0jos\xe9\0p\xe4ss"))
        dialogue.line(b"AUTH PLAIN " + b64encode("\0josé\0päss".encode()))
        assert dialogue.maildrop.passwords == [("josé", "päss")] * 2


class TestLogin:
    def test_asks_for_both(self) -> None:
        dialogue = fresh()
        assert b64decode(dialogue.line("AUTH LOGIN")[2:]) == b"Username:"
        assert b64decode(dialogue.line(b64encode(LOGIN.encode()))[2:]) == b"Password:"
        assert dialogue.line(b64encode(PASSWORD.encode())).startswith(b"+OK")

    def test_takes_the_name_at_once(self) -> None:
        dialogue = fresh()
        assert b64decode(dialogue.line(b"AUTH LOGIN " + b64encode(LOGIN.encode()))[2:]) == b"Password:"
        assert dialogue.line(b64encode(b" with blanks ")) == WRONG
        assert dialogue.maildrop.passwords == [(LOGIN, " with blanks ")]

    def test_without_a_name(self) -> None:
        dialogue = fresh()
        dialogue.line("AUTH LOGIN =")
        assert dialogue.line(b64encode(b"x")) == b"-ERR LOGIN takes a name and a password"


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
class TestScram:
    """RFC 5802 and RFC 7677, against scramp's client."""

    def _until_the_proof(self, dialogue: Dialogue, client: ScramClient, mechanism: str, *, initial: bool) -> bytes:
        first = b64encode(client.get_client_first().encode())
        if initial:
            challenge = dialogue.line(f"AUTH {mechanism} ".encode() + first)
        else:
            assert dialogue.line(f"AUTH {mechanism}") == b"+ "
            challenge = dialogue.line(first)
        client.set_server_first(b64decode(challenge[2:]).decode())
        return dialogue.line(b64encode(client.get_client_final().encode()))

    @pytest.mark.parametrize("initial", [True, False])
    def test_a_right_proof_and_the_servers_own(self, mechanism: str, initial: bool) -> None:
        dialogue = fresh()
        client = ScramClient([mechanism], LOGIN, PASSWORD)
        final = self._until_the_proof(dialogue, client, mechanism, initial=initial)
        client.set_server_final(b64decode(final[2:]).decode())
        assert not dialogue.session.logged_in
        assert dialogue.line("").startswith(b"+OK maildrop has 1 message")
        assert isinstance(dialogue.maildrop.requests[-1], Admit)

    @pytest.mark.parametrize(("login", "password"), [(LOGIN, "wrong"), ("nobody", PASSWORD)])
    def test_a_wrong_one_is_a_wrong_password(self, mechanism: str, login: str, password: str) -> None:
        dialogue = fresh()
        client = ScramClient([mechanism], login, password)
        assert self._until_the_proof(dialogue, client, mechanism, initial=True) == WRONG
        assert isinstance(dialogue.maildrop.requests[-1], JudgeProof)
        dialogue.log_in()

    def test_no_login_before_the_client_has_seen_the_servers_proof(self, mechanism: str) -> None:
        dialogue = fresh()
        client = ScramClient([mechanism], LOGIN, PASSWORD)
        self._until_the_proof(dialogue, client, mechanism, initial=True)
        assert dialogue.line(b64encode(b"x")) == f"-ERR {mechanism}: an empty line was expected".encode()
        assert not any(isinstance(request, Admit) for request in dialogue.maildrop.requests)

    @pytest.mark.parametrize(
        "first",
        [
            "",
            "n",
            "n,,",
            "n,,n=",
            "n,,n=,r=x",
            "p=tls-unique,,n=a,r=x",
            "n,,r=x,n=a",
            "x,,n=a,r=b",
            "n,,n=a",
            "n,,n=a,",
            "n,a=,n=a,r=b",
            "n,b,n=a,r=b",
            "n,a=x=y,n=a,r=b",
            "n,a=x,b,n=a,r=b",
            "n,,n=a=b,r=c",
        ],
    )
    def test_a_first_message_of_another_form(self, mechanism: str, first: str) -> None:
        dialogue = fresh()
        answer = dialogue.line(f"AUTH {mechanism} ".encode() + (b64encode(first.encode()) or b"="))
        assert answer.startswith(b"-ERR ")
        assert b"[" not in answer
        dialogue.log_in()

    def test_rfc_5802_7_an_authzid_is_handed_on(self, mechanism: str) -> None:
        dialogue = fresh()
        client = scram_client(mechanism, LOGIN, PASSWORD, authzid="a,b=c@d")
        self._until_the_proof(dialogue, client, mechanism, initial=True)
        dialogue.line("")
        last = dialogue.maildrop.requests[-1]
        assert isinstance(last, Admit)
        assert (last.login, last.authzid) == (LOGIN, "a,b=c@d")

    @pytest.mark.parametrize("said", ["n,,", "n,a=another,", "y,a=other,"])
    def test_rfc_5802_7_the_last_message_repeats_it(self, mechanism: str, said: str) -> None:
        """Else somebody on the way could put in another one."""
        dialogue = fresh()
        client = scram_client(mechanism, LOGIN, PASSWORD, authzid="other")
        client.gs2_header.said_last = said
        answer = self._until_the_proof(dialogue, client, mechanism, initial=True)
        assert answer.startswith(b"-ERR ")
        assert not any(isinstance(request, Admit) for request in dialogue.maildrop.requests)

    @pytest.mark.parametrize("final", [b"", b"c=biws", b"\xff", b"c=biws,r=another,p=AAAA", b"p=x,r=y,c=z"])
    def test_a_last_message_of_another_form(self, mechanism: str, final: bytes) -> None:
        dialogue = fresh()
        dialogue.line(f"AUTH {mechanism} ".encode() + b64encode(b"n,,n=mrose,r=abc"))
        answer = dialogue.line(b64encode(final))
        assert answer.startswith(b"-ERR ")
        assert not dialogue.session.logged_in
        dialogue.log_in()


class TestTokens:
    """RFC 7628 over POP3: with an error for the client before the -ERR."""

    OFFERED = ("OAUTHBEARER", "XOAUTH2")
    FORMS = (("OAUTHBEARER", "n,,\1auth=Bearer {}\1\1", b"\1"), ("XOAUTH2", f"user={LOGIN}\1auth=Bearer {{}}\1\1", b""))

    def _asked(self, name: str, form: str, token: str) -> tuple[Dialogue, bytes]:
        dialogue = before_login(mechanisms=self.OFFERED)
        return dialogue, dialogue.line(f"AUTH {name} ".encode() + b64encode(form.format(token).encode()))

    @pytest.mark.parametrize(("name", "form", "_"), FORMS)
    def test_a_good_one_opens(self, name: str, form: str, _: bytes) -> None:
        assert self._asked(name, form, TOKEN)[1].startswith(b"+OK maildrop has")

    @pytest.mark.parametrize(("name", "form", "empty"), FORMS)
    def test_a_bad_one_is_explained_and_then_refused_and_counts_once(self, name: str, form: str, empty: bytes) -> None:
        dialogue, challenge = self._asked(name, form, "bad")
        assert b'"status":' in b64decode(challenge.removeprefix(b"+ "))
        assert dialogue.line(b64encode(empty)) == WRONG
        assert isinstance(dialogue.session.state, Authorization)
        assert dialogue.session.state.failures == 1
        dialogue.log_in()

    @pytest.mark.parametrize(("name", "form", "_"), FORMS)
    def test_the_client_may_cancel_instead(self, name: str, form: str, _: bytes) -> None:
        dialogue, _challenge = self._asked(name, form, "bad")
        assert dialogue.line("*") == b"-ERR authentication cancelled"
        dialogue.log_in()

    def test_the_last_failure_allowed_ends_the_session(self) -> None:
        dialogue = before_login(mechanisms=self.OFFERED)
        for _ in range(5):
            dialogue.line(b"AUTH XOAUTH2 " + b64encode(b"user=x\1auth=Bearer y\1\1"))
            assert dialogue.line(b"") == WRONG
        assert dialogue.session.closed

    def test_where_nobody_can_be_asked_there_is_no_explanation(self) -> None:
        dialogue = before_login(mechanisms=self.OFFERED)
        dialogue.maildrop.broken = (AdmitToken,)
        answer = dialogue.line(b"AUTH XOAUTH2 " + b64encode(b"user=x\1auth=Bearer y\1\1"))
        assert answer.startswith(b"-ERR [SYS/TEMP] ")
