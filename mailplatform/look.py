"""How the admin looks: its name, colours, and the links beside every page. django-unfold reads it from the settings."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _


def _allows(permission: str) -> Any:
    """A test that shows a link only to those whom the page behind it would let in."""
    return lambda request: request.user.has_perm(permission)


def _is_about_sessions(request: HttpRequest) -> bool:
    """Whether this is a page of session records; that of open ones, whose address lies below, has its own link."""
    return "/pop3service/sessionrecord/" in request.path and not request.path.endswith("/open/")


def _stylesheet(request: HttpRequest) -> str:
    return static("mailplatform/admin.css")


def _icon(request: HttpRequest) -> str:
    return static("mailplatform/icon.svg")


def _link(title: Any, icon: str, name: str, permission: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(name), "permission": _allows(permission)}


_NAVIGATION = [
    {
        "items": [
            {"title": _("Start"), "icon": "home", "link": reverse_lazy("admin:index")},
        ],
    },
    {
        "title": _("Mail"),
        "separator": True,
        "items": [
            _link(_("Users"), "person", "admin:accounts_user_changelist", "accounts.view_user"),
            _link(_("Mailboxes"), "mail", "admin:accounts_mailbox_changelist", "accounts.view_mailbox"),
            _link(_("Aliases"), "alt_route", "admin:accounts_alias_changelist", "accounts.view_alias"),
            _link(
                _("Queue"), "outbox", "admin:smtpservice_queuedrecipient_changelist", "smtpservice.view_queuedrecipient"
            ),
            _link(_("Collected accounts"), "download", "admin:collecting_source_changelist", "collecting.view_source"),
            _link(_("Domains"), "language", "admin:accounts_domain_changelist", "accounts.view_domain"),
        ],
    },
    {
        "title": _("Who comes and goes"),
        "separator": True,
        "items": [
            _link(_("Logins"), "login", "admin:accounts_loginrecord_changelist", "accounts.view_loginrecord"),
            {
                **_link(
                    _("Sessions"),
                    "swap_vert",
                    "admin:pop3service_sessionrecord_changelist",
                    "pop3service.view_sessionrecord",
                ),
                "active": _is_about_sessions,
            },
            _link(_("Open now"), "lock_open", "admin:pop3service_sessionrecord_open", "pop3service.view_sessionrecord"),
        ],
    },
    {
        "title": _("Administration"),
        "separator": True,
        "items": [
            _link(_("Groups"), "groups", "admin:auth_group_changelist", "auth.view_group"),
            _link(_("History"), "history", "admin:admin_logentry_changelist", "admin.view_logentry"),
        ],
    },
]

UNFOLD: dict[str, Any] = {
    "LOGIN": {"form": "mailplatform.login_form.ThrottledLoginForm"},
    "SITE_TITLE": "Mailplatform",
    "SITE_HEADER": "Mailplatform",
    "SITE_SYMBOL": "mark_email_read",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _icon}],
    "SITE_URL": None,
    "SHOW_LANGUAGES": True,
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "mailplatform.dashboard.start_page",
    "STYLES": [_stylesheet],
    "BORDER_RADIUS": "8px",
    "COLORS": {
        # A blue that keeps 4.5:1 against white at 600 and against the dark ground at 400.
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        },
    },
    "SIDEBAR": {"show_search": True, "navigation": _NAVIGATION},
}
