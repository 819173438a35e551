"""What a look came to, written down: when the next one is, and what the owner is told.

An error is shown in the admin at once. The owner gets a message into the mailbox when an account has failed for
TOLD_AFTER, once until it works again.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import format_datetime, make_msgid

from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts.lookup import COLUMNS, FoundMailbox
from accounts.models import Mailbox
from collecting.claims import ClaimLostError, holds
from collecting.hosts import ForbiddenHostError
from collecting.look import OUR_ERROR, LoginError, Look, OverQuotaError, SelfError
from collecting.models import ERROR_CHARACTERS, Source
from collecting.passwords import LostKeyError
from mailstore.delivery import Body, Envelope, deliver
from mailstore.models import Maildrop
from mailstore.pop3_client import Pop3Error
from mailstore.rows import lock_maildrops

logger = logging.getLogger(__name__)

#: The waiting time doubles with each failure in a row, up to this.
LONGEST_WAIT = timedelta(hours=6)
#: A login that is refused is not tried more often than this, nor than LONGEST_LOGIN_WAIT after some: servers lock
#: accounts out, and only a person can put it right.
LOGIN_WAIT = timedelta(hours=1)
LONGEST_LOGIN_WAIT = timedelta(days=1)
#: How long an account has failed before its owner is told.
TOLD_AFTER = timedelta(days=1)
#: Errors that somebody has to put right, and that no waiting does.
_LASTING = (LoginError, LostKeyError, SelfError, ForbiddenHostError)


def record(source: Source, found: Look, error: Exception | None, now: datetime) -> None:
    """End the claim, with what was stored and what went wrong. Nothing is done where the claim is lost."""
    text = describe(found, error)[:ERROR_CHARACTERS]
    if error is not None:
        logger.warning("source %d, %s, for mailbox %d: %s", source.pk, source, source.mailbox_id, text)
    failing_since = source.failing_since or now
    tells = error is not None and source.told_at is None and now - failing_since >= TOLD_AFTER
    columns: dict[str, object] = {"claimed_by": None, "claimed_until": None}
    if found.broken_off:
        columns |= {"next_look_at": now}
    elif error is None:
        columns |= {"failures": 0, "failing_since": None, "told_at": None, "last_success_at": now, "last_error": text}
        columns |= {"next_look_at": now} if found.more else {}
    else:
        columns |= {"failures": source.failures + 1, "failing_since": failing_since, "last_error": text}
        columns |= {"next_look_at": now + _wait(source, error)}
    with transaction.atomic():
        # In the order of all deliveries: first the maildrop, then what belongs to it.
        locked = lock_maildrops([source.mailbox_id]) if tells else {}
        try:
            holds(source)
        except ClaimLostError:
            return
        if locked:
            _tell_owner(source, _letter(source, text, failing_since, now), locked, now)
            columns["told_at"] = now
        Source.objects.filter(pk=source.pk).update(
            collected=F("collected") + found.stored, collected_octets=F("collected_octets") + found.octets, **columns
        )


def describe(found: Look, error: Exception | None) -> str:
    """What is shown of an error, of ours no detail; without one, of what stays there or could not be deleted."""
    if isinstance(error, Pop3Error | LostKeyError):
        return str(error)
    if error is not None:
        return OUR_ERROR
    return "; ".join(_left_there(found))


def _left_there(found: Look) -> Iterator[str]:
    if found.too_large:
        yield f"left there, larger than {settings.MAIL_MAX_OCTETS} octets: {found.too_large}"
    if found.aside:
        yield f"could not be fetched, and is tried again from time to time: {found.aside} (one of them: {found.why})"
    if found.undeleted:
        yield f"stored here, and not deleted there, which the server refused: {found.undeleted}"


def _wait(source: Source, error: Exception) -> timedelta:
    """How long until the next look, after one more failure."""
    interval = timedelta(minutes=source.interval_minutes)
    if isinstance(error, OverQuotaError):
        return interval
    least, most = (LOGIN_WAIT, LONGEST_LOGIN_WAIT) if isinstance(error, _LASTING) else (interval, LONGEST_WAIT)
    first = max(interval, least)
    doubled: timedelta = first * 2 ** min(source.failures, 10)
    return max(min(doubled, most), interval)


def _tell_owner(source: Source, letter: str, locked: dict[int, Maildrop], now: datetime) -> None:
    """A message into the mailbox, whatever its quota; a part of the caller's transaction."""
    row = Mailbox.objects.filter(pk=source.mailbox_id).values_list(*COLUMNS).get()
    mailbox = replace(FoundMailbox(*row), quota_octets=0, quota_messages=0)
    received = f"by {settings.MAIL_HOSTNAME};\r\n\t{format_datetime(now)}".encode()
    with Body() as body:
        body.write(f"To: <{mailbox.address}>\r\n{letter}".encode())
        body.finish()
        deliver(body=body, envelope=Envelope("", received), recipients=[mailbox], all_or_none=True, maildrops=locked)


def _letter(source: Source, text: str, failing_since: datetime, now: datetime) -> str:
    hostname = settings.MAIL_HOSTNAME
    return (
        f"From: Mail Collecting System <postmaster@{hostname}>\r\n"
        "Subject: Mail from another account is not collected\r\n"
        f"Date: {format_datetime(now)}\r\n"
        f"Message-ID: {make_msgid(domain=hostname)}\r\n"
        "Auto-Submitted: auto-generated\r\n"  # RFC 3834, 5
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n"
        "\r\n"
        f"This is the mail server {hostname}.\r\n"
        "\r\n"
        "Your mailbox collects mail from another account:\r\n"
        f"    {source.login} at {source.host}\r\n"
        f"This has failed since {format_datetime(failing_since)}. The reason:\r\n"
        f"    {text}\r\n"
        "\r\n"
        "Nothing is lost: the mail stays in that account until it can be collected,\r\n"
        "and it is tried again. If the password was changed there, have it changed here\r\n"
        "too. You will not be told of this again until it has worked in between.\r\n"
    )
