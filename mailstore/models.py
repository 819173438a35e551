"""Messages at rest.

mailbox_id is in every key, foreign key, filter and join of these tables, and no row is shared by two mailboxes:
one mailbox is one shard. tests/mailstore/test_models.py holds that.
"""

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Mailbox

#: A message's wire form is stored in pieces of this many octets, so that none is ever whole in memory: every client
#: that takes a large message slowly holds one. What is stored was cut like this, so it cannot change.
PIECE_OCTETS = 256 * 1024


class Maildrop(models.Model):
    """What changes often about a mailbox: one row each, made by the first delivery or login.

    Counters are of the live messages (not of the shelf) and are kept on write. `version` is raised by every change
    of the set of live messages, so that equal versions mean equal listings. The lock is held where `lock_worker` is
    set; `lock_serial` goes up with each locking, so (worker, serial) names one session of the maildrop for ever.
    """

    mailbox = models.OneToOneField(Mailbox, primary_key=True, on_delete=models.CASCADE, related_name="maildrop")
    #: No other mailbox's (mailstore.rows); with the uid it makes the unique-ids.
    uidvalidity = models.PositiveBigIntegerField()
    next_uid = models.PositiveBigIntegerField(default=1)
    message_count = models.PositiveBigIntegerField(_("messages"), default=0)
    octets = models.PositiveBigIntegerField(_("octets"), default=0)
    version = models.PositiveBigIntegerField(default=0)
    #: Whether a message with UTF-8 in its header ever came in: only then are surrogates looked for.
    has_surrogates = models.BooleanField(default=False)
    #: Whether a combined maildrop gives its unique-ids with the mailbox before them (mailstore.together).
    qualified = models.BooleanField(default=False)
    lock_worker = models.UUIDField(null=True)
    lock_serial = models.PositiveBigIntegerField(default=0)
    locked_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(_("last login"), null=True)

    class Meta:
        verbose_name = _("maildrop")
        verbose_name_plural = _("maildrops")
        constraints = [
            models.CheckConstraint(
                condition=Q(lock_worker__isnull=True) | Q(locked_at__isnull=False),
                name="mailstore_maildrop_lock_has_time",
            ),
        ]

    def __str__(self) -> str:
        return f"maildrop {self.mailbox_id}"


class Message(models.Model):
    """One message of a mailbox, without its bytes. Live while `deleted_at` is empty, then on the shelf."""

    pk = models.CompositePrimaryKey("mailbox_id", "uid")
    mailbox = models.ForeignKey(Mailbox, on_delete=models.CASCADE, related_name="+", db_index=False)
    uid = models.PositiveBigIntegerField()
    #: What LIST says: octets with CRLF line ends and without dot-stuffing (RFC 1939, 11).
    octets = models.PositiveBigIntegerField()
    #: Octets of the stored wire form, dots stuffed.
    wire_octets = models.PositiveBigIntegerField()
    #: Octets of the wire form up to and with the empty line that ends the header.
    header_octets = models.PositiveBigIntegerField()
    #: What LIST says to a client that did not say UTF8 (RFC 6856, 2.1), where that gets a surrogate
    #: (mailstore.downgrade); its other octets are as many more than the message's.
    surrogate_octets = models.PositiveBigIntegerField(null=True)
    #: A unique-id brought from another server; empty: `uidvalidity.uid`.
    unique_id = models.CharField(max_length=70, default="", blank=True)
    received_at = models.DateTimeField(_("received"))
    retrieved_at = models.DateTimeField(_("retrieved"), null=True)
    deleted_at = models.DateTimeField(_("deleted"), null=True)
    #: When it last came back from the shelf: it expires as much later.
    restored_at = models.DateTimeField(null=True)
    #: `lock_serial` of the session that first retrieved it, and of the one that deleted it, unless it has expired.
    retrieved_serial = models.PositiveBigIntegerField(null=True)
    deleted_serial = models.PositiveBigIntegerField(null=True)
    # For lists in admin; decoded, shortened, never used for delivery.
    subject = models.CharField(_("subject"), max_length=255, default="", blank=True)
    sender = models.CharField(_("from"), max_length=255, default="", blank=True)
    dated_at = models.DateTimeField(_("date"), null=True)
    message_id = models.CharField(_("message-id"), max_length=255, default="", blank=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [
            models.UniqueConstraint(
                fields=["mailbox", "unique_id"],
                condition=~Q(unique_id=""),
                name="mailstore_message_unique_id_once",
            ),
            models.CheckConstraint(
                condition=Q(octets__lte=F("wire_octets")) & Q(header_octets__lte=F("wire_octets")),
                name="mailstore_message_octets_fit",
            ),
        ]
        indexes = [
            # Listings and pages of live messages, whatever has gathered on the shelf.
            models.Index(
                fields=["mailbox", "uid"], condition=Q(deleted_at__isnull=True), name="mailstore_message_live"
            ),
            # Pages of the shelf, and what is to be purged of it, whatever is live.
            models.Index(
                fields=["mailbox", "uid", "deleted_at"],
                condition=Q(deleted_at__isnull=False),
                name="mailstore_message_shelf",
            ),
            # What mailstore.surrogates reads: few messages have any.
            models.Index(
                fields=["mailbox", "uid"],
                condition=Q(surrogate_octets__isnull=False),
                name="mailstore_message_surrogate",
            ),
        ]

    def __str__(self) -> str:
        return f"message {self.uid} of {self.mailbox_id}"


class Content(models.Model):
    """A piece of a message's wire form: CRLF line ends, dots stuffed, ending in CRLF; immutable."""

    pk = models.CompositePrimaryKey("mailbox_id", "uid", "piece")
    mailbox = models.ForeignKey(Mailbox, on_delete=models.CASCADE, related_name="+", db_index=False)
    uid = models.PositiveBigIntegerField()
    piece = models.PositiveIntegerField()
    octets = models.BinaryField()

    class Meta:
        verbose_name = _("content")
        verbose_name_plural = _("contents")

    def __str__(self) -> str:
        return f"piece {self.piece} of message {self.uid} of {self.mailbox_id}"
