"""What domains and mailboxes may set for themselves, as their pages ask for it, with what is inherited beside it."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.policies import NOTHING_SAID, Columns, Policy, default_policy, resolve

FIELDSET = (gettext_lazy("Policies"), {"fields": (("expire_days", "login_delay_seconds"),)})
FIELDS = ["expire_days", "login_delay_seconds"]


class PoliciesForm(forms.ModelForm):
    """A form with these fields, of a domain or a mailbox."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inherited = resolve(NOTHING_SAID, self.above(), default_policy())
        for name, text in _said(inherited).items():
            if name in self.fields:
                self.fields[name].help_text = _("0 is none; empty is inherited: %(inherited)s.") % {"inherited": text}

    def above(self) -> Columns:
        """What the domain says, for those below one."""
        return NOTHING_SAID


def _said(policy: Policy) -> dict[str, str]:
    days = ngettext("%(number)d day", "%(number)d days", policy.expire_days) % {"number": policy.expire_days}
    seconds = policy.login_delay_seconds
    delay = ngettext("%(number)d second", "%(number)d seconds", seconds) % {"number": seconds}
    return {
        "expire_days": days if policy.expire_days else _("messages never expire"),
        "login_delay_seconds": delay if seconds else _("no delay"),
    }
