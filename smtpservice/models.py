"""Mail on its way out: messages, whom each still has to reach, and their octets.

A row of QueuedRecipient is a small task that any worker on any host may claim: it is due when `next_attempt_at` has
come and nobody holds it (`claimed_until`). These tables are smtpservice's own; a message leaves them, octets and all,
when nothing of it is left to be done.
"""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.addresses import validate_domain_name

#: RFC 5321, 4.5.3.1.1 and 4.5.3.1.2: a local part of 64 octets, @, a domain of 255.
ADDRESS_CHARACTERS = 320
#: What is kept of a peer's reply.
REPLY_CHARACTERS = 500


class QueuedMessage(models.Model):
    """A message with its envelope, kept until all of its recipients are done."""

    class Returned(models.TextChoices):
        """What of the message a failure notice brings back: RET (RFC 3461, 4.3)."""

        UNSAID = "", _("as we like")
        FULL = "FULL", _("all of it")
        HEADERS = "HDRS", _("its header")

    #: What log lines, Received headers and notices call it.
    identity = models.CharField(_("identity"), max_length=32, unique=True)
    #: The reverse-path; empty is the null path, to which no notice goes (RFC 5321, 4.5.5).
    sender = models.CharField(_("sender"), max_length=ADDRESS_CHARACTERS, blank=True)
    #: ENVID (RFC 3461, 4.4), as xtext.
    envelope_id = models.CharField(max_length=100, blank=True)
    returned = models.CharField(max_length=4, choices=Returned.choices, default=Returned.UNSAID, blank=True)
    #: The header or an address is not ASCII: it can go to peers with SMTPUTF8 alone (RFC 6531, 3.1).
    smtputf8 = models.BooleanField(default=False)
    #: There are octets above 127: it can go to peers with 8BITMIME alone (RFC 6152, 3).
    eight_bit = models.BooleanField(default=False)
    message_id = models.CharField(_("message-id"), max_length=255, blank=True)
    #: As in mailstore.models.Message.
    octets = models.PositiveBigIntegerField(_("octets"))
    wire_octets = models.PositiveBigIntegerField()
    header_octets = models.PositiveBigIntegerField()
    queued_at = models.DateTimeField(_("queued"))
    #: When there are no more attempts.
    expires_at = models.DateTimeField(_("given up at"))

    class Meta:
        verbose_name = _("queued message")
        verbose_name_plural = _("queued messages")
        constraints = [
            models.CheckConstraint(
                condition=Q(returned__in=["", "FULL", "HDRS"]), name="smtpservice_queuedmessage_returned"
            ),
            models.CheckConstraint(
                condition=Q(octets__lte=F("wire_octets")) & Q(header_octets__lte=F("wire_octets")),
                name="smtpservice_queuedmessage_octets_fit",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.identity} from <{self.sender}>"


class QueuedRecipient(models.Model):
    """Whom a message has to reach, and how far that has come."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        HELD = "held", _("held")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")
        DROPPED = "dropped", _("dropped")

    #: Recipients that something is still to be done for.
    OPEN: ClassVar[tuple[State, State]] = (State.WAITING, State.HELD)

    message = models.ForeignKey(QueuedMessage, on_delete=models.CASCADE, related_name="recipients")
    address = models.CharField(_("recipient"), max_length=ADDRESS_CHARACTERS)
    #: Lower case, IDNs as A-labels: what is looked up in the DNS.
    domain = models.CharField(_("domain"), max_length=255)
    #: NOTIFY (RFC 3461, 4.1): NEVER, or keywords with commas; empty: FAILURE and DELAY, as is usual.
    notify = models.CharField(max_length=28, blank=True)
    #: ORCPT (RFC 3461, 4.2): `addr-type;xtext`; empty: `address` itself.
    original = models.CharField(max_length=500, blank=True)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"))
    #: Who works at it, and until when; after that it is anybody's again.
    claimed_by = models.UUIDField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    last_attempt_at = models.DateTimeField(_("last attempt"), null=True, blank=True)
    last_peer = models.CharField(_("last peer"), max_length=255, blank=True)
    last_reply = models.CharField(_("last reply"), max_length=REPLY_CHARACTERS, blank=True)
    #: Its sender was told that it is late.
    delay_told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("queued recipient")
        verbose_name_plural = _("queue")
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "held", "sent", "failed", "dropped"]),
                name="smtpservice_queuedrecipient_state",
            ),
            models.CheckConstraint(
                condition=Q(claimed_by__isnull=True, claimed_until__isnull=True)
                | Q(claimed_by__isnull=False, claimed_until__isnull=False),
                name="smtpservice_queuedrecipient_claim_has_time",
            ),
        ]
        indexes = [
            # What is due, oldest first: of all, and of one domain for a connection that is open.
            models.Index(fields=["next_attempt_at"], condition=Q(state="waiting"), name="smtpservice_recipient_due"),
            models.Index(
                fields=["domain", "next_attempt_at"],
                condition=Q(state="waiting"),
                name="smtpservice_recipient_domain",
            ),
            # What is held, for those who look after it.
            models.Index(fields=["id"], condition=Q(state="held"), name="smtpservice_recipient_held"),
            # What is being worked at: a few, whatever the queue holds.
            models.Index(
                fields=["claimed_by"], condition=Q(claimed_by__isnull=False), name="smtpservice_recipient_claimed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.address}: {self.get_state_display()}"


class QueuedContent(models.Model):
    """A piece of a queued message's wire form, of mailstore.models.PIECE_OCTETS at most: what DATA sends; immutable."""

    pk = models.CompositePrimaryKey("message_id", "piece")
    message = models.ForeignKey(QueuedMessage, on_delete=models.CASCADE, related_name="+", db_index=False)
    piece = models.PositiveIntegerField()
    octets = models.BinaryField()

    class Meta:
        verbose_name = _("queued content")
        verbose_name_plural = _("queued contents")

    def __str__(self) -> str:
        return f"piece {self.piece} of queued message {self.message_id}"


class DkimKey(models.Model):
    """A key that mail of a domain is signed with (RFC 6376), by the selector under which its other half is published.

    It is made, published in the DNS, and only then signs; one key of each algorithm does at a time. What signed before
    stays until its mail has arrived everywhere.
    """

    class Algorithm(models.TextChoices):
        RSA = "rsa-sha256", _("RSA, which everybody verifies")
        ED25519 = "ed25519-sha256", _("Ed25519, short, for those who verify it (RFC 8463)")

    domain = models.ForeignKey("accounts.Domain", on_delete=models.CASCADE, related_name="dkim_keys")
    selector = models.CharField(_("selector"), max_length=63, validators=[validate_domain_name])
    algorithm = models.CharField(_("algorithm"), max_length=16, choices=Algorithm.choices)
    #: As dkimpy takes it: PEM for RSA, the seed in base64 for Ed25519.
    private_key = models.TextField(editable=False)
    signs = models.BooleanField(_("signs"), default=False)
    created_at = models.DateTimeField(_("made"), auto_now_add=True)

    class Meta:
        verbose_name = _("DKIM key")
        verbose_name_plural = _("DKIM keys")
        ordering = ["domain", "-created_at", "selector"]
        constraints = [
            models.UniqueConstraint(fields=["domain", "selector"], name="smtpservice_dkimkey_selector_once"),
            models.UniqueConstraint(
                fields=["domain", "algorithm"], condition=Q(signs=True), name="smtpservice_dkimkey_one_signs"
            ),
            models.CheckConstraint(
                condition=Q(algorithm__in=["rsa-sha256", "ed25519-sha256"]), name="smtpservice_dkimkey_algorithm"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.selector}._domainkey.{self.domain}"
