"""RFC 6856: POP3 for UTF-8, and LANG."""

from collections.abc import Callable

from tests.conformance.client import Client
from tests.conformance.conftest import Fetch
from tests.conformance.target import Target

Connect = Callable[..., Client]

MESSAGE = "From: Jérôme <jerome@example.org>\r\nSubject: été\r\n\r\nà bientôt\r\n".encode()


class TestUtf8:
    """RFC 6856, 2."""

    def test_it_is_announced(self, connect: Connect) -> None:
        """2: UTF8 is announced, with USER where names and passwords may be in UTF-8."""
        assert connect().capabilities()["UTF8"] in ([], ["USER"])

    def test_before_the_login(self, target: Target, connect: Connect) -> None:
        """2.1: UTF8 before the login brings messages as they came, in UTF-8."""
        target.load(MESSAGE)
        client = connect()
        client.ok("UTF8")
        assert target.holds(client.log_in().message(1), MESSAGE)

    def test_after_the_login(self, fetch: Fetch) -> None:
        """2.1: After the login it is refused."""
        client = fetch()
        client.refused("UTF8")
        client.ok("NOOP")

    def test_arguments(self, connect: Connect) -> None:
        """2.1: It has no argument."""
        client = connect()
        client.refused("UTF8 please")
        client.rows("CAPA")

    def test_without_it(self, fetch: Fetch) -> None:
        """2.1, 7: A client that did not send it gets a header in ASCII, or an error that says so."""
        client = fetch(MESSAGE)
        status = client.say("RETR 1")
        if status.startswith(b"-ERR"):
            assert b"UTF8" in status
        else:
            assert client.lines().partition(b"\r\n\r\n")[0].isascii()

    def test_names_in_utf_8(self, connect: Connect) -> None:
        """2.1: Names in UTF-8 are taken by USER."""
        client = connect()
        client.ok("UTF8")
        client.ok("USER jérôme@example.org")
        client.refused("PASS à bientôt")
