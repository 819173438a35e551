"""Sizes as people write them, and a form field that takes them. A KB here is 1024 octets, as in Django's filters."""

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.widgets import UnfoldAdminTextInputWidget

_UNITS = "KMGT"
_SIZE = re.compile(rf"(\d+(?:[.,]\d+)?)\s*([{_UNITS}]?)(?:i?[BO])?", re.IGNORECASE | re.ASCII)
#: The largest size a database column holds.
_LARGEST = 2**63 - 1


def human(octets: int) -> str:
    """The size in a reader's unit and language: 1.5 MB."""
    return filesizeformat(octets)


def messages_and_size(messages: int, octets: int) -> str:
    """Such as "3 messages (12 KB)"."""
    number = ngettext("%(number)d message", "%(number)d messages", messages) % {"number": messages}
    return f"{number} ({human(octets)})"


def parse(text: str) -> int:
    """The octets that "500", "500 MB", "1.5G" or "2 Go" mean. Raises ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    number, unit = match.groups()
    scale = 1024 ** (_UNITS.index(unit.upper()) + 1) if unit else 1
    octets = round(float(number.replace(",", ".")) * scale) if re.search("[.,]", number) else int(number) * scale
    if octets > _LARGEST:
        raise ValueError(text)
    return octets


def exact(octets: int) -> str:
    """The shortest text that `parse` reads back as exactly this many octets."""
    for power in range(len(_UNITS), 0, -1):
        if octets and octets % 1024**power == 0:
            return f"{octets // 1024**power} {_UNITS[power - 1]}B"
    return str(octets)


class OctetsField(forms.CharField):
    """A size such as "500 MB"; its value is a number of octets."""

    widget = UnfoldAdminTextInputWidget

    def __init__(self, **kwargs: Any) -> None:
        # Model fields hand over what their own form field would take.
        kwargs = {key: kwargs[key] for key in ("label", "help_text", "initial", "required") if key in kwargs}
        super().__init__(**{"help_text": _("Such as 500 MB or 2 GB; 0 is no limit."), **kwargs})

    def prepare_value(self, value: Any) -> Any:
        if callable(value):
            value = value()
        return exact(value) if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        try:
            return parse(text) if text else 0
        except ValueError:
            raise ValidationError(_("Write a size such as 500 MB or 2 GB."), code="size") from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.prepare_value(initial) != data and self.to_python(data) != initial)
        except ValidationError:
            return True
