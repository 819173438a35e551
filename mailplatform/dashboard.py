"""The start page of the admin: totals, two plots, the largest mailboxes, and what was done last.

Every figure comes from counters that are kept on write; the page takes the same few statements whatever is stored.
"""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.formats import date_format, number_format
from django.utils.timezone import localdate
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import DayCount, Domain, Mailbox, User
from mailplatform.admin.octets import human
from mailplatform.admin.open_sessions import open_url
from mailstore.models import Maildrop
from pop3service.models import Worker

DAYS = 30
LARGEST = 8
LATEST = 6

#: The plots' axes: few labels, faint lines across. unfold sets the lines' colour by its theme.
_TICKS = {"color": "#9ca3af"}
_OPTIONS = json.dumps(
    {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "categoryPercentage": 0.9,
        "barPercentage": 0.9,
        "plugins": {"legend": {"display": False}},
        "scales": {
            "x": {"grid": {"display": False}, "ticks": {**_TICKS, "maxTicksLimit": 8, "maxRotation": 0}},
            "y": {
                "beginAtZero": True,
                "border": {"display": False, "dash": [4, 4]},
                "grid": {"tickLength": 0},
                "ticks": {**_TICKS, "maxTicksLimit": 5, "padding": 8, "precision": 0},
            },
        },
    }
)


def start_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the context of admin's start page (django-unfold calls it). Nobody sees more than their pages show."""
    user = request.user
    context["title"] = _("Start")
    if user.has_perm("accounts.view_mailbox"):
        context["totals"] = _totals(request)
        context["plots"] = _plots()
        context["plot_options"] = _OPTIONS
        context["largest"] = _largest()
        context["mailboxes_url"] = reverse("admin:accounts_mailbox_changelist") + "?o=-4"
    if user.has_perm("admin.view_logentry"):
        context["latest"] = LogEntry.objects.select_related("user", "content_type").order_by("-id")[:LATEST]
    if user.has_perm("accounts.add_domain") and not Domain.objects.exists():
        context["first_step"] = reverse("admin:accounts_domain_add")
    return context


# --- Totals -----------------------------------------------------------------------------------------------


def _totals(request: HttpRequest) -> list[dict[str, Any]]:
    """The figures, each with a link where its page is open to the one who asks."""
    mailboxes = Mailbox.objects.aggregate(all=Count("pk"), suspended=Count("pk", filter=Q(is_active=False)))
    stored = Maildrop.objects.aggregate(messages=Sum("message_count", default=0), octets=Sum("octets", default=0))
    users = User.objects.count()
    domains = Domain.objects.count()
    workers, sessions = _sessions()
    listed = reverse("admin:accounts_mailbox_changelist")
    suspended, full = mailboxes["suspended"], _full()
    return [
        {
            "icon": "mail",
            "name": _("Mailboxes"),
            "value": number_format(mailboxes["all"], force_grouping=True),
            "note": ngettext("%(number)s suspended", "%(number)s suspended", suspended) % {"number": suspended},
            "url": listed,
        },
        {
            "icon": "person",
            "name": _("Users"),
            "value": number_format(users, force_grouping=True),
            "note": ngettext("in %(number)s domain", "in %(number)s domains", domains) % {"number": domains},
            "url": reverse("admin:accounts_user_changelist") if request.user.has_perm("accounts.view_user") else "",
        },
        {
            "icon": "inbox",
            "name": _("Messages"),
            "value": number_format(stored["messages"], force_grouping=True),
            "note": _("waiting to be fetched or kept by clients"),
        },
        {
            "icon": "database",
            "name": _("Stored"),
            "value": human(stored["octets"]),
            "note": ngettext("%(number)s mailbox is full", "%(number)s mailboxes are full", full) % {"number": full},
            "url": f"{listed}?quota=over",
        },
        {
            "icon": "lock_open",
            "name": _("Open now"),
            "value": number_format(sessions, force_grouping=True),
            "note": ngettext("on %(number)s POP3 worker", "on %(number)s POP3 workers", workers) % {"number": workers},
            "url": open_url() if request.user.has_perm("pop3service.view_sessionrecord") else "",
        },
    ]


def _sessions() -> tuple[int, int]:
    """Workers that beat, and the mailboxes that they hold open."""
    oldest_beat = Now() - timedelta(seconds=settings.POP3_WORKER_DEAD_SECONDS)
    living = list(Worker.objects.filter(beat_at__gt=oldest_beat).values_list("pk", flat=True))
    return len(living), Maildrop.objects.filter(lock_worker__in=living).count() if living else 0


def _full() -> int:
    over = Q(quota_octets__gt=0, quota_octets__lte=F("maildrop__octets"))
    return Mailbox.objects.filter(
        over | Q(quota_messages__gt=0, quota_messages__lte=F("maildrop__message_count"))
    ).count()


# --- Plots ------------------------------------------------------------------------------------------------


def _plots() -> list[dict[str, str]]:
    today = localdate()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    counted: dict[str, dict[date, int]] = {"deliveries": {}, "logins": {}}
    for row in DayCount.objects.filter(day__gte=days[0], name__in=counted):
        counted[row.name][row.day] = row.times
    titles = {"deliveries": _("Messages delivered per day"), "logins": _("Logins per day")}
    return [
        {
            "title": title,
            "data": _bars(days, [counted[name].get(day, 0) for day in days], title),
            "summary": _summary(list(counted[name].values()), today, counted[name]),
        }
        for name, title in titles.items()
    ]


def _bars(days: Sequence[date], values: Sequence[int], label: str) -> str:
    """The data of unfold's bar chart."""
    dataset = {
        "label": label,
        "data": values,
        "backgroundColor": "var(--color-primary-500)",
        "borderRadius": 3,
        "maxBarThickness": 16,
    }
    return json.dumps({"labels": [date_format(day, "j N") for day in days], "datasets": [dataset]})


def _summary(values: Sequence[int], today: date, by_day: dict[date, int]) -> str:
    """What the plot says, in words."""
    return _("%(today)s today, %(total)s in %(days)d days") % {
        "today": number_format(by_day.get(today, 0), force_grouping=True),
        "total": number_format(sum(values), force_grouping=True),
        "days": DAYS,
    }


# --- The largest ------------------------------------------------------------------------------------------


def _largest() -> list[dict[str, Any]]:
    drops = list(Maildrop.objects.filter(octets__gt=0).select_related("mailbox").order_by("-octets")[:LARGEST])
    top = drops[0].octets if drops else 1
    return [
        {
            "address": drop.mailbox.address,
            "url": reverse("admin:accounts_mailbox_change", args=[drop.mailbox_id]),
            "size": human(drop.octets),
            "percent": max(drop.octets * 100 // top, 1),
        }
        for drop in drops
    ]
