"""Forms of the users' pages: a new user, one that is there, its mailboxes, and a password that can be said aloud."""

import secrets
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.addresses import normal_local_part
from accounts.models import Domain, Mailbox, User, default_quota_octets
from mailplatform.admin.octets import OctetsField

#: Syllables and digits that are not mistaken for others on the phone: some 48 bits.
_CONSONANTS, _VOWELS, _DIGITS = "bdfgklmnprstvz", "aeiou", "23456789"
_SHAPE = ("cvcv", "cvcv", "cvcv", "ddd")


def spoken_password() -> str:
    """A password that is easy to say and to type, and hard to guess, such as "fotu-kemi-raba-274"."""
    letters = {"c": _CONSONANTS, "v": _VOWELS, "d": _DIGITS}
    return "-".join("".join(secrets.choice(letters[kind]) for kind in part) for part in _SHAPE)


def _suggestion() -> SafeString:
    """An example and a button that takes it; the browser alone knows whether it was taken."""
    made = spoken_password()
    return format_html(
        '{} <code class="mp-suggestion">{}</code> <button type="button" class="mp-link" data-password="{}"'
        " x-on:click=\"document.querySelectorAll('input[type=password]').forEach(field => field.value ="
        ' $el.dataset.password)">{}</button>',
        _("For example"),
        made,
        made,
        _("Use this one"),
    )


class PasswordForm(AdminPasswordChangeForm):
    """A new password for a user, with one to say at the phone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = _suggestion()


class NewUserForm(UserCreationForm):
    """Makes a user; refuses a name whose first address is taken."""

    usable_password = None  # a user without one is made by a file of accounts

    class Meta:
        model = User
        fields = ("username", "first_name", "last_name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = _suggestion()

    def clean_username(self) -> str:
        """The name in lower case, as it is stored, so that one in other letters is seen to be taken."""
        name: str = normal_local_part(self.cleaned_data["username"])
        if User.objects.filter(username=name).exists():
            raise ValidationError(User._meta.get_field("username").error_messages["unique"], code="unique")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        domain = Domain.objects.filter(is_default=True).first()
        if domain and (name := cleaned.get("username")):
            try:
                _check_free(Mailbox(domain=domain, local_part=name))
            except ValidationError as error:
                self.add_error("username", error.messages)
        return cleaned


def _check_free(mailbox: Mailbox) -> None:
    """Raise ValidationError where a mailbox or an alias has the address."""
    mailbox.clean()
    if Mailbox.objects.filter(address=mailbox.address).exists():
        raise ValidationError(_("The address %(address)s belongs to another user.") % {"address": mailbox.address})


class UserForm(UserChangeForm):
    """A user that is there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "is_active" in self.fields:
            self.fields["is_active"].help_text = _("A suspended user opens no mailbox and no page; mail still arrives.")


class _LineForm(forms.ModelForm):
    """A line of a table, whose head alone names the fields for who sees it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        of = f", {self.instance.address}" if self.instance.pk else ""
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = f"{field.label}{of}"


class OwnedForm(_LineForm):
    """A mailbox in a line of its user's page."""

    quota_octets = OctetsField(label=gettext_lazy("Quota"), required=False, help_text="")

    class Meta:
        model = Mailbox
        fields = ["quota_octets", "is_active"]


class NewMailboxForm(_LineForm):
    """A mailbox that the user is to get."""

    quota_octets = OctetsField(label=gettext_lazy("Quota"), required=False, help_text="", initial=default_quota_octets)

    class Meta:
        model = Mailbox
        fields = ["domain", "local_part", "quota_octets"]
