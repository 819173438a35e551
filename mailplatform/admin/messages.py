"""The admin's pages of one mailbox's messages: the list, the shelf, one message, its download.

The list shows envelopes, which help to find mail. What is in a message shows only to those who have the permission
accounts.read_mail, and each look is written to the admin's log and to the process's before anything is sent.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods
from unfold.widgets import CHECKBOX_CLASSES

from accounts.models import Mailbox
from mailplatform.admin.display import badge, held_by, moment, moment_cell
from mailplatform.admin.log import READ
from mailplatform.admin.octets import human
from mailplatform.admin.reading import one_line, read
from mailstore import browse, shelf
from mailstore.models import Message

READ_MAIL = "accounts.read_mail"
PAGE_SIZE = 50
#: Messages restored by one request, which has to end within half a minute, and in one transaction.
_RESTORED_AT_ONCE = 5000
_IN_ONE_TRANSACTION = 500

_audit = logging.getLogger("mailplatform.audit")


def message_urls(model_admin: Any) -> list[URLPattern]:
    """The addresses of these pages below the mailboxes' own, for `model_admin`'s site."""
    pages = _Pages(model_admin)

    def page(route: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
        made: URLPattern = path(f"<int:mailbox_id>/{route}", model_admin.admin_site.admin_view(view), name=name)
        return made

    return [
        page("messages/", require_GET(pages.list_messages), "accounts_mailbox_messages"),
        page("shelf/", require_http_methods(["GET", "POST"])(pages.list_shelf), "accounts_mailbox_shelf"),
        page("messages/<int:uid>/", require_GET(pages.show_message), "accounts_mailbox_message"),
        page("messages/<int:uid>/download/", require_GET(pages.download), "accounts_mailbox_message_download"),
    ]


def mailbox_tabs(mailbox: Mailbox, tab: str) -> dict[str, Any]:
    """What mailbox_tabs.html shows above each page of a mailbox."""
    shelved = browse.count_shelved(mailbox.pk)
    return {
        "mailbox_id": mailbox.pk,
        "tab": tab,
        "message_count": held_by(mailbox)[0],
        "shelved": f"{browse.SHELVED_COUNTED}+" if shelved > browse.SHELVED_COUNTED else shelved,
    }


class _Pages:
    """The views, which share the mailboxes' ModelAdmin with its site, permissions and log."""

    def __init__(self, model_admin: Any) -> None:
        self.model_admin = model_admin

    def list_messages(self, request: HttpRequest, mailbox_id: int) -> HttpResponse:
        """Live messages, newest first, found by sender or subject."""
        mailbox = self._mailbox(request, mailbox_id)
        found, context = self._page(request, mailbox, on_shelf=False)
        rows = [self._row(request, message) for message in found]
        headers = [_("From"), _("Subject"), _("Received"), _("Size"), _("Fetched")]
        context |= {"table": {"headers": headers, "rows": rows}, "empty_text": _nothing(context, _("No messages."))}
        return self._render(request, mailbox, "messages", "messages.html", context)

    def list_shelf(self, request: HttpRequest, mailbox_id: int) -> HttpResponse:
        """Deleted messages, from which the chosen ones are restored."""
        mailbox = self._mailbox(request, mailbox_id)
        can_restore = self.model_admin.has_change_permission(request, mailbox)
        if request.method == "POST":
            if not can_restore:
                raise PermissionDenied
            self._restore(request, mailbox)
            return HttpResponseRedirect(request.get_full_path())
        found, context = self._page(request, mailbox, on_shelf=True)
        rows = [self._shelf_row(request, message, can_restore=can_restore) for message in found]
        headers = [_("From"), _("Subject"), _("Received"), _("Fetched"), _("Deleted")]
        if can_restore:
            headers.insert(0, _("Choose"))
        context |= {
            "table": {"headers": headers, "rows": rows},
            "empty_text": _nothing(context, _("Nothing was deleted lately.")),
            "can_restore": can_restore,
            "checkbox_classes": " ".join(CHECKBOX_CLASSES),
            "shelf_days": settings.MAIL_SHELF_DAYS,
        }
        return self._render(request, mailbox, "shelf", "shelf.html", context)

    def show_message(self, request: HttpRequest, mailbox_id: int, uid: int) -> HttpResponse:
        """One message as plain text."""
        mailbox, message = self._message_to_read(request, mailbox_id, uid)
        self._log_reading(request, mailbox, message)
        context = {
            "message": message,
            "subject": _subject(message),
            "readable": read(browse.read_message(mailbox.pk, message.uid)),
            "received": moment(message.received_at),
            "fetched": moment(message.retrieved_at),
            "fetched_by": session_url(request, mailbox.pk, message.retrieved_serial),
            "deleted": moment(message.deleted_at),
            "deleted_by": session_url(request, mailbox.pk, message.deleted_serial),
            "expired": message.deleted_at is not None and message.deleted_serial is None,
            "size": human(message.octets),
        }
        tab = "shelf" if message.deleted_at else "messages"
        return self._render(request, mailbox, tab, "message.html", context)

    def download(self, request: HttpRequest, mailbox_id: int, uid: int) -> HttpResponseBase:
        """The message as it is stored, for a mail client; never shown by a browser."""
        mailbox, message = self._message_to_read(request, mailbox_id, uid)
        self._log_reading(request, mailbox, message)
        name = f"{slugify(mailbox.address.replace('@', '-at-').replace('.', '-'))}-{message.uid}.eml"
        return StreamingHttpResponse(
            browse.read_message(mailbox.pk, message.uid),
            content_type="message/rfc822",
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "Content-Length": str(message.octets),
                "Content-Security-Policy": "sandbox; default-src 'none'",
            },
        )

    # --- What the views share ---------------------------------------------------------------------------

    def _mailbox(self, request: HttpRequest, mailbox_id: int) -> Mailbox:
        mailbox = get_object_or_404(Mailbox.objects.select_related("user", "domain", "maildrop"), pk=mailbox_id)
        if not self.model_admin.has_view_permission(request, mailbox):
            raise PermissionDenied
        return mailbox

    def _message_to_read(self, request: HttpRequest, mailbox_id: int, uid: int) -> tuple[Mailbox, Message]:
        mailbox = self._mailbox(request, mailbox_id)
        if not request.user.has_perm(READ_MAIL):
            raise PermissionDenied
        return mailbox, get_object_or_404(Message, mailbox_id=mailbox.pk, uid=uid)

    def _log_reading(self, request: HttpRequest, mailbox: Mailbox, message: Message) -> None:
        what = f"{READ} {message.uid} {one_line(message.message_id)}".rstrip()
        self.model_admin.log_change(request, mailbox, what)
        _audit.info("%s read message %d of %s", request.user.get_username(), message.uid, mailbox.address)

    def _page(self, request: HttpRequest, mailbox: Mailbox, *, on_shelf: bool) -> tuple[list[Message], dict[str, Any]]:
        search = request.GET.get("q", "").strip()
        session = _uid_or_none(request.GET.get("session")) if on_shelf else None
        page = browse.page_of_messages(
            mailbox.pk,
            before_uid=_uid_or_none(request.GET.get("before")),
            size=PAGE_SIZE,
            search=search,
            shelf=on_shelf,
            deleted_by=session,
        )
        older = request.GET.copy()
        if page.next_before_uid is not None:
            older["before"] = str(page.next_before_uid)
        newest = request.GET.copy()
        newest.pop("before", None)
        context = {
            "search": search,
            "session": session,
            "session_url": session_url(request, mailbox.pk, session),
            "older_url": f"?{older.urlencode()}" if page.next_before_uid is not None else None,
            "newest_url": f"?{newest.urlencode()}" if "before" in request.GET else None,
            "is_all": not (page.next_before_uid or request.GET.get("before")),
        }
        return list(page.messages), context

    def _restore(self, request: HttpRequest, mailbox: Mailbox) -> None:
        """Bring back the chosen messages, or all that the search finds, the oldest first."""
        uids = [uid for uid in map(_uid_or_none, request.POST.getlist("uid")) if uid is not None]
        if "all" in request.POST:
            search = request.GET.get("q", "")
            session = _uid_or_none(request.GET.get("session"))
            uids = browse.find_uids(mailbox.pk, most=_RESTORED_AT_ONCE, search=search, shelf=True, deleted_by=session)
        elif not uids:
            messages.warning(request, _("Choose the messages that are to come back."))
            return
        parts = [uids[start : start + _IN_ONE_TRANSACTION] for start in range(0, len(uids), _IN_ONE_TRANSACTION)]
        number = sum(shelf.restore(mailbox_id=mailbox.pk, uids=part) for part in parts)
        if not number:
            messages.warning(request, _("These messages are on the shelf no more."))
            return
        self.model_admin.log_change(request, mailbox, f"Restored {number} messages from the shelf")
        text = ngettext(
            "%(number)d message is back in the mailbox.", "%(number)d messages are back in the mailbox.", number
        )
        messages.success(request, text % {"number": number})

    def _row(self, request: HttpRequest, message: Message) -> list[Any]:
        fetched = message.retrieved_at
        return [
            _shortened(one_line(message.sender)),
            self._subject_cell(request, message),
            moment_cell(message.received_at),
            human(message.octets),
            _by_session(request, message, fetched, message.retrieved_serial) if fetched else badge(_("new"), "info"),
        ]

    def _shelf_row(self, request: HttpRequest, message: Message, *, can_restore: bool) -> list[Any]:
        cells = [
            _shortened(one_line(message.sender)),
            self._subject_cell(request, message),
            moment_cell(message.received_at),
            _by_session(request, message, message.retrieved_at, message.retrieved_serial),
            _by_session(request, message, message.deleted_at, message.deleted_serial),
        ]
        return [_checkbox(message), *cells] if can_restore else cells

    def _subject_cell(self, request: HttpRequest, message: Message) -> SafeString:
        subject = _subject(message)
        if not request.user.has_perm(READ_MAIL):
            return _shortened(subject)
        url = reverse("admin:accounts_mailbox_message", args=[message.mailbox_id, message.uid])
        return format_html('<a class="mp-cell mp-link" href="{}" title="{}">{}</a>', url, subject, subject)

    def _render(
        self, request: HttpRequest, mailbox: Mailbox, tab: str, template: str, context: dict[str, Any]
    ) -> HttpResponse:
        request.current_app = self.model_admin.admin_site.name
        full = {
            **self.model_admin.admin_site.each_context(request),
            "title": mailbox.address,
            "opts": Mailbox._meta,
            "original": mailbox,
            **mailbox_tabs(mailbox, tab),
            **context,
        }
        return TemplateResponse(request, f"mailplatform/{template}", full)


def session_url(request: HttpRequest, mailbox_id: int, serial: int | None) -> str:
    """The record of a session, for those who may see it."""
    if serial is None or not request.user.has_perm("pop3service.view_sessionrecord"):
        return ""
    return reverse("admin:pop3service_sessionrecord_of", args=[mailbox_id, serial])


def _by_session(request: HttpRequest, message: Message, when: datetime | None, serial: int | None) -> SafeString:
    """A moment that leads to the session in which it was."""
    url = session_url(request, message.mailbox_id, serial)
    if not url:
        return moment_cell(when)
    return format_html('<a class="mp-link" href="{}" title="{}">{}</a>', url, _("See the session"), moment_cell(when))


def _uid_or_none(text: str | None) -> int | None:
    """A uid out of a query; None for what is none. ASCII alone: int() would take digits of any script."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _nothing(context: dict[str, Any], otherwise: str) -> str:
    """What an empty list says."""
    return _("Nothing found for “%(search)s”.") % {"search": context["search"]} if context["search"] else otherwise


def _subject(message: Message) -> str:
    return one_line(message.subject) or _("(no subject)")


def _shortened(text: str) -> SafeString:
    return format_html('<span class="mp-cell" title="{}">{}</span>', text, text)


def _checkbox(message: Message) -> SafeString:
    label = _("Choose “%(subject)s”") % {"subject": _subject(message)}
    return format_html(
        '<input type="checkbox" name="uid" value="{}" class="{}" aria-label="{}">',
        message.uid,
        " ".join(CHECKBOX_CLASSES),
        label,
    )
