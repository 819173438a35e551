"""Cells that several pages show: sizes, quota bars, states."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from accounts.models import Mailbox
from mailplatform.admin.octets import human, messages_and_size
from mailstore.models import Maildrop
from pop3service.workers import are_dead

#: Percent of a quota from which its bar warns.
NEARLY_FULL = 90


def maildrop_of(mailbox: Mailbox) -> Maildrop | None:
    """The mailbox's counters; None until its first delivery or login made them."""
    return getattr(mailbox, "maildrop", None)


def held_by(mailbox: Mailbox) -> tuple[int, int]:
    """Live messages and their octets, from the kept counters."""
    drop = maildrop_of(mailbox)
    return (drop.message_count, drop.octets) if drop else (0, 0)


def size_of(mailbox: Mailbox) -> str:
    """Such as "3 messages (12 KB)"."""
    return messages_and_size(*held_by(mailbox))


def used_percent(mailbox: Mailbox) -> int | None:
    """How much of the quota is used, of octets or of messages, whichever is nearer its end; None: no limit."""
    number, octets = held_by(mailbox)
    used = []
    if mailbox.quota_octets:
        used.append(octets * 100 // mailbox.quota_octets)
    if mailbox.quota_messages:
        used.append(number * 100 // mailbox.quota_messages)
    return max(used, default=None)


def quota_bar(mailbox: Mailbox) -> SafeString:
    """A bar, the percentage, and on hovering the numbers."""
    percent = used_percent(mailbox)
    if percent is None:
        return format_html('<span class="mp-quiet">{}</span>', _("no limit"))
    number, octets = held_by(mailbox)
    parts = []
    if mailbox.quota_octets:
        parts.append(f"{human(octets)} / {human(mailbox.quota_octets)}")
    if mailbox.quota_messages:
        parts.append(_("%(number)s messages") % {"number": f"{number} / {mailbox.quota_messages}"})
    numbers = ", ".join(parts)
    level = "full" if percent >= 100 else "high" if percent >= NEARLY_FULL else "fine"
    return format_html(
        '<div class="mp-quota" title="{}"><div class="mp-bar" role="progressbar" aria-label="{}" aria-valuemin="0"'
        ' aria-valuemax="100" aria-valuenow="{}"><div class="mp-bar-{}" style="width: {}%"></div></div>'
        "<span>{} %</span></div>",
        numbers,
        numbers,
        min(percent, 100),
        level,
        min(percent, 100),
        percent,
    )


def moment(when: datetime | None) -> str:
    """A date and time that reads the same in every language, and sorts; empty for never."""
    return localtime(when).strftime("%Y-%m-%d %H:%M") if when else ""


def moment_cell(when: datetime | None) -> SafeString:
    """The moment on one line; a dash for never."""
    return format_html('<span class="mp-when">{}</span>', moment(when) or "-")


def badge(text: str, kind: str, title: str = "") -> SafeString:
    """A coloured word; `kind` is one of unfold's: success, info, warning, danger, or empty for a plain one."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": kind, "label_title": title})


def last_login(mailbox: Mailbox) -> SafeString:
    """When the mailbox was last opened."""
    drop = maildrop_of(mailbox)
    return moment_cell(drop.opened_at if drop else None)


def mark_open(mailboxes: Sequence[Any]) -> None:
    """Give each mailbox an `is_open`: whether a session holds it, judged as a login judges it.

    A lock whose worker died is still in its row until the next login takes it over; it keeps nobody out, so no
    page shows it as open.
    """
    holders = {mailbox.pk: drop.lock_worker for mailbox in mailboxes if (drop := maildrop_of(mailbox))}
    workers = sorted({worker for worker in holders.values() if worker is not None})
    living = {worker for worker, dead in zip(workers, are_dead(workers), strict=True) if not dead} if workers else set()
    for mailbox in mailboxes:
        mailbox.is_open = holders.get(mailbox.pk) in living


def state(mailbox: Any) -> SafeString:
    """What keeps its owner out, or another program; the mailbox has been through `mark_open`."""
    if not mailbox.is_active:
        return badge(_("suspended"), "danger")
    if not mailbox.user.is_active:
        return badge(_("user suspended"), "danger")
    if mailbox.is_open:
        since = _("open since %(time)s") % {"time": moment(mailbox.maildrop.locked_at)}
        return badge(_("in use"), "warning", since)
    return badge(_("active"), "success")
