"""Which messages of an open maildrop a client that did not say UTF8 gets surrogates of (mailstore.downgrade).

Nearly no maildrop has any, and its row says so (`Maildrop.has_surrogates`): only for the others is this asked.
"""

from django.db.models import F

from mailstore.maildrop import Opened
from mailstore.models import Message
from mailstore.rows import live_messages


def read_surrogates(opened: Opened) -> dict[int, int]:
    """uid -> octets that the surrogate of a message has more than the message itself, for those that have one."""
    found = live_messages(opened.mailbox_id).filter(surrogate_octets__isnull=False, uid__lt=opened.next_uid)
    return dict(found.values_list("uid", F("surrogate_octets") - F("octets")))


def correct_surrogate(mailbox_id: int, uid: int, added: int) -> None:
    """Set what was stored of a message's surrogate to what it is."""
    Message.objects.filter(mailbox_id=mailbox_id, uid=uid).update(surrogate_octets=F("octets") + added)
