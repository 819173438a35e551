"""The POP3 workers that run, on all hosts: a row each, kept fresh by a heartbeat.

A maildrop's lock names a worker; it holds as long as the worker's row is here and fresh.
"""

import uuid

from django.db import models
from django.db.models.functions import Now


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
