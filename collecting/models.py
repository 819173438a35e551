"""Accounts elsewhere that mailboxes collect from, and the messages that were seen there.

A row of Source is a small task that any worker on any host may claim: it is due when `next_look_at` has come and
nobody holds it (`claimed_until`).
"""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Mailbox

#: What is kept of an error.
ERROR_CHARACTERS = 500


class Source(models.Model):
    """A POP3 account elsewhere that a mailbox collects from."""

    class Tls(models.TextChoices):
        IMPLICIT = "tls", _("TLS (port 995)")
        STLS = "stls", _("STLS (port 110)")
        NONE = "none", _("none")

    mailbox = models.ForeignKey(Mailbox, on_delete=models.CASCADE, related_name="sources", verbose_name=_("mailbox"))
    host = models.CharField(_("server"), max_length=255, help_text=_("A host name, such as pop.example.org."))
    port = models.PositiveIntegerField(
        _("port"), default=995, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    tls = models.CharField(
        _("TLS"),
        max_length=4,
        choices=Tls.choices,
        default=Tls.IMPLICIT,
        help_text=_("None is for networks where passwords may cross in the clear."),
    )
    verify_certificate = models.BooleanField(
        _("certificate has to be right"),
        default=True,
        help_text=_("Without it anybody on the way can be the server, and learns the password."),
    )
    login = models.CharField(_("login"), max_length=255)
    #: The password as collecting.passwords has encrypted it.
    secret = models.TextField(editable=False)
    interval_minutes = models.PositiveIntegerField(
        _("minutes between two looks"), default=15, validators=[MinValueValidator(1), MaxValueValidator(7 * 24 * 60)]
    )
    keep = models.BooleanField(
        _("leave messages there"), default=True, help_text=_("Else each is deleted there once it is stored here.")
    )
    is_active = models.BooleanField(_("active"), default=True)
    next_look_at = models.DateTimeField(_("next look"), default=timezone.now)
    #: Who works at it, and until when; after that it is anybody's again.
    claimed_by = models.UUIDField(null=True, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    last_look_at = models.DateTimeField(_("last look"), null=True, blank=True)
    last_success_at = models.DateTimeField(_("last success"), null=True, blank=True)
    #: What went wrong at the last look; empty: nothing.
    last_error = models.CharField(_("last error"), max_length=ERROR_CHARACTERS, blank=True)
    #: Looks that have failed since the last one that did not, since when, and when the owner was told.
    failures = models.PositiveIntegerField(_("failures"), default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)
    collected = models.PositiveBigIntegerField(_("messages collected"), default=0)
    collected_octets = models.PositiveBigIntegerField(_("octets collected"), default=0)
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    class Meta:
        verbose_name = _("collected account")
        verbose_name_plural = _("collected accounts")
        constraints = [
            models.UniqueConstraint(
                fields=["mailbox", "host", "port", "login"],
                name="collecting_source_once",
                violation_error_message=_("The mailbox collects from there already."),
            ),
            models.CheckConstraint(condition=Q(tls__in=["tls", "stls", "none"]), name="collecting_source_tls"),
            models.CheckConstraint(
                condition=Q(claimed_by__isnull=True, claimed_until__isnull=True)
                | Q(claimed_by__isnull=False, claimed_until__isnull=False),
                name="collecting_source_claim_has_time",
            ),
        ]
        indexes = [
            # What is due, the oldest first.
            models.Index(fields=["next_look_at"], condition=Q(is_active=True), name="collecting_source_due"),
        ]

    def __str__(self) -> str:
        return f"{self.login} at {self.host}"


class SeenMessage(models.Model):
    """A message at a source that is not new: it was stored here, is left there for good, or could not be fetched.

    The digest is that of its unique-id (collecting.listing). What the server no longer lists is forgotten after a
    while.
    """

    pk = models.CompositePrimaryKey("source_id", "digest")
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+", db_index=False)
    digest = models.CharField(max_length=32)
    #: Stored here; else it is left where it is.
    stored = models.BooleanField()
    #: When it is tried again, where it could not be fetched; how often that was tried, and what went wrong last.
    again_at = models.DateTimeField(null=True)
    tries = models.PositiveIntegerField(default=0)
    why = models.CharField(max_length=ERROR_CHARACTERS, blank=True)
    #: Since when the server has not listed it.
    missing_since = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("seen message")
        verbose_name_plural = _("seen messages")
        constraints = [
            models.CheckConstraint(
                condition=Q(stored=False) | Q(again_at__isnull=True), name="collecting_seenmessage_stored_is_done"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.digest} at source {self.source_id}"
