"""RFC 6856: POP3 for UTF-8, and LANG."""

import re
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


class TestLang:
    """RFC 6856, 3."""

    def test_a_list(self, connect: Connect) -> None:
        """3: LANG is announced, and alone it lists languages: a tag, a blank, a name."""
        client = connect()
        assert "LANG" in client.capabilities()
        rows = client.rows("LANG")
        assert len(rows) > 1
        assert all(re.fullmatch(rb"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})* \S.*", row) for row in rows), rows

    def test_a_choice(self, connect: Connect) -> None:
        """3: A language that is listed can be chosen, before the login and after it; the answer names it."""
        client = connect()
        tags = [row.split()[0] for row in client.rows("LANG")]
        for tag in tags:
            assert client.ok(b"LANG " + tag).split()[0].lower() == tag.lower()
        client.log_in()
        assert client.ok(b"LANG " + tags[0]).split()[0].lower() == tags[0].lower()

    def test_the_default(self, connect: Connect) -> None:
        """3: LANG * takes the language that the server prefers."""
        client = connect()
        tags = {row.split()[0].lower() for row in client.rows("LANG")}
        assert client.ok("LANG *").split()[0].lower() in tags

    def test_unknown_languages(self, connect: Connect) -> None:
        """3: A language that is not listed is refused, and the session goes on."""
        for tag in ("x-klingon", "uga", "!"):
            client = connect()
            client.refused(f"LANG {tag}")
            client.rows("CAPA")

    def test_what_is_said_in_it(self, connect: Connect) -> None:
        """3: Texts of answers are in the language that was chosen."""
        client = connect()
        said = set()
        for row in client.rows("LANG"):
            client.ok(b"LANG " + row.split()[0])
            said.add(client.refused("FROB"))
        assert len(said) > 1
