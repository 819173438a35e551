"""The texts of django-unfold that our pages show: it has none in French.

They are named here for `make messages`, which looks through our files alone; nothing else needs this list.
"""

from django.utils.translation import gettext_noop as _
from django.utils.translation import ngettext_lazy

TEXTS = (
    _("Welcome back to"),
    _("You have been successfully logged out from the administration"),
    _("Light"),
    _("Dark"),
    _("System"),
    _("Go back"),
    _("Type to search"),
    _("Filters"),
    _("Apply Filters"),
    _("Reset filters"),
    _("Select value"),
    _("To"),
    _("Select record"),
    _("Select all rows"),
    _("Select action"),
    _("Select action to run"),
    _("Run"),
    _("No results found"),
    _("This page yielded into no results. Create a new item or reset your filters."),
    _("After you've created a user, you’ll be able to edit more user options."),  # noqa: RUF001 - as unfold writes it
    _("Action"),
    _("True"),
    _("False"),
    _("Toggle password visibility"),
)

NUMBERED = (
    ngettext_lazy("%(counter)s result", "%(counter)s results", "counter"),
    ngettext_lazy("entry", "entries", "counter"),
    ngettext_lazy("Please correct the error below.", "Please correct the errors below.", "counter"),
)
