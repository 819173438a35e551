"""The POP3 workers that run on all hosts, what became of sessions, and which of them are to end.

A maildrop's lock names a worker; it holds as long as the worker's row is here and fresh. `serial` is the lock's too:
it goes up with each session of a mailbox, so mailbox and serial name one session for ever.
"""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import Mailbox
from pop3service.states import Ending


class Worker(models.Model):
    """One worker process of `pop3serve`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    #: The arbiter that runs it, so that a replacement can clear away a sibling that died.
    arbiter = models.UUIDField()
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    beat_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["arbiter"], name="pop3service_worker_arbiter")]

    def __str__(self) -> str:
        return f"worker {self.pid} on {self.host}"


ENDINGS = {
    Ending.QUIT: _("QUIT"),
    Ending.FAILED: _("QUIT could not be carried out, nothing was deleted"),
    Ending.DROPPED: _("the connection was lost"),
    Ending.TIMED_OUT: _("timed out"),
    Ending.SERVER: _("the server was stopped"),
    Ending.ADMIN: _("ended by an admin"),
    Ending.REVOKED: _("its password was changed or revoked, its mailbox or user suspended"),
    Ending.BROKEN_OFF: _("broken off by the server after errors"),
}


class SessionRecord(models.Model):
    """A session that was logged in; polls that are alike, within an hour, are one record. See pop3service.sessions.

    Octets retrieved are those of LIST; those of TOP as they were sent. `serial` and `left` are those of the last poll.
    Without an end it is open, or its worker was killed.
    """

    # Outlives its mailbox, as login records do.
    mailbox = models.ForeignKey(
        Mailbox,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        verbose_name=_("mailbox"),
    )
    serial = models.PositiveBigIntegerField()
    began_at = models.DateTimeField(_("began"))
    ended_at = models.DateTimeField(_("ended"), null=True)
    times = models.PositiveIntegerField(_("times"), default=1)
    login = models.CharField(_("login"), max_length=255, blank=True)
    app_password = models.CharField(_("app password"), max_length=100, blank=True)
    address = models.CharField(_("address"), max_length=45, blank=True)
    tls = models.CharField(_("TLS"), max_length=16, blank=True)
    retrieved = models.PositiveBigIntegerField(_("messages retrieved"), default=0)
    retrieved_octets = models.PositiveBigIntegerField(_("octets retrieved"), default=0)
    topped = models.PositiveBigIntegerField(_("messages looked into by TOP"), default=0)
    topped_octets = models.PositiveBigIntegerField(_("octets sent by TOP"), default=0)
    deleted = models.PositiveBigIntegerField(_("messages deleted"), default=0)
    left = models.PositiveBigIntegerField(_("messages left"), default=0)
    ending = models.CharField(
        _("end"), max_length=16, blank=True, choices=[(ending.value, text) for ending, text in ENDINGS.items()]
    )

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ["-began_at", "-id"]
        permissions = [("end_session", _("Can end sessions that are open"))]
        indexes = [
            models.Index(fields=["began_at"], name="pop3service_session_began"),
            models.Index(fields=["mailbox", "serial"], name="pop3service_session_serial"),
            models.Index(fields=["address", "began_at"], name="pop3service_session_address"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(ending="", ended_at__isnull=True)
                | Q(ending__in=[ending.value for ending in Ending], ended_at__isnull=False),
                name="pop3service_session_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.login}, {self.began_at:%Y-%m-%d %H:%M}"


class EndRequest(models.Model):
    """A session that is to end, for the worker that serves it; see pop3service.ending."""

    worker = models.UUIDField()
    mailbox_id = models.BigIntegerField()
    serial = models.PositiveBigIntegerField()
    asked_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["worker"], name="pop3service_endrequest_worker")]
        constraints = [
            models.UniqueConstraint(fields=["mailbox_id", "serial"], name="pop3service_endrequest_once"),
        ]

    def __str__(self) -> str:
        return f"session {self.serial} of {self.mailbox_id}"
