"""What a session asks for: each kind, when, with what in it; told once, and the session waits for the answer."""

import inspect

import pytest

from smtpservice import replies, requests
from smtpservice.commands import Address, Mail
from smtpservice.protocol import Session
from smtpservice.requests import Close, Deliver, Discard, FindRecipients, Service, StartTls, Write

HELLO = b"EHLO me\r\n"
MAIL = b"MAIL FROM:<a@example.org> SIZE=9\r\n"
RCPT = b"RCPT TO:<Jules@maison.mrs>\r\n"


class Ran:
    """A session and what it asked for so far; recipients are called what their address is."""

    def __init__(self, *said: bytes, max_octets: int = 100) -> None:
        self.session = Session[str](Service.SMTP, hostname="mail", max_octets=max_octets, tls_offered=True)
        self.said(*said)

    def said(self, *said: bytes) -> None:
        for octets in said:
            self.session.receive(octets)

    @property
    def asks(self) -> object:
        request = self.session.take_request()
        assert self.session.take_request() is None
        return request


def until_data(**limits: int) -> Ran:
    ran = Ran(HELLO, MAIL, RCPT, **limits)
    assert isinstance(ran.asks, FindRecipients)
    ran.session.recipients_found(["jules"])
    ran.said(b"DATA\r\n")
    assert ran.asks is None
    return ran


def test_find_recipients_has_the_addresses_of_a_group_and_the_declared_size() -> None:
    ran = Ran(HELLO + MAIL + RCPT + b"RCPT TO:<alfred@maison.mrs>\r\nDATA\r\n")
    assert ran.asks == FindRecipients([Address("Jules", "maison.mrs"), Address("alfred", "maison.mrs")], 9)


def test_write_has_the_content_and_deliver_all_that_is_known_of_the_transaction() -> None:
    ran = until_data()
    ran.said(b"..one\r\ntwo")
    assert ran.asks == Write(b".one\r\ntwo")
    ran.session.written()
    ran.said(b"\r\n.\r\n")
    assert ran.asks == Write(b"\r\n")
    ran.session.written()
    assert ran.asks == Deliver("me", "ESMTP", Mail("a@example.org", 9), ("jules",))


def test_discard_comes_once_in_place_of_write() -> None:
    ran = until_data(max_octets=10)
    ran.said(b"12345678901")
    assert ran.asks == Discard()
    ran.session.written()
    ran.said(b"more" * 1000)
    assert ran.asks is None
    ran.said(b"\r\n.\r\n")
    assert ran.asks is None
    assert ran.session.take_output().endswith(
        b"552 5.3.4 The message is larger than the 10 octets that are accepted here\r\n"
    )


def test_discard_follows_a_write_that_failed() -> None:
    ran = until_data()
    ran.said(b"text\r\n")
    assert isinstance(ran.asks, Write)
    ran.session.written(replies.NO_SPACE)
    assert ran.asks == Discard()


def test_start_tls_and_close() -> None:
    assert Ran(b"STARTTLS\r\n").asks == StartTls()
    assert Ran(b"QUIT\r\n").asks == Close()


@pytest.mark.parametrize("said", [RCPT, RCPT + b"QUIT\r\n"])
def test_while_a_request_is_out_nothing_else_is_asked_for(said: bytes) -> None:
    ran = Ran(HELLO + MAIL + said)
    assert isinstance(ran.asks, FindRecipients)
    ran.said(b"RCPT TO:<alfred@maison.mrs>\r\n", b"QUIT\r\n")
    assert ran.asks is None


_ANSWERS = ("answered", "sender_checked", "recipients_found", "written", "delivered", "tls_started")
KINDS = [kind for kind in vars(requests).values() if inspect.isclass(kind) and kind.__module__ == requests.__name__]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Service], ids=lambda kind: kind.__name__)
def test_each_says_by_which_method_of_the_session_it_is_answered(kind: type) -> None:
    said = inspect.getdoc(kind) or ""
    answers = {name for name in _ANSWERS if f"`{name}`" in said}
    assert len(answers) == (0 if kind is Close else 1)
    assert all(callable(getattr(Session, name)) for name in answers)
