"""Accounts to collect from in tests, and a look at them with a clock that is set."""

from datetime import datetime
from uuid import uuid4

from django.db import DatabaseError
from django.utils import timezone

from accounts.lookup import FoundMailbox
from collecting.claims import claim, claim_one
from collecting.errands import Errand, run
from collecting.look import Look
from collecting.models import Source
from collecting.outcomes import record
from collecting.services import save_source
from tests.mailstore.pop3_server import ScriptedPop3
from tests.smtpservice.local import stored

PASSWORD = "two words"


def make_source(mailbox: FoundMailbox, server: ScriptedPop3, *, password: str = PASSWORD, **columns: object) -> Source:
    """An account of `charles` at a server of this machine, in the clear."""
    usual = {"host": "127.0.0.1", "port": server.port, "tls": Source.Tls.NONE, "login": "charles"}
    source = Source(mailbox_id=mailbox.id, **usual | columns)
    save_source(source=source, password=password)
    return source


def collect(source: Source, now: datetime | None = None) -> tuple[Look, Exception | None]:
    """One look, as a worker makes it, and what is written down of it; the row is read anew."""
    now = now or timezone.now()
    claimed = claim_one(source.pk, uuid4(), now)
    assert claimed is not None
    errand = Errand()
    error: Exception | None
    try:
        error = run(claimed, errand, lambda: now)
    except DatabaseError as failure:
        error = failure
    record(claimed, errand.found, error, now)
    source.refresh_from_db()
    return errand.found, error


def collected(mailbox: FoundMailbox) -> list[bytes]:
    """The messages in a mailbox, without the two lines that collecting put on top."""
    return [_without_trace(message) for message in stored(mailbox.address)]


def _without_trace(message: bytes) -> bytes:
    assert message.startswith(b"Delivered-To: ")
    received, _, rest = message.partition(b"\r\n")[2].partition(b"\r\n\t")  # its first line, and two that are folded
    assert b"account" in received
    _, _, rest = rest.partition(b";\r\n\t")
    return rest.partition(b"\r\n")[2]


def take_due(now: datetime) -> Source | None:
    """What a worker would claim now."""
    return claim(uuid4(), now)
