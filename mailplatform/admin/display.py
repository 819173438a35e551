"""Cells that several pages show: sizes, quota bars, states."""

from datetime import datetime

from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from accounts.models import Mailbox
from mailplatform.admin.deletion import messages_and_size
from mailplatform.admin.octets import human
from mailstore.models import Maildrop

#: Percent of a quota from which its bar warns.
NEARLY_FULL = 90


def maildrop_of(mailbox: Mailbox) -> Maildrop | None:
    """The mailbox's counters; None until its first delivery or login made them."""
    return getattr(mailbox, "maildrop", None)


def size_of(mailbox: Mailbox) -> str:
    """Such as "3 messages (12 KB)"."""
    drop = maildrop_of(mailbox)
    return messages_and_size(drop.message_count, drop.octets) if drop else messages_and_size(0, 0)


def used_percent(mailbox: Mailbox) -> int | None:
    """How much of the quota is used, of octets or of messages, whichever is nearer its end; None: no limit."""
    drop = maildrop_of(mailbox)
    used = []
    if mailbox.quota_octets:
        used.append((drop.octets if drop else 0) * 100 // mailbox.quota_octets)
    if mailbox.quota_messages:
        used.append((drop.message_count if drop else 0) * 100 // mailbox.quota_messages)
    return max(used, default=None)


def quota_bar(mailbox: Mailbox) -> SafeString:
    """A bar, the percentage, and on hovering the numbers."""
    percent = used_percent(mailbox)
    if percent is None:
        return format_html('<span class="mp-quiet">{}</span>', _("no limit"))
    drop = maildrop_of(mailbox)
    parts = []
    if mailbox.quota_octets:
        parts.append(f"{human(drop.octets if drop else 0)} / {human(mailbox.quota_octets)}")
    if mailbox.quota_messages:
        parts.append(_("%(number)s messages") % {"number": f"{drop.message_count if drop else 0} / {mailbox.quota_messages}"})
    level = "full" if percent >= 100 else "high" if percent >= NEARLY_FULL else "fine"
    return format_html(
        '<div class="mp-quota" title="{}"><div class="mp-bar" role="progressbar" aria-valuemin="0"'
        ' aria-valuemax="100" aria-valuenow="{}"><div class="mp-bar-{}" style="width: {}%"></div></div>'
        "<span>{} %</span></div>",
        ", ".join(parts),
        min(percent, 100),
        level,
        min(percent, 100),
        percent,
    )


def moment(when: datetime | None) -> str:
    """A date and time in the reader's format; empty for never."""
    return date_format(localtime(when), "SHORT_DATETIME_FORMAT") if when else ""


def badge(text: str, kind: str) -> SafeString:
    """A coloured word; `kind` is good, bad, busy or quiet."""
    return format_html('<span class="mp-badge mp-badge-{}">{}</span>', kind, text)
