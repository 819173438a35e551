"""One look at one account: log in, list, store what is new, delete what is stored and may go, quit.

A message and its unique-id are stored by one transaction, so a worker that is killed neither loses nor doubles. DELE
is said of what has been stored and of nothing else, and takes effect with the QUIT; where that does not come, the
next look finds the messages stored and deletes them without fetching them again.
"""

import secrets
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from accounts import activity
from accounts.addresses import normal_login
from accounts.lookup import COLUMNS, FoundMailbox, find_credentials
from accounts.models import Mailbox
from collecting.aside import leave, note_stored, put_aside
from collecting.claims import ClaimLostError, holds
from collecting.hosts import connect
from collecting.listing import Listed, Sorted, sort
from collecting.models import Source
from collecting.passwords import decrypt
from collecting.trace import envelope_of, goes_round
from mailplatform.authentication_results import without_forged
from mailstore.delivery import Body, Outcome, deliver
from mailstore.models import Maildrop
from mailstore.pop3_client import BadMessageError, Pop3Client, Pop3Error, RefusedError
from mailstore.quota import RoomRequest, have_room
from mailstore.rows import lock_maildrops

#: Seconds that a message may take, however slowly it comes.
MESSAGE_SECONDS = 600.0
#: Messages fetched with one look; where there are more, the next one follows at once.
MESSAGES = 1000
#: Messages that the server may refuse to give one after another before the look ends. Each is put aside, so the next
#: look begins behind them.
REFUSED_IN_A_ROW = 100
_FULL = "the mailbox is full; what is new stays where it is"
#: What is shown of an error that is not the server's.
OUR_ERROR = "an error on our side; the log has it"


class LoginError(Pop3Error):
    """The server does not take the login, and says not that this will pass."""


class OverQuotaError(Pop3Error):
    """There is no room for what waits at the source."""


class RefusingError(Pop3Error):
    """The server refuses one message after another."""


class SelfError(Pop3Error):
    """The account is the mailbox itself."""


#: Errors while a message is taken over that would come with any other too.
_OF_NO_MESSAGE = (ClaimLostError, OverQuotaError, OperationalError, InterfaceError)


@dataclass(slots=True)
class Look:
    """What one look came to: messages and octets stored, messages left there for good, what is still there to fetch."""

    stored: int = 0
    octets: int = 0
    left: int = 0
    #: Messages that are larger than MAIL_MAX_OCTETS.
    too_large: int = 0
    #: Messages that could not be fetched, now or before, and what went wrong with one of them.
    aside: int = 0
    why: str = ""
    #: Messages that are stored here, and that the server refused to delete.
    undeleted: int = 0
    more: bool = False
    #: By a shutdown, which says nothing of the server.
    broken_off: bool = False


@dataclass(frozen=True, slots=True)
class Ways:
    """How a look is watched and ended: `opened` is given the client, `is_ending` asked before each message."""

    opened: Callable[[Pop3Client], None] = lambda client: None
    is_ending: Callable[[], bool] = lambda: False
    clock: Callable[[], datetime] = timezone.now


def look(source: Source, found: Look, ways: Ways) -> None:
    """Collect what is new at a claimed account; `found` is kept up to date while that goes on.

    Raises Pop3Error, collecting.passwords.LostKeyError, ClaimLostError, django.db.DatabaseError.
    """
    password = decrypt(source)
    mailbox = _mailbox(source)
    client = connect(source, ways.opened)
    with client:
        _log_in(client, source, password)
        try:
            unique_ids = client.unique_ids()
        except RefusedError as error:
            raise Pop3Error(
                "the server has no unique-ids (UIDL), so nobody can tell new messages from old ones"
            ) from error
        sorted_out = sort(unique_ids, source, ways.clock())
        try:
            _fetch(client, source, mailbox, sorted_out, found, ways)
        except (OverQuotaError, RefusingError):
            _take_leave(client, sorted_out, source, found)  # what is stored is deleted there all the same
            raise
        _take_leave(client, sorted_out, source, found)


def leads_to_itself(source: Source) -> bool:
    """Whether the login of an account, at a server of ours, would open the mailbox that collects.

    By a bare name it may be one of several that are opened as one maildrop.
    """
    (found,) = find_credentials([source.login])
    if found is None or "@" in normal_login(source.login) or not found.combined:
        return found is not None and found.mailbox_id == source.mailbox_id
    return Mailbox.objects.filter(pk=source.mailbox_id, user_id=found.user_id).exists()


def _mailbox(source: Source) -> FoundMailbox:
    row = Mailbox.objects.filter(pk=source.mailbox_id).values_list(*COLUMNS).first()
    if row is None:
        raise ClaimLostError(source.pk)
    return FoundMailbox(*row)


def _log_in(client: Pop3Client, source: Source, password: str) -> None:
    """Raises SelfError where what opens is our own mailbox, at whichever host: a login locks its maildrop."""
    suspect = leads_to_itself(source)
    before = _lock_serial(source) if suspect else None
    try:
        client.login(source.login, password)
    except RefusedError as error:
        if error.is_temporary:
            raise
        raise LoginError(str(error)) from error
    if suspect and _lock_serial(source) != before:
        raise SelfError("this account is the mailbox itself")


def _lock_serial(source: Source) -> int | None:
    serials = Maildrop.objects.filter(mailbox_id=source.mailbox_id).values_list("lock_serial", flat=True)
    return serials.first()


def _fetch(
    client: Pop3Client, source: Source, mailbox: FoundMailbox, sorted_out: Sorted, found: Look, ways: Ways
) -> None:
    found.aside, found.why = sorted_out.waiting, sorted_out.why
    sizes = client.sizes() if sorted_out.new or sorted_out.again else {}
    fetched = refused = 0
    for each in chain(sorted_out.new, sorted_out.again):  # what is new waits for nothing that failed before
        octets = sizes.get(each.number, 0)
        if octets > settings.MAIL_MAX_OCTETS:
            found.too_large += 1
            continue
        if fetched >= MESSAGES or ways.is_ending():
            found.more = True
            return
        fetched += 1
        if not have_room([RoomRequest(mailbox, octets)])[0]:
            raise OverQuotaError(_FULL)
        try:
            if _take_over(client, source, mailbox, each, found, ways):
                sorted_out.stored.append(each)
            refused = 0
        except _OF_NO_MESSAGE:
            raise
        except Exception as error:
            if ways.is_ending():  # which says nothing of the message
                raise
            _put_aside(source, each, error, found, ways)  # or the next look would end here too
            if not isinstance(error, RefusedError):
                raise
            refused += 1  # others may be had
            if refused >= REFUSED_IN_A_ROW:
                raise RefusingError(f"the server refused {refused} messages one after another; {error}") from error


def _take_over(
    client: Pop3Client, source: Source, mailbox: FoundMailbox, each: Listed, found: Look, ways: Ways
) -> bool:
    """Fetch a message and store it; False where it stays there."""
    with Body() as body:
        for chunk in client.retrieve(each.number, most=settings.MAIL_MAX_OCTETS, seconds=MESSAGE_SECONDS):
            body.write(chunk)
        body.finish()
        header = body.header()
        if header is None:  # SMTP refuses such too
            too_long = BadMessageError(f"message {each.number} has a header of more than 64 KiB")
            _put_aside(source, each, too_long, found, ways)
            return False
        if (clean := without_forged(header, settings.MAIL_HOSTNAME)) != header:
            body.set_header(clean)
        if goes_round(header, mailbox.address):
            leave(source, each)
            found.left += 1
            return False
        _store(source, mailbox, each, body, ways.clock())
        found.stored += 1
        found.octets += body.octets
    return True


def _store(source: Source, mailbox: FoundMailbox, each: Listed, body: Body, now: datetime) -> None:
    """The message and that it was seen, by one transaction; the rows are locked in the order of all deliveries."""
    with transaction.atomic():
        locked = lock_maildrops([mailbox.id])
        holds(source)
        envelope = envelope_of(source, secrets.token_hex(8), now)
        (outcome,) = deliver(body=body, envelope=envelope, recipients=[mailbox], all_or_none=True, maildrops=locked)
        if outcome is Outcome.OVER_QUOTA:
            raise OverQuotaError(_FULL)
        if outcome is not Outcome.STORED:
            raise ClaimLostError(source.pk)
        note_stored(source, each)
    activity.count("deliveries", 1)


def _put_aside(source: Source, each: Listed, error: Exception, found: Look, ways: Ways) -> None:
    why = str(error) if isinstance(error, Pop3Error) else OUR_ERROR
    put_aside(source, each, why, ways.clock(), is_bad=isinstance(error, BadMessageError))
    found.aside, found.why = found.aside + 1, why


def _take_leave(client: Pop3Client, sorted_out: Sorted, source: Source, found: Look) -> None:
    """Delete what is stored where it may go, and quit."""
    stored = {each.digest for each in sorted_out.stored}
    # Of copies with one unique-id none goes before all are here.
    wanted = [] if source.keep else [each for each in sorted_out.stored if stored.issuperset(each.copies)]
    deleted = 0
    for each in wanted:
        try:
            client.delete(each.number)
            deleted += 1
        except RefusedError:
            found.undeleted += 1
    with nullcontext() if deleted else suppress(Pop3Error):
        client.quit()
