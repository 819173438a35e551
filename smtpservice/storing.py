"""One message for all whom it goes to: into mailboxes here and into the queue for others, in one transaction.

A RCPT that names a mailbox stands for that mailbox alone, and is told what became of it. One that leads on, an alias
or a mailbox that is forwarded, is taken whole: a mailbox behind it that turns out to be full or gone does not keep the
message from the others. That copy goes into the queue, whose notice then tells the sender.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts import activity
from accounts.lookup import FoundMailbox, find_local_domains
from accounts.routing import DeadEnd, Forward, Route, find_routes
from mailstore.delivery import Body, Delivery, Envelope, Outcome, deliver_many
from mailstore.models import Maildrop
from mailstore.rows import lock_maildrops
from smtpservice import queue
from smtpservice.commands import Mail
from smtpservice.sealing import seal
from smtpservice.srs import Srs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A RCPT that was accepted: its address, and whom it leads to; NOTIFY and ORCPT as in commands.Address."""

    address: str
    route: Route
    notify: str = ""
    original: str = ""

    @property
    def wants_to_know(self) -> bool:
        """Its sender wants a notice of success (RFC 3461, 4.1): the queue delivers it then, here too, and gives one."""
        return "SUCCESS" in self.notify.split(",")


_SAYS_NOTHING = Mail("", 0)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A finished message with its envelope; `identity` is what Received headers and logs call it."""

    body: Body
    envelope: Envelope
    identity: str
    mail: Mail = _SAYS_NOTHING
    #: It is of one of ours, and is signed where its domain has keys.
    submitted: bool = False
    #: The value of the Authentication-Results that were found when it came; they are sealed where it is forwarded.
    results: bytes = b""


@dataclass(frozen=True, slots=True)
class Deposit:
    """What `store` takes."""

    parcel: Parcel
    recipients: Sequence[Accepted]
    all_or_none: bool


def store_many(deposits: Sequence[Deposit]) -> Sequence[list[Outcome] | BaseException]:
    """Store messages that have come at the same moment, made for `bridge.gather`: one commit, which waits for the disk.

    A message that fails does so alone; where the commit fails, all of them have.
    """
    if len(deposits) == 1:
        return [store_one(deposits[0])]
    with transaction.atomic():
        # In ascending order for all of them, as for one: no two of us wait for each other in a circle.
        wanted = {mailbox.id for deposit in deposits for mailbox in _mailboxes(deposit)}
        try:
            return _store_all(deposits, lock_maildrops(wanted))
        except Exception as error:
            logger.info("messages are stored one by one, since one of them was not: %s", error)
        locked = lock_maildrops(wanted)  # the counters are read anew
        return [_store_among(deposit, locked) for deposit in deposits]


def _store_among(deposit: Deposit, locked: dict[int, Maildrop]) -> list[Outcome] | BaseException:
    """One of several. After an error the counters of its maildrops are read anew."""
    try:
        return _store_all([deposit], locked)[0]
    except Exception as error:
        locked.update(lock_maildrops(mailbox.id for mailbox in _mailboxes(deposit)))
        return error


def store_one(deposit: Deposit) -> list[Outcome]:
    """Store and queue a message; answers what became of it for each recipient.

    Raises django.db.DatabaseError, and then nothing is stored. With `all_or_none` nothing is stored where one of the
    mailboxes that were named cannot have it.
    """
    return _store_all([deposit])[0]


def store(*, parcel: Parcel, recipients: Sequence[Accepted], all_or_none: bool) -> list[Outcome]:
    """`store_one`, by its parts."""
    return store_one(Deposit(parcel, recipients, all_or_none))


def _store_all(deposits: Sequence[Deposit], maildrops: dict[int, Maildrop] | None = None) -> list[list[Outcome]]:
    """All of them or none. `maildrops` as for mailstore.delivery.deliver_many."""
    with transaction.atomic():
        found = deliver_many(deliveries=[_delivery(deposit) for deposit in deposits], maildrops=maildrops)
        answers = [_queue_rest(deposit, outcomes) for deposit, outcomes in zip(deposits, found, strict=True)]
    activity.count("deliveries", sum(outcomes.count(Outcome.STORED) for outcomes in found))
    return answers


def _mailboxes(deposit: Deposit) -> list[FoundMailbox]:
    """Each mailbox once that a message is delivered to by now."""
    here = [each for each in deposit.recipients if not each.wants_to_know]
    return list({mailbox.id: mailbox for each in here for mailbox in each.route.mailboxes}.values())


def _delivery(deposit: Deposit) -> Delivery:
    parcel, mailboxes = deposit.parcel, _mailboxes(deposit)
    named = {each.route.mailboxes[0].id for each in deposit.recipients if each.route.direct and not each.wants_to_know}
    optional = {mailbox.id for mailbox in mailboxes} - named
    return Delivery(parcel.body, parcel.envelope, mailboxes, deposit.all_or_none, optional)


def _queue_rest(deposit: Deposit, found: Sequence[Outcome]) -> list[Outcome]:
    """Queue a message for those who are elsewhere; answers for each recipient. `found` is of each of `_mailboxes`."""
    mailboxes, recipients = _mailboxes(deposit), deposit.recipients
    outcomes = {mailbox.id: outcome for mailbox, outcome in zip(mailboxes, found, strict=True)}
    if Outcome.HELD_BACK not in found:
        later = {mailbox for mailbox in mailboxes if outcomes[mailbox.id] in _LATER}
        _queue(deposit.parcel, recipients, later)
    others = Outcome.HELD_BACK if Outcome.HELD_BACK in found else Outcome.STORED
    return [
        outcomes[each.route.mailboxes[0].id] if each.route.direct and not each.wants_to_know else others
        for each in recipients
    ]


_LATER = {Outcome.OVER_QUOTA, Outcome.GONE}


def make_srs() -> Srs:
    """The scheme with this platform's key; the same on all its hosts."""
    return Srs(salted_hmac("smtpservice.srs", "key", algorithm="sha256").digest())


def find_route(address: str) -> Route | DeadEnd:
    """Where an address leads: to whom a forwarded message came from, or as accounts.routing says."""
    original = make_srs().restore(address.rpartition("@")[0], day=today())
    if original is not None:
        return Route(forwards=(Forward(original, ""),))
    (found,) = find_routes([address])
    return found


def today() -> int:
    """The day, as Srs counts them."""
    return timezone.now().toordinal()


def _queue(parcel: Parcel, recipients: Sequence[Accepted], later: set[FoundMailbox]) -> None:
    """Queue the message for all ends that are elsewhere, and for mailboxes that could not have it just now."""
    ends: dict[str, tuple[Forward, Accepted]] = {}
    for each in recipients:
        for mailbox in each.route.mailboxes:
            if each.wants_to_know or (mailbox in later and not each.route.direct):
                ends.setdefault(mailbox.address, (Forward(mailbox.address, ""), each))
        for forward in each.route.forwards:
            ends.setdefault(forward.address.lower(), (forward, each))
    alike: dict[tuple[str, str], list[queue.Recipient]] = {}
    ours = _is_ours(parcel.envelope.sender) if ends else True
    for forward, each in ends.values():
        sender = parcel.envelope.sender
        if forward.domain and not ours:
            sender = make_srs().rewrite(sender, domain=forward.domain, day=today())
        recipient = queue.Recipient(forward.address, each.notify, each.original)
        alike.setdefault((sender, forward.domain), []).append(recipient)
    for number, ((sender, domain), queued) in enumerate(alike.items()):
        queue.enqueue(
            sender=sender,
            recipients=queued,
            body=parcel.body,
            top=_sealed(parcel, domain) + b"Received: " + parcel.envelope.received + b"\r\n",
            identity="" if number else parcel.identity,
            envelope_id=parcel.mail.envelope_id,
            returned=parcel.mail.returned,
            smtputf8=parcel.mail.smtputf8,
            signed=parcel.submitted,
        )


def _sealed(parcel: Parcel, domain: str) -> bytes:
    """The fields that go on top of a message that a domain here passes on, if it does: what it came with, sealed."""
    return seal(domain=domain, results=parcel.results, body=parcel.body) if domain and parcel.results else b""


def _is_ours(sender: str) -> bool:
    """Whether we send for this reverse-path anyway, so that it need not be rewritten."""
    domain = sender.rpartition("@")[2]
    return not domain or find_local_domains([domain])[0]
