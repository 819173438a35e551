"""Which servers may be reached, and how."""

import ssl

import pytest
import trustme
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from collecting import hosts
from collecting.hosts import ForbiddenHostError, connect, is_ours, look_up, may_reach
from collecting.models import Source
from mailstore.pop3_client import Pop3Error
from tests.collecting.sources import collect, make_source
from tests.mailstore.pop3_server import ScriptedPop3


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Whom this machine trusts."""
    trusted, make = trustme.CA(), ssl.create_default_context

    def context() -> ssl.SSLContext:
        made = make()
        trusted.configure_trust(made)
        return made

    monkeypatch.setattr(ssl, "create_default_context", context)
    return trusted


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("64:ff9b::5db8:d822", True),  # NAT64 of the first
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.168.1.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("fec0::1", False),
        ("5f00::1", False),
        ("nobody", False),
    ],
)
def test_addresses_of_the_public_internet_alone(settings: Settings, address: str, may: bool) -> None:
    settings.COLLECT_NETWORKS = []
    assert may_reach(address) is may


@pytest.mark.parametrize("host", ["192.0.2.7%.evil.example", "::ffff:192.0.2.7", "192.0.2.7"])
def test_what_is_dialled_is_an_address_and_never_a_name_that_begins_like_one(host: str) -> None:
    """The resolver takes 192.0.2.7%.evil.example for a name, whose owner says where it leads."""
    assert look_up(host) == ["192.0.2.7"]


def test_networks_that_an_operator_allows(settings: Settings) -> None:
    settings.COLLECT_NETWORKS = ["10.0.0.0/8"]
    assert may_reach("10.1.2.3")
    assert not may_reach("192.168.1.1")


def test_addresses_of_this_machine() -> None:
    assert [is_ours(each) for each in ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "192.0.2.1", "x")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


def test_a_name_is_looked_up_once_and_what_was_looked_at_is_what_is_dialled(
    mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    answers = [["10.0.0.1", "127.0.0.1"], ["10.0.0.1"]]
    monkeypatch.setattr(hosts, "_ask_system", lambda host: answers.pop(0))
    with ScriptedPop3().serving() as other:
        source = make_source(mailbox, other, host="pop.example.org")
        connect(source, lambda client: None).close()
        with pytest.raises(ForbiddenHostError, match=r"pop.example.org is at 10.0.0.1, .*COLLECT_NETWORKS"):
            connect(source, lambda client: None)


def test_names_that_lead_nowhere(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "RESOLVE_SECONDS", 0.2)
    settings.RELAY_NAME_SERVERS = ["127.0.0.1#9"]
    assert look_up("192.0.2.7") == ["192.0.2.7"]
    with pytest.raises(Pop3Error, match="no address of"):
        look_up("nowhere.invalid")


def test_in_the_clear_to_listed_networks_alone(mailbox: FoundMailbox, settings: Settings) -> None:
    settings.PLAINTEXT_NETWORKS = []
    with ScriptedPop3().serving() as other:
        source = make_source(mailbox, other)
        collect(source)
    assert "in the clear" in source.last_error
    assert other.sessions == 0


def test_nobody_listens(mailbox: FoundMailbox) -> None:
    source = make_source(mailbox, ScriptedPop3(port=1))
    collect(source)
    assert source.last_error == "no connection to 127.0.0.1, port 1: Connection refused"


@pytest.mark.parametrize("tls", [Source.Tls.IMPLICIT, Source.Tls.STLS])
def test_certificates_have_to_be_right_unless_that_is_not_wanted(
    mailbox: FoundMailbox, authority: trustme.CA, tls: Source.Tls
) -> None:
    errors = []
    for name, verify in (("127.0.0.1", True), ("other.example.org", True), ("other.example.org", False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        with ScriptedPop3(tls=context, implicit=tls is Source.Tls.IMPLICIT).serving() as other:
            source = make_source(mailbox, other, tls=tls, verify_certificate=verify)
            collect(source)
        errors.append(source.last_error)
        said = other.commands
    assert (errors[0], errors[2]) == ("", "")
    assert "the certificate of 127.0.0.1 is not right" in errors[1]
    assert "USER charles" in said


def test_stls_that_is_refused_gives_no_password_away(mailbox: FoundMailbox) -> None:
    with ScriptedPop3(script={"STLS": b"-ERR no\r\n"}).serving() as other:
        collect(make_source(mailbox, other, tls=Source.Tls.STLS))
    assert other.commands == ["STLS"]
