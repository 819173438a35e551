"""The admin's page of a user's app passwords: make one, which is shown once, see where each was used, revoke one.

Whoever may set a user's password may make one too, and nobody else: it opens the same mailboxes. What was made or
revoked is in the history; the secret is nowhere but on the one page that answers its making.
"""

from datetime import date, datetime, time
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import MaxValueValidator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import make_aware, now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from accounts.app_passwords import create_app_password, revoke_app_password
from accounts.models import AppPassword, User
from mailplatform.admin.display import badge, moment, moment_cell
from mailplatform.admin.records import two_lines

#: More than anybody has; a page shows no more.
SHOWN = 200
#: By the clock of every place on earth a moment that can be written.
LAST_DAY = date(2999, 12, 31)


class AppPasswordForm(forms.ModelForm):
    """A new app password, as the service takes it."""

    expires_on = forms.DateField(
        label=gettext_lazy("Expires after"),
        required=False,
        help_text=gettext_lazy("The last day it opens; empty is never."),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        validators=[MaxValueValidator(LAST_DAY)],
    )

    class Meta:
        model = AppPassword
        fields = ["name", "pop3", "smtp", "read_only", "network"]
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"placeholder": gettext_lazy("Such as: telephone")}),
            "network": UnfoldAdminTextInputWidget(),
            "pop3": UnfoldBooleanSwitchWidget(),
            "smtp": UnfoldBooleanSwitchWidget(),
            "read_only": UnfoldBooleanSwitchWidget(),
        }

    def make(self, user: User) -> tuple[AppPassword, str] | None:
        """The app password and its secret; None where the form is not right, which it says then."""
        self.instance.user = user
        if not self.is_valid():
            return None
        given = dict(self.cleaned_data)
        last_day = given.pop("expires_on")
        # Until the end of that day, by the clock of the platform.
        expires_at = make_aware(datetime.combine(last_day, time.max)) if last_day else None
        try:
            return create_app_password(user=user, expires_at=expires_at, **given)
        except ValidationError as error:
            for field, errors in error.message_dict.items():
                known = {"expires_at": "expires_on"}.get(field, field)
                self.add_error(known if known in self.fields else None, errors)
            return None

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        name = cleaned.get("name", "").strip()
        if name and AppPassword.objects.filter(user=self.instance.user, name=name).exists():
            self.add_error("name", _("There is one of this name already."))
        if not (cleaned.get("pop3") or cleaned.get("smtp")):
            self.add_error("pop3", _("It has to open one of the two."))
        return cleaned

    def _post_clean(self) -> None:
        """The service looks at the whole of it."""


def app_passwords_url(user_pk: Any) -> str:
    return reverse("admin:accounts_user_apppasswords", args=[user_pk])


def app_passwords_page(model_admin: Any, request: HttpRequest, user_id: int) -> HttpResponse:
    """Show the app passwords of a user; make or revoke one."""
    user = get_object_or_404(User, pk=user_id)
    if not model_admin.has_view_permission(request, user):
        raise PermissionDenied
    may_change = model_admin.has_change_permission(request, user)
    form, made = AppPasswordForm(), None
    if request.method == "POST":
        if not may_change:
            raise PermissionDenied
        if "revoke" in request.POST:
            _revoke(model_admin, request, user, request.POST["revoke"])
            return HttpResponseRedirect(app_passwords_url(user.pk))
        form = AppPasswordForm(request.POST)
        made = form.make(user)
        if made is not None:
            model_admin.log_change(request, user, f"Made the app password “{made[0].name}”")
            form = AppPasswordForm()
    request.current_app = model_admin.admin_site.name
    headers = [_("Name"), _("Opens"), _("From"), _("Expires"), _("Last used"), *([""] if may_change else [])]
    rows = [_row(each, may_change=may_change) for each in user.app_passwords.order_by("name")[:SHOWN]]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("App passwords of %(user)s") % {"user": user},
        "opts": User._meta,
        "original": user,
        "owner": user,
        "form": form if may_change else None,
        "made": made[0] if made else None,
        "secret": made[1] if made else "",
        "logins": [mailbox.address for mailbox in user.mailboxes.order_by("address")[:5]],
        "server": settings.MAIL_HOSTNAME,
        "table": {"headers": headers, "rows": rows},
    }
    # As all pages of the admin this one is kept by no cache, so that nothing shows a secret again.
    return TemplateResponse(request, "mailplatform/app_passwords.html", context)


def app_passwords_cell(user: User) -> SafeString:
    """How many there are and which was used last, for the user's page."""
    found = list(user.app_passwords.order_by("-last_used_at").values_list("last_used_at", flat=True)[: SHOWN + 1])
    used = max((at for at in found if at is not None), default=None)
    parts = [str(len(found)) if found else _("none")]
    if used is not None:
        parts.append(_("last used %(time)s") % {"time": moment(used)})
    link = format_html('<a class="mp-link" href="{}">{}</a>', app_passwords_url(user.pk), _("Manage"))
    return format_html("{} {}", ", ".join(parts), link)


def _revoke(model_admin: Any, request: HttpRequest, user: User, pk: str) -> None:
    name = revoke_app_password(user=user, pk=int(pk)) if pk.isascii() and pk.isdigit() and len(pk) < 19 else None
    if name is None:
        messages.info(request, _("That app password has been revoked already."))
        return
    model_admin.log_change(request, user, f"Revoked the app password “{name}”")
    messages.success(request, _("“%(name)s” opens nothing any more.") % {"name": name})


def _row(each: AppPassword, *, may_change: bool) -> list[Any]:
    opens = [text for text, is_so in ((_("reads mail"), each.pop3), (_("sends mail"), each.smtp)) if is_so]
    used = two_lines(moment_cell(each.last_used_at), _("from %(address)s") % {"address": each.last_used_from})
    cells = [
        two_lines(each.name, _("made %(time)s") % {"time": moment(each.created_at)}),
        two_lines(", ".join(opens), _("deletes nothing") if each.read_only else ""),
        each.network or _("everywhere"),
        _expiry(each),
        used if each.last_used_at else _("never"),
    ]
    return [*cells, _button(each)] if may_change else cells


def _expiry(each: AppPassword) -> Any:
    if each.expires_at is None:
        return _("never")
    return badge(_("expired"), "danger") if each.expires_at <= now() else moment_cell(each.expires_at)


def _button(each: AppPassword) -> SafeString:
    return format_html(
        '<button class="mp-end" name="revoke" value="{}" aria-label="{}" data-question="{}"'
        ' x-on:click="confirm($el.dataset.question) || $event.preventDefault()">{}</button>',
        each.pk,
        _("Revoke “%(name)s”") % {"name": each.name},
        _("Revoke “%(name)s”? The program that uses it will not log in any more.") % {"name": each.name},
        _("Revoke"),
    )
