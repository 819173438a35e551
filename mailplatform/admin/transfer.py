"""Accounts in from a CSV file and out to one.

The page first checks: it shows what the file would do, or all that is wrong, and changes nothing. The file stays
chosen in the browser and is sent again to be imported, so nothing of it, passwords least of all, is kept in between.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.timezone import localdate
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts import importing
from mailplatform.admin import exporting
from mailplatform.admin.log import log_many

MAX_OCTETS = 4 * 1024 * 1024
#: Accounts of a checked file that the page lists.
SHOWN = 20
_SAMPLE = """username,password,domains,quota_octets
anna,correct horse 42,,
bert,battery staple 7,example.org sales@example.org,1073741824
"""


class FileForm(forms.Form):
    """A file that is small enough to be read at once."""

    file = forms.FileField(label=gettext_lazy("CSV file"), max_length=255)

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MAX_OCTETS:
            raise forms.ValidationError(_("The file is larger than 4 MB: split it."), code="size")
        return file


def import_page(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """The form; after a check its outcome; after an import the list of users."""
    form = FileForm(request.POST or None, request.FILES or None)
    checked = None
    if request.method == "POST" and form.is_valid():
        checked = importing.check(form.cleaned_data["file"].read())
        if "import" in request.POST and not checked.errors and _store(request, checked):
            return HttpResponseRedirect(reverse("admin:accounts_user_changelist"))
    return _render(model_admin, request, form, checked)


def _store(request: HttpRequest, checked: importing.Checked) -> bool:
    try:
        with transaction.atomic():
            number = importing.store(accounts=checked.accounts)
            log_many(request, [account.user for account in checked.accounts], "Imported from a file.", flag=ADDITION)
    except IntegrityError:
        messages.error(request, _("Somebody took one of these names meanwhile. Nothing was imported; check again."))
        return False
    text = ngettext("%(number)d account imported.", "%(number)d accounts imported.", number)
    messages.success(request, text % {"number": number})
    return True


def _render(model_admin: Any, request: HttpRequest, form: FileForm, checked: importing.Checked | None) -> HttpResponse:
    accounts = checked.accounts if checked else []
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Import accounts"),
        "model_admin": model_admin,
        "form": form,
        "checked": checked,
        "sample": _SAMPLE,
        "max_passwords": importing.MAX_PASSWORDS,
        "table": {
            "headers": [_("User"), _("Mailboxes"), _("Password")],
            "rows": [
                [a.user.username, ", ".join(m.address for m in a.mailboxes) or "-", _password(a)]
                for a in accounts[:SHOWN]
            ],
        },
        "more": max(len(accounts) - SHOWN, 0),
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "mailplatform/import.html", context)


def _password(account: importing.NewAccount) -> str:
    if account.password:
        return _("given")
    return _("given as a hash") if account.user.has_usable_password() else _("none: no login until one is set")


def export_file(request: HttpRequest) -> HttpResponseBase:
    """All accounts as a file to download."""
    name = f"accounts-{localdate().isoformat()}.csv"
    return StreamingHttpResponse(
        exporting.table(),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
