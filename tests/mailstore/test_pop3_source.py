"""A POP3 account that is imported, with its unique-ids: by TLS, in order, and what cannot be kept is said."""

import ssl

import pytest
import trustme
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from mailstore.models import Maildrop
from mailstore.pop3_client import Pop3Error
from mailstore.pop3_source import Listed, list_account, open_account, read_account
from mailstore.pop3_url import Pop3Url
from tests.mailstore.mailboxes import fill
from tests.mailstore.pop3_server import ScriptedPop3

MESSAGE = b"Subject: x\r\n\r\n.x\r\n"


def url(server: ScriptedPop3, *, tls: bool = False) -> Pop3Url:
    return Pop3Url("charles", "127.0.0.1", server.port, tls)


def listed(server: ScriptedPop3, keep_for: int | None = None) -> tuple[list[Listed], int]:
    with server.serving(), open_account(url(server), "x") as client:
        found = list_account(client, keep_for=keep_for)
        assert [b"".join(each.chunks) for each in read_account(client, found.wanted)] == [
            server.messages[each.number - 1][1] for each in found.wanted
        ]
        return found.wanted, found.here


class TestListing:
    def test_all_in_order_where_nothing_is_kept(self) -> None:
        server = ScriptedPop3([(b"b", MESSAGE), (b"a", b"")], {"STLS": b"-ERR no\r\n"})
        assert listed(server) == ([Listed(1, len(MESSAGE)), Listed(2, 0)], 0)
        assert server.said("UIDL") == []

    def test_what_is_here_by_its_unique_id_is_not_fetched(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"x", unique_id="here")
        server = ScriptedPop3([(b"here", MESSAGE), (b"new", MESSAGE)], {"STLS": b"-ERR no\r\n"})
        assert listed(server, mailbox.id) == ([Listed(2, len(MESSAGE), "new")], 1)
        assert server.said("RETR") == ["2"]

    def test_rfc1939_7_unique_ids_that_cannot_be_kept(self, mailbox: FoundMailbox) -> None:
        fill(mailbox.id, b"x")
        ours = Maildrop.objects.get().uidvalidity
        unique_ids = [b"x" * 70, b"x" * 71, b"a\x80", b"twice", b"twice", b"%d.7" % ours, b"!~"]
        server = ScriptedPop3([(each, MESSAGE) for each in unique_ids], {"STLS": b"-ERR no\r\n"})
        found, _ = listed(server, mailbox.id)
        assert [each.unique_id for each in found] == ["x" * 70, "", "", "", "", "", "!~"]
        assert [each.why[:7] for each in found] == ["", "it is n", "it is n", "several", "several", "another", ""]

    def test_a_message_that_the_server_gives_no_unique_id(self, mailbox: FoundMailbox) -> None:
        server = ScriptedPop3([(b"a", MESSAGE)], {"STLS": b"-ERR no\r\n", "UIDL": b"+OK\r\n.\r\n"})
        assert listed(server, mailbox.id)[0][0].why == "it has none"

    def test_a_server_without_unique_ids(self, mailbox: FoundMailbox) -> None:
        with pytest.raises(Pop3Error, match="no unique-ids"):
            listed(ScriptedPop3(script={"STLS": b"-ERR no\r\n", "UIDL": b"-ERR what\r\n"}), mailbox.id)


class TestConnection:
    def test_tls_and_stls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        authority, trusting = trustme.CA(), ssl.create_default_context()
        authority.configure_trust(trusting)
        monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        for implicit in (True, False):
            with ScriptedPop3(tls=context, implicit=implicit).serving() as server:
                open_account(url(server, tls=implicit), "x").close()
            assert server.commands[-2:] == ["USER charles", "PASS x"]
        assert server.commands[0] == "STLS"

    def test_without_tls_to_listed_networks_alone(self, settings: Settings) -> None:
        settings.PLAINTEXT_NETWORKS = []
        with (
            ScriptedPop3(script={"STLS": b"-ERR no\r\n"}).serving() as server,
            pytest.raises(Pop3Error, match="in the clear"),
        ):
            open_account(url(server), "x")
        assert server.commands == ["STLS"]

    def test_nobody_there(self) -> None:
        with pytest.raises(Pop3Error, match=r"no connection to 127\.0\.0\.1, port 1: Connection refused"):
            open_account(Pop3Url("charles", "127.0.0.1", 1, True), "x")
