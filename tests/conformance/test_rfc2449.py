"""RFC 2449: CAPA and the extensions that it announces; RFC 3206: response codes for clients."""

import re
from collections.abc import Callable

from tests.conformance.client import Client
from tests.conformance.conftest import Fetch

Connect = Callable[..., Client]

MESSAGE = b"Subject: x\r\n\r\ny\r\n"
CODE = re.compile(rb"\[([A-Z][A-Z0-9-]*(?:/[A-Z0-9-]+)*)\]", re.IGNORECASE)


def code_of(text: bytes) -> str:
    found = CODE.match(text)
    return found[1].decode().upper() if found else ""


class TestForm:
    def test_long_lines(self, connect: Connect) -> None:
        """4: A command of 255 octets with its CRLF is understood."""
        connect().ok(b"USER " + b"x" * (255 - 7))

    def test_overlong_lines(self, connect: Connect) -> None:
        """4: A line that is too long is one error, and the next command is understood."""
        for length in (300, 5000, 70_000):
            client = connect()
            client.refused(b"NOOP " + b"x" * length)
            client.rows("CAPA")

    def test_long_answers(self, connect: Connect) -> None:
        """4: The first line of an answer has 512 octets at most."""
        client = connect()
        for command in (b"x" * 250, b"USER " + b"y" * 240, b"AUTH " + b"z" * 240, b"CAPA " + b"1" * 240):
            assert len(client.say(command)) + 2 <= 512

    def test_capa_before_and_after(self, fetch: Fetch, connect: Connect) -> None:
        """5: CAPA works in both states; what has nothing to do with the login is the same in both."""
        before, after = connect().capabilities(), fetch().capabilities()
        assert before.keys() - {"STLS", "USER", "SASL"} == after.keys() - {"STLS", "USER", "SASL"}

    def test_tags(self, connect: Connect) -> None:
        """3, 5: A capability is a tag with its arguments, each named once."""
        tags = connect().tags()
        assert all(re.fullmatch(r"[!-,.-~][!-~]*( [!-~]+)*", tag) and len(tag) <= 510 for tag in tags), tags
        assert len({tag.split()[0].upper() for tag in tags}) == len(tags)


class TestCapabilities:
    """RFC 2449, 6: what is announced works."""

    def test_top(self, fetch: Fetch) -> None:
        """6.1: TOP is announced."""
        client = fetch(MESSAGE)
        assert "TOP" in client.capabilities()
        client.rows("TOP 1 0")

    def test_user(self, connect: Connect) -> None:
        """6.2: USER is announced where USER and PASS are possible."""
        client = connect(tls=True)
        assert "USER" in client.capabilities()
        client.log_in()

    def test_sasl(self, connect: Connect) -> None:
        """6.3: SASL names the mechanisms, of which PLAIN is one where TLS protects it."""
        assert "PLAIN" in connect(tls=True).capabilities()["SASL"]

    def test_codes(self, connect: Connect) -> None:
        """6.4: RESP-CODES is announced."""
        assert "RESP-CODES" in connect().capabilities()

    def test_login_delay(self, fetch: Fetch) -> None:
        """6.5: LOGIN-DELAY, where it is announced, gives seconds."""
        delay = fetch().capabilities().get("LOGIN-DELAY")
        assert delay is None or re.fullmatch(r"\d+( USER)?", " ".join(delay))

    def test_pipelining(self, fetch: Fetch) -> None:
        """6.6: PIPELINING: commands that are sent together are answered in their order."""
        client = fetch(MESSAGE)
        assert "PIPELINING" in client.capabilities()
        client.send(b"STAT\r\nNOOP\r\nFROB\r\nUIDL\r\nDELE 1\r\nRETR 1\r\nRSET\r\nSTAT\r\n")
        first = client.status()
        assert [first[:4], client.status()[:3], client.status()[:4]] == [b"+OK ", b"+OK", b"-ERR"]
        assert client.status().startswith(b"+OK")
        assert client.lines().startswith(b"1 ")
        assert [client.status()[:3] for _ in range(3)] == [b"+OK", b"-ER", b"+OK"]
        assert client.status() == first

    def test_pipelined_login(self, connect: Connect) -> None:
        """6.6: What is sent behind PASS runs once, after it."""
        client = connect()
        client.send(
            b"USER %s\r\nPASS %s\r\nSTAT\r\nNOOP\r\nQUIT\r\n"
            % (client.target.user.encode(), client.target.password.encode())
        )
        assert [client.status()[:3] for _ in range(5)] == [b"+OK"] * 5
        assert client.closed()

    def test_expire(self, connect: Connect) -> None:
        """6.7: EXPIRE says how long a message is kept at least: days or NEVER."""
        assert re.fullmatch(r"(\d+|NEVER)( USER)?", " ".join(connect().capabilities()["EXPIRE"]))

    def test_uidl(self, fetch: Fetch) -> None:
        """6.8: UIDL is announced."""
        client = fetch(MESSAGE)
        assert "UIDL" in client.capabilities()
        client.rows("UIDL")

    def test_implementation(self, fetch: Fetch) -> None:
        """6.9: IMPLEMENTATION names the server."""
        assert fetch().capabilities()["IMPLEMENTATION"]


class TestCodes:
    """RFC 2449, 8 and RFC 3206."""

    def test_in_use(self, fetch: Fetch, connect: Connect) -> None:
        """8.1.1: A login is refused with [IN-USE] while another session has the maildrop."""
        fetch(MESSAGE)
        second = connect()
        second.ok(b"USER " + second.target.user.encode())
        assert code_of(second.refused(b"PASS " + second.target.password.encode())) == "IN-USE"

    def test_wrong_password(self, connect: Connect) -> None:
        """RFC 3206, 5: A wrong password is [AUTH], and AUTH-RESP-CODE is announced."""
        client = connect()
        assert "AUTH-RESP-CODE" in client.capabilities()
        client.ok(b"USER " + client.target.user.encode())
        assert code_of(client.refused("PASS wrong")) == "AUTH"

    def test_unknown_user(self, connect: Connect) -> None:
        """RFC 3206, 5; RFC 1939, 13: An unknown name is answered as a wrong password is."""
        answers = []
        for name in (b"nobody-of-this-name@example.org", connect().target.user.encode()):
            client = connect()
            client.ok(b"USER " + name)
            answers.append(client.refused("PASS wrong"))
        assert answers[0] == answers[1]

    def test_no_code_elsewhere(self, fetch: Fetch) -> None:
        """8: Text that is no response code does not begin with a bracket."""
        client = fetch(MESSAGE)
        for command in ("FROB", "RETR 9", "DELE x", "TOP 1", "[AUTH]", "NOOP"):
            text = client.say(command).partition(b" ")[2]
            assert not text.startswith(b"[") or code_of(text) in {
                "AUTH",
                "SYS/TEMP",
                "SYS/PERM",
                "IN-USE",
                "LOGIN-DELAY",
            }
