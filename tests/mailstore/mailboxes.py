"""Mailboxes and messages for the tests of the mail store."""

from accounts.lookup import FoundMailbox, find_mailboxes
from accounts.models import Domain
from accounts.services import create_account, create_domain
from mailstore.delivery import Body, append
from mailstore.models import Content, Maildrop
from mailstore.rows import count_and_sum, live_messages


def make_mailbox(name: str, *, quota_octets: int = 0, quota_messages: int = 0) -> FoundMailbox:
    """A mailbox `name@maison.mrs` with these quotas."""
    domain = Domain.objects.first() or create_domain(name="maison.mrs")
    user = create_account(username=name, password="x", domains=[domain])
    user.mailboxes.update(quota_octets=quota_octets, quota_messages=quota_messages)
    (found,) = find_mailboxes([f"{name}@maison.mrs"])
    assert found is not None
    return found


def body_of(message: bytes, chunk: int = 1000) -> Body:
    """A message that has come in, in chunks of that many octets."""
    body = Body()
    for start in range(0, len(message), chunk):
        body.write(message[start : start + chunk])
    body.finish()
    return body


def fill(mailbox_id: int, *messages: bytes, unique_id: str = "") -> list[int]:
    """Store messages as they are; their uids."""
    uids = []
    for message in messages:
        with body_of(message) as body:
            uids.append(append(mailbox_id=mailbox_id, body=body, unique_id=unique_id))
    return uids


def stored(mailbox_id: int, uid: int) -> bytes:
    """The wire form of a message as it is kept."""
    pieces = Content.objects.filter(mailbox_id=mailbox_id, uid=uid).order_by("piece")
    return b"".join(bytes(piece.octets) for piece in pieces)


def assert_counters_fit(mailbox_id: int) -> None:
    """The kept counters are what the live messages are."""
    maildrop = Maildrop.objects.get(mailbox_id=mailbox_id)
    assert (maildrop.message_count, maildrop.octets) == count_and_sum(live_messages(mailbox_id))
