"""Addresses that lead to other addresses, and how such a list of addresses is written.

A list is kept as text, one address a line, so that Postfix can read it from the table as it is (docs/operations.md).
"""

import re
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.addresses import (
    LOCAL_PART_OCTETS,
    normal_address,
    normal_domain,
    normal_local_part,
    validate_domain_name,
    validate_local_part,
)

#: Stands in an alias for any characters, and in its targets for those that it stood for.
WILDCARD = "*"
#: Addresses in one list.
MAX_TARGETS = 1000

_SEPARATORS = re.compile(r"[\s,;]+")


def targets_of(text: str) -> list[str]:
    """The addresses of a list."""
    return [word for word in _SEPARATORS.split(text) if word]


def normal_targets(text: str) -> str:
    """The form in which a list is kept: an address a line, none twice, domains in lower case."""
    words = (word.rpartition("@") for word in targets_of(text))
    return "\n".join(dict.fromkeys(f"{local_part}@{normal_domain(domain)}" for local_part, _at, domain in words))


def validate_targets(text: str) -> None:
    """Raise ValidationError unless every line is an address. One `*` may stand in its local part."""
    words = targets_of(text)
    if len(words) > MAX_TARGETS:
        raise ValidationError(_("At most %(number)d addresses."), params={"number": MAX_TARGETS}, code="many")
    errors: list[ValidationError] = []
    for word in words:
        local_part, _at, domain = word.rpartition("@")
        try:
            validate_pattern(local_part)
            validate_domain_name(domain)
        except ValidationError:
            errors.append(ValidationError(_("“%(value)s” is not an address."), params={"value": word}, code="address"))
    if errors:
        raise ValidationError(errors)


def validate_pattern(value: str) -> None:
    """Raise ValidationError unless `value` can be the local part of an alias: a name, with one `*` perhaps."""
    before, wildcard, after = value.partition(WILDCARD)
    if WILDCARD in after:
        raise ValidationError(_("One * is enough."), code="wildcard")
    try:
        # Each side may end in a dot, as in info.*
        validate_local_part(f"{before}x{after}" if wildcard else value)
    except ValidationError:
        raise ValidationError(
            _("“%(value)s” cannot be the name of an alias: letters, digits and . _ - are safe, and * for any of them."),
            params={"value": value},
            code="local_part",
        ) from None


class Alias(models.Model):
    """An address, or with a wildcard many, whose mail goes to other addresses, here or elsewhere."""

    domain = models.ForeignKey(
        "accounts.Domain", on_delete=models.PROTECT, related_name="aliases", verbose_name=_("domain")
    )
    local_part = models.CharField(
        _("local part"),
        max_length=LOCAL_PART_OCTETS,
        validators=[validate_pattern],
        help_text=_("What stands before the @. * stands for anything: * alone takes all mail that nobody else has."),
    )
    address = models.CharField(_("address"), max_length=320, unique=True, editable=False)
    is_wildcard = models.BooleanField(default=False, editable=False)
    targets = models.TextField(
        _("leads to"),
        validators=[validate_targets],
        help_text=_("An address a line, here or elsewhere. * is put in for what * stands for in the alias."),
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("Mail for an inactive alias is refused, as if it were not there.")
    )
    may_send = models.BooleanField(
        _("may be sent from"),
        default=True,
        help_text=_("The owners of the mailboxes that it leads to may send from this address."),
    )
    note = models.CharField(_("note"), max_length=200, blank=True, help_text=_("What it is for."))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("alias")
        verbose_name_plural = _("aliases")
        ordering = ["address"]
        constraints = [
            models.UniqueConstraint(fields=["domain", "local_part"], name="accounts_alias_one_per_address"),
            models.CheckConstraint(condition=~Q(targets=""), name="accounts_alias_leads_somewhere"),
        ]
        # For mail to an address that nothing else has.
        indexes = [models.Index(fields=["domain"], condition=Q(is_wildcard=True), name="accounts_alias_wildcards")]

    def __str__(self) -> str:
        return self.address or f"{self.local_part}@…"

    def normalise(self) -> None:
        """Bring what was typed into the one form that is kept."""
        self.local_part = normal_local_part(self.local_part)
        self.is_wildcard = WILDCARD in self.local_part
        self.targets = normal_targets(self.targets)
        if self.domain_id:
            self.address = normal_address(self.local_part, self.domain.name)

    def clean(self) -> None:
        super().clean()
        self.normalise()
        if self.domain_id and self.domain.mailboxes.filter(local_part=self.local_part).exists():
            raise ValidationError({"local_part": _("There is a mailbox of this address; it can be forwarded.")})
        if WILDCARD in self.targets and not self.is_wildcard:
            raise ValidationError({"targets": _("There is no * in the alias that the one here could stand for.")})

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.normalise()
        super().save(*args, **kwargs)


def what_it_stands_for(pattern: str, local_part: str) -> str | None:
    """What `*` of a pattern is in a local part; None where they do not fit."""
    before, _wildcard, after = pattern.partition(WILDCARD)
    fits = len(local_part) >= len(before) + len(after) and local_part.startswith(before) and local_part.endswith(after)
    return local_part[len(before) : len(local_part) - len(after)] if fits else None


def best_pattern(patterns: Sequence[str], local_part: str) -> str | None:
    """Of the patterns that fit the one that says most."""
    fitting = [pattern for pattern in patterns if what_it_stands_for(pattern, local_part) is not None]
    return max(fitting, key=lambda pattern: (len(pattern), pattern), default=None)
