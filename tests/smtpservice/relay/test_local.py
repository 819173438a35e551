"""Recipients in the queue that are ours: delivered once, or waiting until there is room, or told to the sender."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.models import Alias, Domain, Mailbox
from accounts.routing import Route, find_routes
from mailstore.delivery import Envelope, Outcome
from mailstore.models import Message
from smtpservice.commands import Mail
from smtpservice.models import QueuedMessage
from smtpservice.relay import local
from smtpservice.relay.claims import Claim, Wish, claim
from smtpservice.relay.local import deliver_here
from smtpservice.storing import Accepted, Parcel, make_srs, store, today
from tests.mailstore.mailboxes import body_of, make_mailbox
from tests.smtpservice.local import stored
from tests.smtpservice.relay.relaying import MESSAGE, queue, state

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def jules() -> int:
    return make_mailbox("jules").id


def work() -> Claim:
    """Claim all that is due, deliver it; what is left of the claim."""
    now = timezone.now() + timedelta(seconds=1)
    found = claim(Wish(uuid4(), now, limit=5, together=True))
    assert found is not None
    return deliver_here(found, now)


def test_a_mailbox_here_gets_its_message_byte_for_byte_and_once() -> None:
    queue("jules@maison.mrs", sender="a@example.org")
    assert work().messages == ()
    (message,) = stored("jules@maison.mrs")
    assert message.startswith(b"Return-Path: <a@example.org>\r\nDelivered-To: jules@maison.mrs\r\nReceived: by ")
    assert message.endswith(MESSAGE)
    assert not QueuedMessage.objects.exists()


def test_what_goes_elsewhere_is_left_of_the_claim() -> None:
    queue("jules@maison.mrs", "a@example.org")
    queue("b@example.org")
    left = work()
    assert [[one.address for one in message.recipients] for message in left.messages] == [
        ["a@example.org"],
        ["b@example.org"],
    ]
    assert len(stored("jules@maison.mrs")) == 1


def test_a_full_mailbox_is_tried_again(jules: int) -> None:
    Mailbox.objects.filter(pk=jules).update(quota_octets=1)
    queue("jules@maison.mrs", sender="")
    work()
    assert state("jules@maison.mrs") == ("waiting", 1, "452 4.2.2 The mailbox is full")


@pytest.mark.parametrize("gone", ["suspended", "removed", "never"])
def test_who_is_nobody_here_is_told_to_the_sender(jules: int, gone: str) -> None:
    make_mailbox("alfred")
    if gone == "suspended":
        Mailbox.objects.filter(pk=jules).update(is_active=False)
    elif gone == "removed":
        Mailbox.objects.filter(pk=jules).delete()
    queue("nobody@maison.mrs" if gone == "never" else "jules@maison.mrs", sender="alfred@maison.mrs")
    work()
    (notice,) = stored("alfred@maison.mrs")
    assert b"550 5.1.1 There is no such mailbox here" in notice


def test_the_mailbox_that_had_no_room_is_meant_and_not_where_it_is_forwarded_to(jules: int) -> None:
    Mailbox.objects.filter(pk=jules).update(forward_to="a@example.org", keep_copy=True)
    queue("jules@maison.mrs", sender="")
    work()
    assert len(stored("jules@maison.mrs")) == 1
    assert not QueuedMessage.objects.exists()


def test_an_address_that_is_no_mailbox_leads_on() -> None:
    Alias.objects.create(
        domain=Domain.objects.get(),
        local_part="info",
        address="info@maison.mrs",
        targets="jules@maison.mrs\na@example.org",
    )
    queue("info@maison.mrs", sender="")
    work()
    assert len(stored("jules@maison.mrs")) == 1
    assert QueuedMessage.objects.get().recipients.get().address == "a@example.org"


def test_mail_to_what_was_made_of_a_senders_address_goes_back_to_them() -> None:
    address = make_srs().rewrite("a@example.org", domain="maison.mrs", day=today())
    queue(address, sender="")
    work()
    assert QueuedMessage.objects.get().recipients.get().address == "a@example.org"


def test_an_error_of_ours_delivers_nothing_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(report: object) -> None:
        if not failed:
            failed.append(None)
            raise OperationalError("no disk")
        record_one(report)

    failed: list[None] = []
    record_one = local.record_one
    monkeypatch.setattr(local, "record_one", fail)
    queue("jules@maison.mrs", sender="")
    work()
    assert not Message.objects.exists()
    assert state("jules@maison.mrs")[2].startswith("451 4.3.0")
    assert "no disk" in caplog.text


def test_whose_claim_is_lost_delivers_nothing() -> None:
    """The message is still there for another recipient."""
    queue("jules@maison.mrs", "a@example.org", sender="")
    now = timezone.now() + timedelta(seconds=1)
    asleep = claim(Wish(uuid4(), now, limit=5, domain="maison.mrs"))
    later = now + timedelta(hours=1)
    awake = claim(Wish(uuid4(), later, limit=5, domain="maison.mrs"))
    assert asleep is not None
    assert awake is not None
    for claimed in (awake, asleep):
        assert deliver_here(claimed, later).messages == ()
    assert len(stored("jules@maison.mrs")) == 1


def test_rfc_3461_who_wants_to_know_of_success_is_told_of_mailboxes_here() -> None:
    make_mailbox("alfred")
    (route,) = find_routes(["alfred@maison.mrs"])
    assert isinstance(route, Route)
    asking = Accepted("alfred@maison.mrs", route, "SUCCESS,FAILURE", "rfc822;Alfred@maison.mrs")
    with body_of(MESSAGE) as body:
        mail = Mail("jules@maison.mrs", 0, envelope_id="e+2B1")
        parcel = Parcel(body, Envelope(mail.sender, b"here"), "1" * 16, mail)
        assert store(parcel=parcel, recipients=[asking], all_or_none=True) == [Outcome.STORED]
    assert stored("alfred@maison.mrs") == []  # the queue delivers it
    work()
    assert len(stored("alfred@maison.mrs")) == 1
    (notice,) = stored("jules@maison.mrs")
    assert b"\r\nSubject: Your message was delivered\r\n" in notice
    assert b"\r\nAction: delivered\r\nStatus: 2." in notice
    assert b"\r\nOriginal-Recipient: rfc822;Alfred@maison.mrs\r\n" in notice
    assert b"\r\nOriginal-Envelope-Id: e+1\r\n" in notice
    assert not QueuedMessage.objects.exists()
